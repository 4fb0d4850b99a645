"""Full fine-tuning of the encoder: every matrix in cells is trained, the upper anchor of accuracy and of cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...workloads.shapes import ModelShape
from ..costs import DigitalWork, matrix_forward, matrix_gradient
from ..placement import BackwardNeed, Placement
from ..plan import Part, Size, TensorPlan, first_of
from ..recipes import Recipe
from ..spec import Method, register

if TYPE_CHECKING:
    from ..attaching import Built, Site


@dataclass(frozen=True)
class FullFineTuning(Method):
    """Matrices and biases of every linear of the encoder.

    The embedding tables and the LayerNorms stay frozen: the tables sit in no crossbar, and a few hundred examples
    reach only a few of their rows; the LayerNorms belong to the digital unit and are a method of their own.
    """

    name = "full"
    title = "Full fine-tuning"
    family = "all"
    summary = "every encoder matrix and bias, rewritten in its cells"
    source = "the usual fine-tuning; Devlin et al., BERT, NAACL 2019, arXiv:1810.04805"
    placements: ClassVar[tuple[Placement, ...]] = (Placement.NVM_TASK, Placement.NVM_STEP)
    backward_need = BackwardNeed.FULL
    searched = "recipe_search_first.json"
    groups: ClassVar[tuple[str, ...]] = ("matrices", "biases")
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"rate.matrices": 2e-5, "rate.biases": 2e-5},
        {"rate.matrices": 1e-4, "rate.biases": 1e-4},
        {"recipe.epochs": 4},
        {"recipe.epochs": 16},
        {"rate.head": 1e-3},
    )

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        matrices = [TensorPlan(x.name, (x.out_features, x.in_features), placement, "matrices") for x in shape.linears]
        biases = [TensorPlan(f"{x.name}.bias", (x.out_features,), group="biases") for x in shape.linears if x.bias]
        # Trained digitally, every matrix product and its transpose is digital work; in cells both are reads. The
        # embeddings are frozen: the first projections need no gradient of what enters them.
        by_task = placement is Placement.NVM_TASK
        passed = shape.weights - sum(
            linear.out_features * linear.in_features for linear in first_of(shape.linears, shape)
        )
        return Part(
            (*matrices, *biases),
            trained_linears=shape.linears,
            training_work=matrix_forward(shape.weights) if by_task else DigitalWork(),
            backward_work=(matrix_forward(passed) if by_task else DigitalWork()) + matrix_gradient(shape.weights),
        )

    def build(self, site: "Site") -> "Built":
        from ..attaching import Built
        from ..layers import CellLinear

        encoder = site.encoder(lambda name, linear: CellLinear(name, linear, own=True))
        linears = [module for module in encoder.modules() if isinstance(module, CellLinear)]
        biases = {f"{linear.cell_name}.bias": linear.bias for linear in linears if linear.bias is not None}
        return Built(site.model(encoder), {linear.cell_name: linear.weight for linear in linears} | biases)


# Best of 12 configurations drawn at random, with the budget of the other methods
# (benchmarks/results/recipe_search_first.json). The start of the head matters most: the four best have a margin of 0.5.
register(
    FullFineTuning(
        recipe=Recipe(
            learning_rates={"matrices": 5e-5, "biases": 5e-5, "head": 3e-4}, head_margin=0.5, new_head_again=False
        )
    )
)
