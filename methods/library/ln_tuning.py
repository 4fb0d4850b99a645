"""LayerNorm tuning: the gains and biases of the LayerNorms alone.

Qi et al., "Parameter-Efficient Tuning on Layer Normalization for Pre-trained Language Models", arXiv:2211.08682:

    LayerNorm(x) = g * (x - mean) / deviation + h        trained: every g and every h

Normalisation is work of the digital unit anyway: no cell is written and nothing is added to a pass.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import UsageError
from ...workloads.shapes import ModelShape
from ..costs import matrix_gradient, sum_gradient
from ..placement import Placement
from ..plan import Part, Size, TensorPlan
from ..recipes import Recipe
from ..spec import Method, register

if TYPE_CHECKING:
    from ..attaching import Built, Site


@dataclass(frozen=True)
class LayerNormTuning(Method):
    """All LayerNorms of the encoder, that of the embeddings (BERT) or behind the last block (ViT) included."""

    name = "ln-tuning"
    title = "LayerNorm tuning"
    family = "vectors"
    summary = "gains and biases of the LayerNorms; no cell written, no read added"
    source = (
        "Qi et al., Parameter-Efficient Tuning on Layer Normalization for Pre-trained Language Models, arXiv:2211.08682"
    )
    groups = ("gains", "biases")

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        if not shape.norm_shapes:
            raise UsageError("this model has no LayerNorm: ln-tuning has nothing to train")
        gains = [TensorPlan(f"{norm.name}.weight", (norm.width,), group="gains") for norm in shape.norm_shapes]
        biases = [TensorPlan(f"{x.name}.bias", (x.width,), group="biases") for x in shape.norm_shapes if x.bias]
        work = matrix_gradient(sum(gain.numbers for gain in gains)) + sum_gradient(sum(b.numbers for b in biases))
        return Part((*gains, *biases), before_blocks=True, backward_work=work)

    def build(self, site: "Site") -> "Built":
        from ..attaching import Built
        from ..layers import own_parameters

        encoder, paths = site.encoder(), {norm.name for norm in site.shape.norm_shapes}
        return Built(
            site.model(encoder), own_parameters(encoder, paths, "weight") | own_parameters(encoder, paths, "bias")
        )


# Rates as usual for vectors of this size; they have not been searched.
register(LayerNormTuning(recipe=Recipe(learning_rates={"gains": 1e-3, "biases": 1e-3, "head": 3e-3}, head_margin=1.0)))
