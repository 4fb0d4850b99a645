"""The one place where torch meets the simulator: a matrix read as an autograd function."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .chip import ProgrammedModel


class _CrossbarRead(torch.autograd.Function):
    """y = noisy, converted read of the cells; gradients are those of the exact product with what the cells hold
    (straight-through).
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, reader: "ChipReader", name: str) -> Tensor:
        ctx.reader, ctx.name = reader, name
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else x.new_empty(0))
        y = reader.chip_model.matvec(name, x.detach().numpy())
        return torch.from_numpy(np.ascontiguousarray(y))

    @staticmethod
    def backward(ctx, gradient: Tensor):
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            ctx.reader.chip_model.count_transposed(ctx.name, len(gradient))
            grad_x = gradient @ torch.from_numpy(ctx.reader.chip_model.held(ctx.name))
        if ctx.needs_input_grad[1]:
            (x,) = ctx.saved_tensors
            grad_weight = gradient.t() @ x
        return grad_x, grad_weight, None, None


def multiply(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """a @ b into out, float32."""
    torch.mm(torch.from_numpy(a), torch.from_numpy(b), out=torch.from_numpy(out))


def multiply_bfloat16(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """a @ b into out by the processor's bfloat16 matrix unit, several times faster, rounded to 8 bits.

    Meant for the variance of the read noise, all terms of which are positive: it comes out within 1 %, its square root,
    the scale of the noise, within 0.5 %.
    """
    product = torch.mm(torch.from_numpy(a).bfloat16(), torch.from_numpy(b).bfloat16())
    torch.from_numpy(out).copy_(product)


class ChipReader:
    """Reads matrices through a programmed chip: reader(name, x (..., in), weight (out, in)) -> (..., out).

    Matrices that are not on the chip are read exactly. Padding is never driven: `mask` (batch, tokens), set by
    `watch`, selects the real tokens of a (batch, tokens, in) input; the others get zeros, and nothing is charged for
    them. `bypass` names matrices that are read exactly although they are on the chip: those trained digitally before
    they are written.
    """

    def __init__(self, chip_model: ProgrammedModel):
        self.chip_model = chip_model
        chip_model.multiply = multiply
        chip_model.multiply_variance = multiply_bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else multiply
        self.mask: Tensor | None = None
        self.bypass: frozenset[str] = frozenset()

    def watch(self, encoder: torch.nn.Module) -> Callable[[], None]:
        """Take the mask from every call encoder(input_ids=..., attention_mask=...); returns the function that ends
        it.
        """

        def note(_module, _args, kwargs):
            mask = kwargs.get("attention_mask")
            self.mask = None if mask is None else mask.bool()

        return encoder.register_forward_pre_hook(note, with_kwargs=True).remove

    def __call__(self, name: str, x: Tensor, weight: Tensor) -> Tensor:
        if name in self.bypass or name not in self.chip_model:
            return torch.nn.functional.linear(x, weight)
        shape = x.shape[:-1]
        mask = self.mask if self.mask is not None and self.mask.shape == shape else None
        if mask is None or bool(mask.all()):
            flat = x.reshape(-1, x.shape[-1])
            return _CrossbarRead.apply(flat, weight, self, name).reshape(*shape, -1)
        y = _CrossbarRead.apply(x[mask], weight, self, name)
        out = y.new_zeros(*shape, y.shape[-1])
        out[mask] = y
        return out
