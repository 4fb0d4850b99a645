"""Linear probe: only the classifier head is trained, on features of the frozen backbone."""

from dataclasses import dataclass

import numpy as np

from ...workloads.pools import Pool
from ...workloads.shapes import ModelShape
from ..assemble import assemble
from ..base import Adaptation, BackboneLike, BackwardNeed, Method, ParameterCount, Placement, Recipe, register
from ..layers import AdaptedModel, CellLinear, clone_encoder


@dataclass(frozen=True)
class LinearProbe(Method):
    """Each training example passes the backbone once; the head is then trained on the stored features."""

    name = "probe"
    summary = "the classifier head alone, on stored features; no backward pass, no cell written"
    source = "Alain and Bengio, Understanding intermediate layers using linear classifier probes, arXiv:1610.01644"
    placements = (Placement.DIGITAL,)
    backward_need = BackwardNeed.NONE

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
        encoder = clone_encoder(backbone.module, backbone.linear_names(), CellLinear)
        model = AdaptedModel(encoder, backbone.hidden_size, classes)
        return assemble(self, backbone, model, groups={}, placements={})

    def count(self, shape: ModelShape, *, rank: int = 16, pool_size: int = 6) -> ParameterCount:
        return ParameterCount({})


# Best of 12 configurations drawn at random: the same budget, draws and tasks as for every other method
# (benchmarks/results/recipe_search_first.json). Little training beats much: the class means are hard to improve on.
register(LinearProbe(recipe=Recipe(learning_rates={"head": 0.001}, epochs=4, head_margin=0.5)))
