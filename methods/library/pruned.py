"""The pruned backbone without any training: the start of `spdf`, with class means as the head.

The distance from `frozen` to here is what pruning takes, as long as nothing is trained; that from here to `spdf` is
what training gives back.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...workloads.shapes import ModelShape
from ..placement import BackwardNeed, Placement
from ..plan import Part, Size
from ..recipes import Recipe
from ..spec import register
from .spdf import SPDF

if TYPE_CHECKING:
    from ..attaching import Built, Site


@dataclass(frozen=True)
class Pruned(SPDF):
    """Options as those of `spdf`, which hold here too unless others are given; nothing is trained in either mode."""

    name = "pruned"
    title = "Pruned, untrained"
    family = "none"
    summary = "no training: the smallest weights are zero before the chip is programmed, class means as the head"
    source = "the start of Thangarasa et al., SPDF, UAI 2023, arXiv:2303.10464, as it is built here"
    placements = (Placement.DIGITAL,)
    backward_need = BackwardNeed.NONE
    start = ""
    untrained = "spdf"
    groups = ()

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        return Part(train_head=False, pruned={x.name: self.density for x in shape.linears})

    def build(self, site: "Site") -> "Built":
        from ..attaching import Built

        return Built(site.model(site.encoder()))


register(Pruned(recipe=Recipe(learning_rates={}, epochs=0)))
