"""LayerNorm tuning: the gains and biases of the LayerNorms alone.

Qi et al., "Parameter-Efficient Tuning on Layer Normalization for Pre-trained Language Models", arXiv:2211.08682:

    LayerNorm(x) = g * (x - mean) / deviation + h        trained: every g and every h

Normalisation is work of the digital unit anyway: no cell is written and nothing is added to a pass.
"""

from dataclasses import dataclass

import numpy as np
from torch import nn

from ...errors import UsageError
from ...workloads.pools import Pool
from ...workloads.shapes import ModelShape
from ..assemble import assemble
from ..base import Adaptation, BackboneLike, BackwardNeed, Method, ParameterCount, Placement, Recipe, register
from ..costs import matrix_gradient, sum_gradient
from ..layers import AdaptedModel, CellLinear, clone_encoder, own_parameters


@dataclass(frozen=True)
class LayerNormTuning(Method):
    """All LayerNorms of the encoder, that of the embeddings (BERT) or behind the last block (ViT) included."""

    name = "ln-tuning"
    summary = "gains and biases of the LayerNorms; no cell written, no read added"
    source = (
        "Qi et al., Parameter-Efficient Tuning on Layer Normalization for Pre-trained Language Models, arXiv:2211.08682"
    )
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
        gains = own_parameters(encoder, (nn.LayerNorm,), ("weight",))
        biases = own_parameters(encoder, (nn.LayerNorm,), ("bias",))
        if not gains:
            raise UsageError("this model has no LayerNorm: ln-tuning has nothing to train")
        model = AdaptedModel(encoder, backbone.hidden_size, classes)
        work = matrix_gradient(sum(gain.numel() for gain in gains.values()))
        work += sum_gradient(sum(bias.numel() for bias in biases.values()))
        groups = {"gains": gains, "biases": biases}
        return assemble(self, backbone, model, groups=groups, placements={}, backward_work=work)

    def count(self, shape: ModelShape, *, rank: int = 16, pool_size: int = 6) -> ParameterCount:
        gains = shape.norms * shape.hidden_size
        return ParameterCount({"gains": gains} | ({"biases": gains} if shape.norm_bias else {}))


# Rates as usual for vectors of this size; they have not been searched.
register(LayerNormTuning(recipe=Recipe(learning_rates={"gains": 1e-3, "biases": 1e-3, "head": 3e-3}, head_margin=1.0)))
