"""Linears with the stacked LoRA modules of a pool beside them, fused by coefficients (see `library/lorafusion.py`)."""

import contextlib
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..workloads.pools import LoraModule
from .layers import AdaptedModel, CellLinear, frozen
from .rownorm import CrossTermNorm, SeparateNorm


class Handover:
    """Carries the coefficients (K, blocks) of one forward pass from the model, which owns them, to its linears.

    A parameter registered in every linear of a block could not be exported as one graph input.
    """

    def __init__(self) -> None:
        self.coefficients: Tensor | None = None


class FusedLinear(CellLinear):
    """A linear with the stacked modules of the pool beside it: the two extra reads, the fusion and the magnitude."""

    scales: Tensor
    spread: Tensor
    align: Tensor
    norm: CrossTermNorm | SeparateNorm
    """Only there with magnitudes."""

    def __init__(
        self,
        name: str,
        linear: nn.Linear,
        modules: tuple[LoraModule, ...],
        column: int,
        handover: Handover,
        cross_terms: bool,
        magnitude: bool,
    ) -> None:
        super().__init__(name, linear)
        dtype = linear.weight.dtype
        a = [torch.as_tensor(module.a[name], dtype=dtype) for module in modules]
        b = [torch.as_tensor(module.b[name], dtype=dtype) for module in modules]
        ranks = [matrix.shape[0] for matrix in a]
        self.column = column
        self.handover = handover
        self._summed: SummedModules | None = None
        self.cross_terms = cross_terms
        self.pool_a = frozen(torch.cat(a))
        self.pool_b = frozen(torch.cat(b, dim=1).contiguous())
        # Each row of the stack belongs to one module (spread, with its scale) and is one rank row of it (align).
        # Products with constant matrices instead of gathers: exact, and no scatter in an exported backward pass.
        # A scale belongs to the product B A; with cross terms each of the two factors gets its square root.
        scales = torch.tensor([module.scale for module in modules], dtype=dtype)
        owner = torch.repeat_interleave(torch.arange(len(modules)), torch.tensor(ranks))
        row = torch.cat([torch.arange(rank) for rank in ranks])
        self.register_buffer("scales", scales.sqrt() if cross_terms else scales)
        self.register_buffer("spread", torch.diag(self.scales)[owner])
        self.register_buffer("align", torch.eye(max(ranks), dtype=dtype)[row])
        self.magnitude: nn.Parameter | None = None
        if magnitude:
            padded_a = torch.stack([F.pad(m, (0, 0, 0, max(ranks) - m.shape[0])) for m in a])
            padded_b = torch.stack([F.pad(m, (0, max(ranks) - m.shape[1])) for m in b])
            self.norm = (CrossTermNorm if cross_terms else SeparateNorm)(linear.weight.detach(), padded_a, padded_b)
            self.magnitude = nn.Parameter(linear.weight.detach().norm(dim=1))

    def forward(self, x: Tensor) -> Tensor:
        if self.handover.coefficients is None:
            raise RuntimeError("a FusedLinear runs only inside its FusionModel, which hands the coefficients in")
        coefficients = self.handover.coefficients[:, self.column]
        if self._summed is not None:
            a, b = self._summed.matrices(self.scales * coefficients)
            y = self.read(x) + (x @ a.T) @ b.T
        else:
            factor = self.spread @ coefficients
            drive = factor * self.reader(f"{self.cell_name}.pool_a", x, self.pool_a)
            if self.cross_terms:
                drive = factor * (drive @ self.align @ self.align.T)
            y = self.read(x) + self.reader(f"{self.cell_name}.pool_b", drive, self.pool_b)
        if self.magnitude is not None:
            y = (self.magnitude / self.norm(self.scales * coefficients.detach())) * y
        return y if self.bias is None else y + self.bias

    @property
    def can_be_summed(self) -> bool:
        """Whether the modules can be added up: with cross terms, and the same rank for all."""
        modules, rank = len(self.scales), self.align.shape[1]
        return self.cross_terms and self.pool_a.shape[0] == modules * rank

    @contextlib.contextmanager
    def processor_form(self) -> Iterator[None]:
        """While it lasts, the modules are added up before tokens pass them, where they can be (`SummedModules`)."""
        self._summed = SummedModules(self) if self.can_be_summed else None
        try:
            yield
        finally:
            self._summed = None


class SummedModules:
    """B A x with A = sum_k f_k A_k, B = sum_k f_k B_k: what a processor computes fastest.

    A crossbar holds the modules side by side and reads all of them for every token. A processor adds them up once for a
    batch; tokens then pass two matrices of the rank of one module. The numbers are the same but for the order of sums.
    """

    def __init__(self, linear: FusedLinear) -> None:
        modules, rank = len(linear.scales), linear.align.shape[1]
        self.a = linear.pool_a.detach().reshape(modules, rank, -1)
        self.b = linear.pool_b.detach().reshape(-1, modules, rank).transpose(0, 1).contiguous()
        shared = getattr(linear.norm, "b", None) if linear.magnitude is not None else None
        if isinstance(shared, Tensor) and torch.equal(self.b, shared):
            self.b = shared  # one tensor: the row norm adds the same matrices up as well; not so after programming

    def matrices(self, factors: Tensor) -> tuple[Tensor, Tensor]:
        """A (rank, in) and B (out, rank), for a factor of each module (K,)."""
        return torch.einsum("k,kri->ri", factors, self.a), torch.einsum("k,kor->or", factors, self.b)


class FusionModel(AdaptedModel):
    """An `AdaptedModel` that owns the fusion coefficients (K, blocks) and hands them to its `FusedLinear`s."""

    def __init__(self, encoder: nn.Module, width: int, classes: int, coefficients: Tensor, handover: Handover) -> None:
        super().__init__(encoder, width, classes)
        self.coefficients = nn.Parameter(coefficients)
        self.handover = handover

    def features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        self.handover.coefficients = self.coefficients
        try:
            return super().features(input_ids, attention_mask)
        finally:
            self.handover.coefficients = None
