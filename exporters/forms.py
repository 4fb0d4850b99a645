"""Forward passes in the form that a processor computes fastest, in the place of the one that crossbars need.

A crossbar holds the modules of a pool side by side and reads all of them for every token. A processor can add the
modules up first, once for a batch: with cross terms the fused A and B are matrices of the rank of one module, and
tokens pass through these alone. The numbers are the same but for the order of the sums, which the comparison with torch
checks.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..methods.fusion import FusedLinear


@contextlib.contextmanager
def processor_forms(model: nn.Module) -> Iterator[None]:
    """Inside, the linears of `model` that have such a form are traced in it."""
    changed = [module for module in model.modules() if isinstance(module, FusedLinear) and has_form(module)]
    for module in changed:
        module.forward = _Fused(module)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for module in changed:
            del module.forward


def has_form(module: FusedLinear) -> bool:
    """Whether the modules of a linear can be added up: with cross terms, and the same rank for all."""
    modules, rank = len(module.scales), module.align.shape[1]
    return module.cross_terms and module.pool_a.shape[0] == modules * rank


class _Fused:
    """y = (m / n) (W x + B A x) + bias with A = sum_k f_k A_k, B = sum_k f_k B_k."""

    def __init__(self, module: FusedLinear) -> None:
        self.module = module
        modules, rank = len(module.scales), module.align.shape[1]
        self.a = module.pool_a.detach().reshape(modules, rank, -1)
        self.b = module.pool_b.detach().reshape(-1, modules, rank).transpose(0, 1).contiguous()
        shared = getattr(module.norm, "b", None) if module.magnitude is not None else None
        if isinstance(shared, Tensor) and torch.equal(self.b, shared):
            self.b = shared  # one tensor: the row norm adds the same matrices up as well; not so after programming

    def __call__(self, x: Tensor) -> Tensor:
        module = self.module
        assert module.handover.coefficients is not None
        coefficients = module.handover.coefficients[:, module.column]
        scaled = module.scales * coefficients
        a = torch.einsum("k,kri->ri", scaled, self.a)
        b = torch.einsum("k,kor->or", scaled, self.b)
        y = module.read(x) + (x @ a.T) @ b.T
        if module.magnitude is not None:
            y = (module.magnitude / module.norm(module.scales * coefficients.detach())) * y
        return y if module.bias is None else y + module.bias
