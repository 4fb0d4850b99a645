"""Linear probe: only the classifier head is trained, on features of the frozen backbone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...workloads.shapes import ModelShape
from ..placement import BackwardNeed, Placement
from ..plan import Part, Size
from ..recipes import Recipe
from ..spec import Method, register

if TYPE_CHECKING:
    from ..attaching import Built, Site


@dataclass(frozen=True)
class LinearProbe(Method):
    """Each training example passes the backbone once; the head is then trained on the stored features."""

    name = "probe"
    title = "Classifier only"
    family = "head"
    summary = "the classifier head alone, on stored features; no backward pass, no cell written"
    source = "Alain and Bengio, Understanding intermediate layers using linear classifier probes, arXiv:1610.01644"
    backward_need = BackwardNeed.NONE
    searched = "recipe_search_first.json"
    for_images: ClassVar[Mapping[str, Any]] = {"epochs": 8}
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"rate.head": 1e-4},
        {"recipe.epochs": 16},
        {"rate.head": 1e-3, "recipe.head_shrinkage": 0.7},
        {"recipe.epochs": 8},
    )

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        return Part()

    def build(self, site: "Site") -> "Built":
        from ..attaching import Built

        return Built(site.model(site.encoder()))


# Best of 12 configurations drawn at random: the same budget, draws and tasks as for every other method
# (benchmarks/results/recipe_search_first.json). Little training beats much: the class means are hard to improve on.
register(LinearProbe(recipe=Recipe(learning_rates={"head": 0.001}, epochs=4, head_margin=0.5)))
