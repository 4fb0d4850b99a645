"""No adaptation: the frozen backbone, answering by the nearest class mean."""

from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class AsProgrammed(Frozen):
    """The same with the weights that `other` has the chip programmed with: what that one is before it adapts. It is no
    method to choose.
    """

    other: Method

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        pruned = self.other.part(shape, self.other.placements[0], size).pruned
        return replace(super().part(shape, placement, size), pruned=pruned)


register(Frozen(recipe=Recipe(learning_rates={}, epochs=0)))
