"""PASTA and LoRAFusion together: special-token vectors on top of the fused pool. No cell is written for either.

H_l[p_i] <- H_l[p_i] + e_l,i        y = (m / n) * (W x + s B A x) + bias        as in `pasta` and `lorafusion`
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from ...workloads.shapes import ModelShape
from ..placement import Placement
from ..plan import Part, Size
from ..recipes import Recipe
from ..spec import register
from .lorafusion import LoRAFusion
from .pasta import Pasta

if TYPE_CHECKING:
    from ..attaching import Built, Site


@dataclass(frozen=True)
class PastaLoRAFusion(LoRAFusion):
    """`special_tokens` as in `pasta`, all else as in `lorafusion`. The vectors start at zero."""

    name = "pasta+lorafusion"
    title = "PASTA + LoRAFusion"
    summary = "special-token vectors, fusion coefficients and magnitudes; no cell is written"
    source = "Yang et al., PASTA, EACL 2023, arXiv:2210.04382; Guo et al., LoRAFusion, GLSVLSI 2025"
    groups = ("coefficients", "magnitudes", "vectors")
    is_lora = False
    forward_only: ClassVar[Mapping[str, Any]] = {}
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"rate.coefficients": 0.01, "rate.magnitudes": 0.001, "rate.vectors": 1e-3},
        {"rate.magnitudes": 0.0},
        {"recipe.epochs": 4},
        {"rate.head": 1e-3},
    )

    special_tokens: int = 0

    def __post_init__(self) -> None:
        """Raise `UsageError` for a negative number of special tokens."""
        self._pasta()

    def _pasta(self) -> Pasta:
        return Pasta(recipe=self.recipe, special_tokens=self.special_tokens)

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        fused, vectors = self.fused(shape, size, before_blocks=True), self._pasta().part(shape, placement, size)
        work = fused.backward_work + vectors.backward_work
        return replace(fused, tensors=(*fused.tensors, *vectors.tensors), backward_work=work)

    def build(self, site: "Site") -> "Built":
        built = super().build(site)
        return replace(built, state={**built.state, **self._pasta().add_vectors(built.model, site)})


# Each part's own rates, and LoRAFusion's head: the start is the same. They have not been searched together.
register(
    PastaLoRAFusion(
        recipe=Recipe(
            learning_rates={"coefficients": 0.02, "magnitudes": 0.003, "vectors": 3e-3, "head": 0.001},
            head_margin=0.5,
            l1=0.0005,
        )
    )
)
