"""SPDF: a backbone most of whose weights are zero, and fine-tuning that wakes them, or leaves them alone.

Thangarasa et al., "SPDF: Sparse Pre-training and Dense Fine-tuning for Large Language Models", UAI 2023,
arXiv:2303.10464. There a model is pre-trained with up to three quarters of its weights at zero, at places drawn once at
random, and then fine-tuned with every weight free. **The sparse pre-training is not done here**: the backbone that is
given is pruned, each matrix by the magnitude of its weights to the same `density`, and nothing mends what that breaks
before fine-tuning. How much it breaks is what `pruned` says, the pruned backbone before any training. So this is the
mechanism and its costs, not the paper's accuracy.

The chip is programmed with the pruned weights: both cells of a pair that holds a zero are at their lowest conductance.
They still conduct, still sit in the arrays, and are still read: only zeros that fill whole arrays would save these.

`mode` dense is the paper's: every weight trains, all cells may be written, as in `full`; what a step moves by less than
half a level leaves its cell at zero all the same. `mode` keep trains the weights that are left, and leaves the cells of
the others at zero for good: no write gives them a pulse. The state holds the kept numbers alone. The digital unit
multiplies by whole matrices in both: it has no products that skip single zeros.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import UsageError, unknown_name
from ...workloads.shapes import LinearShape, ModelShape
from ..costs import matrix_gradient
from ..placement import Placement
from ..plan import Part, Size, TensorPlan
from ..pruning import kept_numbers, require_density
from ..recipes import Recipe
from ..spec import register
from .full import FullFineTuning

if TYPE_CHECKING:
    from torch import Tensor

    from ..attaching import Built, Site

MODES = ("dense", "keep")


def _read(linear: Any, x: "Tensor") -> "Tensor":
    y = linear.reader(linear.cell_name, x, linear.filled())
    return y if linear.bias is None else y + linear.bias


@dataclass(frozen=True)
class SPDF(FullFineTuning):
    """`density`: share of the weights of each matrix that is kept, the largest. `mode`: dense, every weight trains;
    keep, the kept ones alone.
    """

    name = "spdf"
    title = "SPDF"
    summary = "a backbone that is pruned before it is programmed, then trained as a whole or where weights are left"
    source = "Thangarasa et al., SPDF: Sparse Pre-training and Dense Fine-tuning, UAI 2023, arXiv:2303.10464"
    start = "pruned"
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"rate.matrices": 1.5e-4, "rate.biases": 1.5e-4},
        {"rate.matrices": 5e-4, "rate.biases": 5e-4},
        {"recipe.epochs": 16},
        {"rate.head": 1e-3},
    )

    density: float = 0.5
    mode: str = "dense"

    def __post_init__(self) -> None:
        """Raise `UsageError` for a density that is no share, or a mode unknown."""
        require_density(self.density, self.name)
        if self.mode not in MODES:
            raise UsageError(unknown_name(f"mode of {self.name}", self.mode, MODES))

    def _kept(self, linear: LinearShape) -> int:
        return kept_numbers(self.density, linear.out_features * linear.in_features)

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        whole = super().part(shape, placement, size)
        whole = replace(whole, pruned={x.name: self.density for x in shape.linears})
        if self.mode == "dense":
            return whole
        names = {x.name: x for x in shape.linears}
        tensors = [
            replace(t, group="", changing=self._kept(names[t.name]), from_state=True) if t.name in names else t
            for t in whole.tensors
        ]
        kept = [TensorPlan(f"{x.name}.kept", (self._kept(x),), group="matrices") for x in shape.linears]
        pruned = shape.weights - sum(tensor.numbers for tensor in kept)
        spared = matrix_gradient(-pruned)  # of what is not trained
        return replace(whole, tensors=(*kept, *tensors), backward_work=whole.backward_work + spared)

    def build(self, site: "Site") -> "Built":
        if self.mode == "dense":
            return super().build(site)
        from torch import nn

        from ..attaching import Built
        from ..layers import CellLinear, frozen, tensors_of
        from ..pruning import kept_places
        from ..sparse import FilledLinear

        numbers = {x.name: self._kept(x) for x in site.shape.linears}

        def make(name: str, linear: nn.Linear) -> CellLinear:
            at = kept_places(linear.weight, numbers[name])
            kept = nn.Parameter(linear.weight.detach().flatten()[at])
            made = FilledLinear(name, linear, _read, {"kept": kept, "at": at})
            made.bias = None if linear.bias is None else frozen(linear.bias.clone())
            return made

        encoder = site.encoder(make)
        filled = [linear for linear in encoder.modules() if isinstance(linear, FilledLinear)]
        biases = {f"{x.cell_name}.bias": x.bias for x in filled if x.bias is not None}
        state = tensors_of(encoder, "kept") | biases
        return Built(site.model(encoder), state, holds={x.cell_name: x.filled for x in filled})


# The recipe has not been searched: that of `full`. The paper prunes to a half and to a quarter; a quarter of a MiniLM
# that nobody pre-trained so answers little better than chance.
register(
    SPDF(
        recipe=Recipe(
            learning_rates={"matrices": 5e-5, "biases": 5e-5, "head": 3e-4}, head_margin=0.5, new_head_again=False
        )
    )
)
