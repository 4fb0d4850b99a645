"""BitFit: the bias terms alone (Ben Zaken, Goldberg and Ravfogel, ACL 2022, arXiv:2106.10199).

    y = W x + b        LayerNorm(x) = g * (x - mean) / deviation + h        trained: every b and every h

Both are added digitally, behind the converters: no cell is written and no read is added.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...workloads.shapes import ModelShape
from ..costs import sum_gradient
from ..placement import Placement
from ..plan import Part, Size, TensorPlan
from ..recipes import Recipe
from ..spec import Method, register

if TYPE_CHECKING:
    from ..attaching import Built, Site


@dataclass(frozen=True)
class BitFit(Method):
    """The biases of all linears and LayerNorms of the encoder; embedding tables have none, and there is no pooler."""

    name = "bitfit"
    title = "BitFit"
    family = "vectors"
    summary = "the biases of all linears and LayerNorms, added behind the converters; no cell written, no read added"
    source = "Ben Zaken et al., BitFit: Simple Parameter-efficient Fine-tuning, ACL 2022, arXiv:2106.10199"
    groups = ("biases",)

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        linears = [linear for linear in shape.linears if linear.bias]
        norms = [norm for norm in shape.norm_shapes if norm.bias]
        widths = [(linear.name, linear.out_features) for linear in linears] + [(n.name, n.width) for n in norms]
        return Part(
            tuple(TensorPlan(f"{name}.bias", (width,), group="biases") for name, width in widths),
            before_blocks=bool(norms),  # a LayerNorm's bias stands in front of the first block, or in it
            trained_linears=linears,
            backward_work=sum_gradient(sum(width for _, width in widths)),
        )

    def build(self, site: "Site") -> "Built":
        from ..attaching import Built
        from ..layers import own_parameters

        encoder = site.encoder()
        paths = {linear.name for linear in site.shape.linears} | {norm.name for norm in site.shape.norm_shapes}
        return Built(site.model(encoder), own_parameters(encoder, paths, "bias"))


# The rate is the paper's larger one (1e-4 to 1e-3); it has not been searched.
register(BitFit(recipe=Recipe(learning_rates={"biases": 1e-3, "head": 3e-3}, head_margin=1.0)))
