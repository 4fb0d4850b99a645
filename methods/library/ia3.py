"""IA3: trained vectors that scale keys, values and the inner activations of the feed-forward layer.

Liu et al., "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning", NeurIPS 2022,
arXiv:2205.05638. With l_k, l_v, l_f of ones to begin with:

    K = l_k * (W_k x + b_k)        V = l_v * (W_v x + b_v)        FFN(x) = W_2 (l_f * act(W_1 x + b_1)) + b_2

The scaling is one digital multiplication behind the converters, or, for l_f, in front of the second matrix.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import UsageError
from ...workloads.pools import Pool
from ...workloads.shapes import ModelShape
from ..assemble import assemble
from ..base import Adaptation, BackboneLike, BackwardNeed, Method, ParameterCount, Placement, Recipe, register
from ..blocks import KEYS, VALUES, entry_linears
from ..costs import scale_backward, scale_forward
from ..layers import AdaptedModel, CellLinear, clone_encoder


class ScaledLinear(CellLinear):
    """A linear whose inputs (`of_input`) or outputs are multiplied by a trained vector that starts at one."""

    def __init__(self, name: str, linear: nn.Linear, of_input: bool) -> None:
        super().__init__(name, linear)
        self.of_input = of_input
        width = linear.in_features if of_input else linear.out_features
        self.scale = nn.Parameter(torch.ones(width, dtype=linear.weight.dtype))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * self.scale) if self.of_input else super().forward(x) * self.scale


def is_feed_forward_output(linear: nn.Linear) -> bool:
    """Whether a linear is the second matrix of a feed-forward layer: the only one of a block that narrows."""
    return linear.in_features > linear.out_features


@dataclass(frozen=True)
class IA3(Method):
    """Vectors for the key and value projections and for the second matrix of the feed-forward layer of every block."""

    name = "ia3"
    summary = "vectors that scale keys, values and inner activations; no cell written, no read added"
    source = "Liu et al., Few-Shot Parameter-Efficient Fine-Tuning (IA)^3, NeurIPS 2022, arXiv:2205.05638"
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

        def make(name: str, linear: nn.Linear) -> CellLinear:
            inner = is_feed_forward_output(linear)
            if inner or name.rsplit(".", 1)[-1] in KEYS + VALUES:
                return ScaledLinear(name, linear, of_input=inner)
            return CellLinear(name, linear)

        encoder = clone_encoder(backbone.module, backbone.linear_names(), make)
        scaled = [module for module in encoder.modules() if isinstance(module, ScaledLinear)]
        if not scaled:
            raise UsageError(
                "the model has no key, value or feed-forward projection by a known name: ia3 cannot scale any"
            )
        vectors = {f"{module.cell_name}.scale": module.scale for module in scaled}
        numbers = sum(vector.numel() for vector in vectors.values())
        first = entry_linears(backbone.linear_names())  # keys and values of the frozen embeddings
        spared = sum(module.scale.numel() for module in scaled if module.cell_name in first)
        return assemble(
            self,
            backbone,
            AdaptedModel(encoder, backbone.hidden_size, classes),
            groups={"vectors": vectors},
            placements={},
            inference_work=scale_forward(numbers),
            backward_work=scale_backward(numbers, spared),
            trained_linears=[module.cell_name for module in scaled],
        )

    def count(self, shape: ModelShape, *, rank: int = 16, pool_size: int = 6) -> ParameterCount:
        outputs = sum(linear.out_features for linear in shape.linears if linear.role in ("key", "value"))
        return ParameterCount(
            {"vectors": outputs + sum(linear.in_features for linear in shape.linears if linear.role == "ffn_down")}
        )


# The rate is the paper's (3e-3); it has not been searched.
register(IA3(recipe=Recipe(learning_rates={"vectors": 3e-3, "head": 3e-3}, head_margin=1.0)))
