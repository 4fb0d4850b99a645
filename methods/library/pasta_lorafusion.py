"""PASTA and LoRAFusion together: special-token vectors on top of the fused pool. No cell is written for either.

H_l[p_i] <- H_l[p_i] + e_l,i        y = (m / n) * (W x + s B A x) + bias        as in `pasta` and `lorafusion`
"""

from dataclasses import dataclass, replace

import numpy as np

from ...workloads.pools import Pool
from ...workloads.shapes import ModelShape
from .. import warm_start
from ..base import Adaptation, BackboneLike, ParameterCount, Placement, Recipe, register
from ..costs import sum_gradient
from .lorafusion import LoRAFusion
from .pasta import Pasta


@dataclass(frozen=True)
class PastaLoRAFusion(LoRAFusion):
    """`special_tokens` as in `pasta`, all else as in `lorafusion`. The vectors start at zero."""

    name = "pasta+lorafusion"
    summary = "special-token vectors, fusion coefficients and magnitudes; no cell is written"
    source = "Yang et al., PASTA, EACL 2023, arXiv:2210.04382; Guo et al., LoRAFusion, GLSVLSI 2025"

    before_blocks = True

    special_tokens: int = 0

    def __post_init__(self) -> None:
        """Raise `UsageError` for a negative number of special tokens."""
        self._pasta()

    def _pasta(self) -> Pasta:
        return Pasta(recipe=self.recipe, special_tokens=self.special_tokens)

    def attach(
        self,
        backbone: BackboneLike,
        classes: int,
        rng: np.random.Generator,
        *,
        placement: Placement | None = None,
        pool: Pool | None = None,
    ) -> Adaptation:
        alone = replace(self, warm_start="")
        adaptation = super(PastaLoRAFusion, alone).attach(backbone, classes, rng, placement=placement, pool=pool)
        vectors = self._pasta().add_vectors(adaptation.module, backbone, rng)
        adaptation.add_group("vectors", vectors, sum_gradient(sum(vector.numel() for vector in vectors.values())))
        if self.warm_start:
            warm_start.load(adaptation, self.warm_start)
        return adaptation

    def count(self, shape: ModelShape, *, rank: int = 16, pool_size: int = 6) -> ParameterCount:
        fused, vectors = super().count(shape, rank=rank, pool_size=pool_size), self._pasta().count(shape)
        return ParameterCount({**fused.trained, **vectors.trained}, cells_frozen=fused.cells_frozen)


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
