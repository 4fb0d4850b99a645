"""VeRA: random matrices that all layers and all tasks share, and trained vectors that scale what passes them.

Kopiczko, Blankevoort and Asano, "VeRA: Vector-based Random Matrix Adaptation", ICLR 2024, arXiv:2310.11454. With A
(rank, in) and B (out, rank) drawn once and never changed:

    y = W x + bias + b * (B (d * (A x)))        trained: d (rank), b (out) of every adapted linear; b starts at 0

A and B are programmed once for all layers of the same width: on the crossbar this is LoRA without its writes, at the
price of a larger rank and of reading the same two arrays for every layer.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import UsageError
from ...workloads.pools import Pool
from ...workloads.shapes import ModelShape
from ..assemble import assemble
from ..base import (
    Adaptation,
    BackboneLike,
    BackwardNeed,
    Method,
    ParameterCount,
    Placement,
    Recipe,
    attention_targets,
    register,
    target_linears,
)
from ..blocks import entry_linears
from ..costs import scale_backward, scale_forward
from ..layers import AdaptedModel, CellLinear, clone_encoder, frozen

PROJECTION_SEED = 20310454


class Projections:
    """The shared matrices by width: A of each input width, B of each output width, Kaiming-uniform in +-sqrt(6 / in).

    They do not depend on a run's generator: one chip carries them for all tasks and seeds.
    """

    def __init__(self, rank: int, dtype: torch.dtype) -> None:
        self.rank = rank
        self.dtype = dtype
        self.matrices: dict[str, nn.Parameter] = {}

    def down(self, width: int) -> tuple[str, nn.Parameter]:
        """Cell name and matrix A (rank, width)."""
        return self._matrix(f"vera.a.{width}", self.rank, width)

    def up(self, width: int) -> tuple[str, nn.Parameter]:
        """Cell name and matrix B (width, rank)."""
        return self._matrix(f"vera.b.{width}", width, self.rank)

    def _matrix(self, name: str, rows: int, columns: int) -> tuple[str, nn.Parameter]:
        if name not in self.matrices:
            rng = np.random.default_rng([PROJECTION_SEED, rows, columns])
            bound = math.sqrt(6.0 / columns)
            self.matrices[name] = frozen(torch.from_numpy(rng.uniform(-bound, bound, (rows, columns))).to(self.dtype))
        return name, self.matrices[name]


class VeraLinear(CellLinear):
    """A linear with the shared matrices beside it."""

    def __init__(self, name: str, linear: nn.Linear, shared: Projections, initial: float) -> None:
        super().__init__(name, linear)
        self.a_name, self.vera_a = shared.down(linear.in_features)
        self.b_name, self.vera_b = shared.up(linear.out_features)
        self.inner = nn.Parameter(torch.full((shared.rank,), initial, dtype=shared.dtype))
        self.outer = nn.Parameter(torch.zeros(linear.out_features, dtype=shared.dtype))

    def forward(self, x: Tensor) -> Tensor:
        drive = self.inner * self.reader(self.a_name, x, self.vera_a)
        return super().forward(x) + self.outer * self.reader(self.b_name, drive, self.vera_b)


@dataclass(frozen=True)
class VeRA(Method):
    """`initial`: what d starts at."""

    name = "vera"
    summary = "vectors around random matrices that all layers share, programmed once; no cell written"
    source = "Kopiczko et al., VeRA: Vector-based Random Matrix Adaptation, ICLR 2024, arXiv:2310.11454"
    placements = (Placement.DIGITAL,)
    backward_need = BackwardNeed.THROUGH

    rank: int = 256
    initial: float = 0.1

    def __post_init__(self) -> None:
        """Raise `UsageError` for a rank below 1 or a start that is no number."""
        if self.rank < 1:
            raise UsageError(f"rank of vera must be at least 1; got {self.rank}")
        if not math.isfinite(self.initial):
            raise UsageError(f"initial of vera must be a number; got {self.initial}")

    def attach(
        self,
        backbone: BackboneLike,
        classes: int,
        rng: np.random.Generator,
        *,
        placement: Placement | None = None,
        pool: Pool | None = None,
    ) -> Adaptation:
        self.choose_placement(placement)
        names = backbone.linear_names()
        targets = set(attention_targets(names))
        shared = Projections(self.rank, next(backbone.module.parameters()).dtype)

        def make(name: str, linear: nn.Linear) -> CellLinear:
            return VeraLinear(name, linear, shared, self.initial) if name in targets else CellLinear(name, linear)

        encoder = clone_encoder(backbone.module, names, make)
        adapted = [module for module in encoder.modules() if isinstance(module, VeraLinear)]
        inner = {f"{module.cell_name}.inner": module.inner for module in adapted}
        outer = {f"{module.cell_name}.outer": module.outer for module in adapted}
        numbers = sum(vector.numel() for vector in (inner | outer).values())
        spared = self.rank * len(targets.intersection(entry_linears(names)))  # A x of the frozen embeddings
        return assemble(
            self,
            backbone,
            AdaptedModel(encoder, backbone.hidden_size, classes),
            groups={"inner": inner, "outer": outer},
            placements={},
            extra_cells=shared.matrices,
            inference_work=scale_forward(numbers),
            backward_work=scale_backward(numbers, spared),
            trained_linears=targets,
        )

    def count(self, shape: ModelShape, *, rank: int = 16, pool_size: int = 6) -> ParameterCount:
        linears = target_linears(shape)
        widths = {("a", linear.in_features) for linear in linears} | {("b", linear.out_features) for linear in linears}
        trained = {"inner": rank * len(linears), "outer": sum(linear.out_features for linear in linears)}
        return ParameterCount(trained, cells_frozen=rank * sum(width for _, width in widths))


# Rates as in the paper for RoBERTa (about ten times LoRA's); they have not been searched.
register(VeRA(recipe=Recipe(learning_rates={"inner": 1e-2, "outer": 1e-2, "head": 3e-3}, head_margin=1.0)))
