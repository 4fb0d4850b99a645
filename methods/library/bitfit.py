"""BitFit: the bias terms alone (Ben Zaken, Goldberg and Ravfogel, ACL 2022, arXiv:2106.10199).

    y = W x + b        LayerNorm(x) = g * (x - mean) / deviation + h        trained: every b and every h

Both are added digitally, behind the converters: no cell is written and no read is added.
"""

from dataclasses import dataclass

import numpy as np
from torch import nn

from ...workloads.pools import Pool
from ...workloads.shapes import ModelShape
from ..assemble import assemble
from ..base import Adaptation, BackboneLike, BackwardNeed, Method, ParameterCount, Placement, Recipe, register
from ..costs import sum_gradient
from ..layers import AdaptedModel, CellLinear, clone_encoder, own_parameters


@dataclass(frozen=True)
class BitFit(Method):
    """The biases of all linears and LayerNorms of the encoder; embedding tables have none, and there is no pooler."""

    name = "bitfit"
    summary = "the biases of all linears and LayerNorms, added behind the converters; no cell written, no read added"
    source = "Ben Zaken et al., BitFit: Simple Parameter-efficient Fine-tuning, ACL 2022, arXiv:2106.10199"
    placements = (Placement.DIGITAL,)
    backward_need = BackwardNeed.THROUGH

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
        biases = own_parameters(encoder, (CellLinear, nn.LayerNorm), ("bias",))
        model = AdaptedModel(encoder, backbone.hidden_size, classes)
        work = sum_gradient(sum(bias.numel() for bias in biases.values()))
        linears = {f"{name}.bias": name for name in backbone.linear_names()}
        return assemble(
            self,
            backbone,
            model,
            groups={"biases": biases},
            placements={},
            backward_work=work,
            # A LayerNorm's bias stands in front of the first block, or in it.
            trained_linears=[linears[name] for name in biases] if biases.keys() <= linears.keys() else None,
        )

    def count(self, shape: ModelShape, *, rank: int = 16, pool_size: int = 6) -> ParameterCount:
        linears = sum(linear.out_features for linear in shape.linears if linear.bias)
        return ParameterCount({"biases": linears + (shape.norms * shape.hidden_size if shape.norm_bias else 0)})


# The rate is the paper's larger one (1e-4 to 1e-3); it has not been searched.
register(BitFit(recipe=Recipe(learning_rates={"biases": 1e-3, "head": 3e-3}, head_margin=1.0)))
