"""LoCA: a few numbers of the cosine transform of the update, whose places are learnt as well.

Du et al., "LoCA: Location-Aware Cosine Adaptation for Parameter-Efficient Fine-Tuning", ICLR 2025, arXiv:2502.06820.
With the orthonormal cosine matrices C of the output's width and D of the input's, and S zero but for b coefficients a
at the places l,

    W' = W + alpha C^T S(a, l) D        trained: a (b), l (2, b) of every adapted linear; a starts at 0

The paper reports the coefficients as trained numbers; the places are twice as many, and both are counted here.

W' would be dense. It is never formed: y = W x + bias + alpha C^T (S (D x)), where D and C^T are programmed once for all
matrices of their width, S is held digitally, and no cell is written. Every answer pays two more reads of square
matrices for each adapted linear.

Places are shares of the extents, and start uniformly distributed. The hook `locations` moves coefficients and places in
turns for the first tenth of the steps; then the places stay. The gradient of both needs C g and D x alone, which are
read anyway: the dense dL/dW is not formed either. Coefficients at the same place add up; in the authors' code the last
one counts.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ...errors import UsageError
from ...workloads.shapes import LinearShape, ModelShape
from ..costs import NUMBER_BYTES, DigitalWork
from ..placement import Placement
from ..plan import DEFAULT_TARGETS, Beside, Part, Size, TensorPlan, first_of
from ..recipes import Recipe
from ..spec import Method, Targeted, register
from ..training.hooks.locations import Locations

if TYPE_CHECKING:
    from torch import Tensor

    from ..attaching import Built, Site


def cosines(width: int) -> np.ndarray:
    """The orthonormal cosine transform (DCT-II) of vectors of a width: (width, width), a frequency in each row."""
    frequency, place = np.arange(width)[:, None], np.arange(width)[None, :]
    matrix = math.sqrt(2.0 / width) * np.cos(np.pi * (2 * place + 1) * frequency / (2 * width))
    matrix[0] /= math.sqrt(2.0)
    return matrix


def _names(linear: LinearShape) -> tuple[str, str]:
    """Cell names of D for its input width and of C^T for its output width."""
    return f"loca.forward.{linear.in_features}", f"loca.back.{linear.out_features}"


def _updated(linear: Any, x: "Tensor", forth: str, back: str, alpha: float) -> "Tensor":
    from ..sparse import Movable

    spectrum = linear.reader(forth, x, linear.loca_forth)
    mixed = Movable.apply(spectrum, linear.coefficients, linear.locations, len(linear.loca_back))
    return linear.plain(x) + alpha * linear.reader(back, mixed, linear.loca_back)


@dataclass(frozen=True)
class LoCA(Targeted, Method):
    """`coefficients`: b of each adapted linear, or as many as its matrix has numbers. `alpha`: the scale. `targets`:
    the linears that are adapted, by role, as of `lora`. A rate of 0 of `locations` leaves places where they start.
    """

    name = "loca"
    title = "LoCA"
    family = "updates"
    summary = "cosine coefficients at learnt places, between two arrays that all layers share; no cell written"
    source = "Du et al., LoCA: Location-Aware Cosine Adaptation, ICLR 2025, arXiv:2502.06820"
    groups = ("coefficients", "locations")
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"rate.coefficients": 3e-3},
        {"rate.coefficients": 3e-2},
        {"rate.locations": 0.0},
        {"rate.head": 1e-3},
    )

    coefficients: int = 1000
    alpha: float = 1.0
    targets: str = ",".join(DEFAULT_TARGETS)

    def __post_init__(self) -> None:
        """Raise `UsageError` for no coefficient, an alpha that is not above 0, or targets that are no roles."""
        if self.coefficients < 1:
            raise UsageError(f"coefficients of loca must be at least 1; got {self.coefficients}")
        if not 0 < self.alpha < float("inf"):
            raise UsageError(f"alpha of loca must be above 0; got {self.alpha}")
        _ = self.roles

    @property
    def no_bundle(self) -> str:
        """ONNX Runtime adds up what falls on one place in any order, and knows no gradient of places."""
        return "adds up coefficients at places that move while it is trained"

    def _numbers(self, linear: LinearShape) -> int:
        """Coefficients of a linear."""
        return min(self.coefficients, linear.out_features * linear.in_features)

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        linears, shared = self.linears(shape), {}
        for linear in linears:
            forth, back = _names(linear)
            shared[forth] = TensorPlan(forth, (linear.in_features, linear.in_features), Placement.NVM_FROZEN)
            shared[back] = TensorPlan(back, (linear.out_features, linear.out_features), Placement.NVM_FROZEN)
        values = [TensorPlan(f"{x.name}.coefficients", (self._numbers(x),), group="coefficients") for x in linears]
        places = [TensorPlan(f"{x.name}.locations", (2, self._numbers(x)), group="locations") for x in linears]
        numbers = sum(value.numbers for value in values)
        spared = sum(self._numbers(linear) for linear in first_of(linears, shape))  # D x of the frozen embeddings
        return Part(
            (*values, *places, *shared.values()),
            beside=tuple(Beside(linear.name, *_names(linear)) for linear in linears),
            trained_linears=linears,
            inference_work=DigitalWork(
                per_token=numbers, scaled_per_token=numbers, bytes_per_sequence=NUMBER_BYTES * 3 * numbers
            ),
            backward_work=self._backward(numbers, spared),
        )

    def _backward(self, numbers: int, spared: int) -> DigitalWork:
        """Gradients of what the coefficients scale and of themselves, a product each, and of their places: two each,
        of differences of neighbours, in those steps that move places. These are charged by their share of the steps.
        """
        share = min(
            (2 * hook.location_share / 3 for hook in self.recipe.hooks if isinstance(hook, Locations)), default=1
        )
        moving = 2 * numbers if self.recipe.learning_rates.get("locations", 1.0) > 0 else 0
        products, places = 2 * numbers - spared, round(share * moving)
        held = 3 * numbers + 2 * numbers + round(share * 2 * moving)  # what is held, and sums read and written
        return DigitalWork(
            per_token=products + places, scaled_per_token=products + places, bytes_per_sequence=NUMBER_BYTES * held
        )

    def build(self, site: "Site") -> "Built":
        import torch
        from torch import nn

        from ..attaching import Built
        from ..layers import CellLinear, ChangedLinear, frozen, tensors_of

        generator, adapted = site.generator(), {linear.name: linear for linear in self.linears(site.shape)}
        shared: dict[str, nn.Parameter] = {}

        def matrix(name: str, back: bool) -> nn.Parameter:
            if name not in shared:
                values = torch.from_numpy(cosines(site.plan.matrices[name][0])).to(site.dtype)
                shared[name] = frozen((values.T if back else values).contiguous())
            return shared[name]

        def make(name: str, linear: nn.Linear) -> CellLinear:
            if name not in adapted:
                return CellLinear(name, linear)
            forth, back = _names(adapted[name])
            numbers = self._numbers(adapted[name])
            own = {
                "loca_forth": matrix(forth, False),
                "loca_back": matrix(back, True),
                "coefficients": nn.Parameter(torch.zeros(numbers, dtype=site.dtype)),
                "locations": nn.Parameter(torch.rand(2, numbers, dtype=site.dtype, generator=generator)),
            }
            update = partial(_updated, forth=forth, back=back, alpha=self.alpha)
            return ChangedLinear(name, linear, update, own)

        encoder = site.encoder(make)
        return Built(
            site.model(encoder), tensors_of(encoder, "coefficients") | tensors_of(encoder, "locations"), shared
        )


# Rates of coefficients and head as in the paper for RoBERTa. A run of a hundred examples moves places in a handful of
# steps, not in the paper's thousand at 1e-4: at 5e-3 a step moves one by two rows of 384. Nothing has been searched.
register(
    LoCA(
        recipe=Recipe(
            learning_rates={"coefficients": 1e-2, "locations": 5e-3, "head": 3e-3},
            head_margin=1.0,
            hooks=(Locations(),),
        )
    )
)
