"""Full fine-tuning of the encoder: every matrix in cells is trained, the upper anchor of accuracy and of cost."""

from dataclasses import dataclass

import numpy as np
from torch import nn

from ...workloads.pools import Pool
from ...workloads.shapes import ModelShape
from ..assemble import assemble
from ..base import Adaptation, BackboneLike, BackwardNeed, Method, ParameterCount, Placement, Recipe, register
from ..blocks import entry_linears
from ..costs import DigitalWork, matrix_forward, matrix_gradient
from ..layers import AdaptedModel, CellLinear, clone_encoder


@dataclass(frozen=True)
class FullFineTuning(Method):
    """Matrices and biases of every linear of the encoder.

    The embedding tables and the LayerNorms stay frozen: the tables sit in no crossbar, and a few hundred examples
    reach only a few of their rows; the LayerNorms belong to the digital unit and are a method of their own.
    """

    name = "full"
    summary = "every encoder matrix and bias, rewritten in its cells"
    source = "the usual fine-tuning; Devlin et al., BERT, NAACL 2019, arXiv:1810.04805"
    placements = (Placement.NVM_TASK, Placement.NVM_STEP)
    backward_need = BackwardNeed.FULL

    def attach(
        self,
        backbone: BackboneLike,
        classes: int,
        rng: np.random.Generator,
        *,
        placement: Placement | None = None,
        pool: Pool | None = None,
    ) -> Adaptation:
        placement = self.choose_placement(placement)
        encoder = clone_encoder(
            backbone.module, backbone.linear_names(), lambda name, linear: CellLinear(name, linear, own=True)
        )
        model = AdaptedModel(encoder, backbone.hidden_size, classes)
        linears = [module for module in encoder.modules() if isinstance(module, CellLinear)]
        matrices: dict[str, nn.Parameter] = {linear.cell_name: linear.weight for linear in linears}
        biases = {f"{linear.cell_name}.bias": linear.bias for linear in linears if linear.bias is not None}
        weights = sum(matrix.numel() for matrix in matrices.values())
        passed = weights - sum(matrices[name].numel() for name in entry_linears(matrices))
        # Trained digitally, every matrix product and its transpose is digital work; in cells both are reads. The
        # embeddings are frozen: the first projections need no gradient of what enters them.
        by_task = placement is Placement.NVM_TASK
        return assemble(
            self,
            backbone,
            model,
            groups={"matrices": matrices, "biases": biases},
            placements=dict.fromkeys(matrices, placement),
            training_work=matrix_forward(weights) if by_task else DigitalWork(),
            backward_work=(matrix_forward(passed) if by_task else DigitalWork()) + matrix_gradient(weights),
            trained_linears=matrices,
        )

    def count(self, shape: ModelShape, *, rank: int = 16, pool_size: int = 6) -> ParameterCount:
        linears = [linear for block in shape.blocks for linear in block.linears]
        weights = sum(linear.in_features * linear.out_features for linear in linears)
        biases = sum(linear.out_features for linear in linears if linear.bias)
        return ParameterCount({"matrices": weights, "biases": biases}, cells_trained=weights)


# Best of 12 configurations drawn at random, with the budget of the other methods
# (benchmarks/results/recipe_search_first.json). The start of the head matters most: the four best have a margin of 0.5.
register(
    FullFineTuning(
        recipe=Recipe(
            learning_rates={"matrices": 5e-5, "biases": 5e-5, "head": 3e-4}, head_margin=0.5, new_head_again=False
        )
    )
)
