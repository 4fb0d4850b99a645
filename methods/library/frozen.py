"""No adaptation: the frozen backbone, answering by the nearest class mean."""

from dataclasses import dataclass

import numpy as np

from ...workloads.pools import Pool
from ...workloads.shapes import ModelShape
from ..assemble import assemble
from ..base import Adaptation, BackboneLike, BackwardNeed, Method, ParameterCount, Placement, Recipe, register
from ..layers import AdaptedModel, CellLinear, clone_encoder


@dataclass(frozen=True)
class Frozen(Method):
    """A frozen encoder has no answer for a new label set without some reading of its features.

    The head is the nearest-class-mean classifier of the training shots' features: one forward pass over them, no
    gradient, no optimiser, nothing to tune. Every method without a pool starts from this same head, so the distance to
    `frozen` is what its training gains; those with a pool start from `pool`.
    """

    name = "frozen"
    summary = "no training: nearest class mean of the frozen backbone's features"
    source = "Mensink et al., Distance-based image classification (nearest class mean), IEEE TPAMI 2013"
    placements = (Placement.DIGITAL,)
    backward_need = BackwardNeed.NONE
    start = ""

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
        return assemble(self, backbone, model, groups={}, placements={}, train_head=False)

    def count(self, shape: ModelShape, *, rank: int = 16, pool_size: int = 6) -> ParameterCount:
        return ParameterCount({})


register(Frozen(recipe=Recipe(learning_rates={}, epochs=0)))
