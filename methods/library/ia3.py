"""IA3: trained vectors that scale keys, values and the inner activations of the feed-forward layer.

Liu et al., "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning", NeurIPS 2022,
arXiv:2205.05638. With l_k, l_v, l_f of ones to begin with:

    K = l_k * (W_k x + b_k)        V = l_v * (W_v x + b_v)        FFN(x) = W_2 (l_f * act(W_1 x + b_1)) + b_2

The scaling is one digital multiplication behind the converters, or, for l_f, in front of the second matrix.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import UsageError
from ...workloads.shapes import ModelShape
from ..costs import scale_backward, scale_forward
from ..placement import Placement
from ..plan import Part, Size, TensorPlan, first_of
from ..recipes import Recipe
from ..spec import Method, register

if TYPE_CHECKING:
    from torch import Tensor

    from ..attaching import Built, Site


def _scaled_outputs(linear: Any, x: "Tensor") -> "Tensor":
    return linear.plain(x) * linear.scale


def _scaled_inputs(linear: Any, x: "Tensor") -> "Tensor":
    return linear.plain(x * linear.scale)


@dataclass(frozen=True)
class IA3(Method):
    """Vectors for the key and value projections and for the second matrix of the feed-forward layer of every block."""

    name = "ia3"
    title = "(IA)³"
    family = "vectors"
    summary = "vectors that scale keys, values and inner activations; no cell written, no read added"
    source = "Liu et al., Few-Shot Parameter-Efficient Fine-Tuning (IA)^3, NeurIPS 2022, arXiv:2205.05638"
    groups = ("vectors",)

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        outputs = [linear for linear in shape.linears if linear.role in ("key", "value")]
        widths = {linear.name: linear.out_features for linear in outputs}
        widths |= {linear.name: linear.in_features for linear in shape.linears if linear.role == "ffn_down"}
        if not widths:
            raise UsageError(f"{shape.name} has no key, value or feed-forward projection: ia3 cannot scale any")
        numbers, spared = sum(widths.values()), sum(linear.out_features for linear in first_of(outputs, shape))
        return Part(
            tuple(TensorPlan(f"{name}.scale", (width,), group="vectors") for name, width in widths.items()),
            trained_linears=outputs,
            inference_work=scale_forward(numbers),
            backward_work=scale_backward(numbers, spared),  # keys and values of the frozen embeddings
        )

    def build(self, site: "Site") -> "Built":
        import torch
        from torch import nn

        from ..attaching import Built
        from ..layers import CellLinear, ChangedLinear, tensors_of

        roles = {linear.name: linear.role for linear in site.shape.linears}

        def make(name: str, linear: nn.Linear) -> CellLinear:
            if roles[name] not in ("key", "value", "ffn_down"):
                return CellLinear(name, linear)
            inner = roles[name] == "ffn_down"
            width = linear.in_features if inner else linear.out_features
            scale = nn.Parameter(torch.ones(width, dtype=site.dtype))
            return ChangedLinear(name, linear, _scaled_inputs if inner else _scaled_outputs, {"scale": scale})

        encoder = site.encoder(make)
        return Built(site.model(encoder), tensors_of(encoder, "scale"))


# The rate is the paper's (3e-3); it has not been searched.
register(IA3(recipe=Recipe(learning_rates={"vectors": 3e-3, "head": 3e-3}, head_margin=1.0)))
