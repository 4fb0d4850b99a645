"""VeRA: random matrices that all layers and all tasks share, and trained vectors that scale what passes them.

Kopiczko, Blankevoort and Asano, "VeRA: Vector-based Random Matrix Adaptation", ICLR 2024, arXiv:2310.11454. With A
(rank, in) and B (out, rank) drawn once and never changed:

    y = W x + bias + b * (B (d * (A x)))        trained: d (rank), b (out) of every adapted linear; b starts at 0

A and B are programmed once for all layers of the same width: on the crossbar this is LoRA without its writes, at the
price of a larger rank and of reading the same two arrays for every layer.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UsageError
from ...workloads.shapes import LinearShape, ModelShape
from ..costs import scale_backward, scale_forward
from ..placement import Placement
from ..plan import DEFAULT_TARGETS, Beside, Part, Size, TensorPlan, first_of
from ..recipes import Recipe
from ..spec import Method, Targeted, register

if TYPE_CHECKING:
    from torch import Tensor

    from ..attaching import Built, Site

PROJECTION_SEED = 20310454


def projection(rows: int, columns: int) -> np.ndarray:
    """A shared matrix (rows, columns), Kaiming-uniform in +-sqrt(6 / columns).

    It does not depend on a run's generator: one chip carries it for all tasks and seeds.
    """
    bound = math.sqrt(6.0 / columns)
    return np.random.default_rng([PROJECTION_SEED, rows, columns]).uniform(-bound, bound, (rows, columns))


def _names(linear: LinearShape) -> tuple[str, str]:
    """Cell names of the A of its input width and of the B of its output width."""
    return f"vera.a.{linear.in_features}", f"vera.b.{linear.out_features}"


def _updated(linear: Any, x: "Tensor", a_name: str, b_name: str) -> "Tensor":
    drive = linear.inner * linear.reader(a_name, x, linear.vera_a)
    return linear.plain(x) + linear.outer * linear.reader(b_name, drive, linear.vera_b)


@dataclass(frozen=True)
class VeRA(Targeted, Method):
    """`initial`: what d starts at. `targets`: the linears that are adapted, by role, as of `lora`."""

    name = "vera"
    title = "VeRA"
    family = "low-rank"
    summary = "vectors around random matrices that all layers share, programmed once; no cell written"
    source = "Kopiczko et al., VeRA: Vector-based Random Matrix Adaptation, ICLR 2024, arXiv:2310.11454"
    groups = ("inner", "outer")

    rank: int = 256
    initial: float = 0.1
    targets: str = ",".join(DEFAULT_TARGETS)

    def __post_init__(self) -> None:
        """Raise `UsageError` for a rank below 1, a start that is no number, or targets that are no roles."""
        if self.rank < 1:
            raise UsageError(f"rank of vera must be at least 1; got {self.rank}")
        if not math.isfinite(self.initial):
            raise UsageError(f"initial of vera must be a number; got {self.initial}")
        _ = self.roles

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        linears = self.linears(shape)
        shared: dict[str, TensorPlan] = {}
        for linear in linears:
            a, b = _names(linear)
            shared[a] = TensorPlan(a, (self.rank, linear.in_features), Placement.NVM_FROZEN)
            shared[b] = TensorPlan(b, (linear.out_features, self.rank), Placement.NVM_FROZEN)
        inner = [TensorPlan(f"{x.name}.inner", (self.rank,), group="inner") for x in linears]
        outer = [TensorPlan(f"{x.name}.outer", (x.out_features,), group="outer") for x in linears]
        numbers = sum(vector.numbers for vector in (*inner, *outer))
        spared = self.rank * len(first_of(linears, shape))  # A x of the frozen embeddings
        return Part(
            (*inner, *outer, *shared.values()),
            beside=tuple(Beside(linear.name, *_names(linear)) for linear in linears),
            trained_linears=linears,
            inference_work=scale_forward(numbers),
            backward_work=scale_backward(numbers, spared),
        )

    def build(self, site: "Site") -> "Built":
        import torch
        from torch import nn

        from ..attaching import Built
        from ..layers import CellLinear, ChangedLinear, frozen, tensors_of

        adapted = {linear.name: linear for linear in self.linears(site.shape)}
        shared: dict[str, nn.Parameter] = {}

        def matrix(name: str) -> nn.Parameter:
            if name not in shared:
                shared[name] = frozen(torch.from_numpy(projection(*site.plan.matrices[name])).to(site.dtype))
            return shared[name]

        def make(name: str, linear: nn.Linear) -> CellLinear:
            if name not in adapted:
                return CellLinear(name, linear)
            a, b = _names(adapted[name])
            own = {
                "vera_a": matrix(a),
                "vera_b": matrix(b),
                "inner": nn.Parameter(torch.full((self.rank,), self.initial, dtype=site.dtype)),
                "outer": nn.Parameter(torch.zeros(linear.out_features, dtype=site.dtype)),
            }
            return ChangedLinear(name, linear, partial(_updated, a_name=a, b_name=b), own)

        encoder = site.encoder(make)
        return Built(site.model(encoder), tensors_of(encoder, "inner") | tensors_of(encoder, "outer"), shared)


# Rates as in the paper for RoBERTa (about ten times LoRA's); they have not been searched.
register(VeRA(recipe=Recipe(learning_rates={"inner": 1e-2, "outer": 1e-2, "head": 3e-3}, head_margin=1.0)))
