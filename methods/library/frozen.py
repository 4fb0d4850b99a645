"""No adaptation: the frozen backbone, answering by the nearest class mean."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...workloads.shapes import ModelShape
from ..placement import BackwardNeed, Placement
from ..plan import Part, Size
from ..recipes import Recipe
from ..spec import Method, register

if TYPE_CHECKING:
    from ..attaching import Built, Site


@dataclass(frozen=True)
class Frozen(Method):
    """A frozen encoder has no answer for a new label set without some reading of its features.

    The head is the nearest-class-mean classifier of the training shots' features: one forward pass over them, no
    gradient, no optimiser, nothing to tune. Every method without a pool starts from this same head, so the distance to
    `frozen` is what its training gains; those with a pool start from `pool`.
    """

    name = "frozen"
    title = "Frozen"
    family = "none"
    summary = "no training: nearest class mean of the frozen backbone's features"
    source = "Mensink et al., Distance-based image classification (nearest class mean), IEEE TPAMI 2013"
    backward_need = BackwardNeed.NONE
    start = ""

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        return Part(train_head=False)

    def build(self, site: "Site") -> "Built":
        from ..attaching import Built

        return Built(site.model(site.encoder()))


register(Frozen(recipe=Recipe(learning_rates={}, epochs=0)))
