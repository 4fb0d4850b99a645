"""IA3: trained vectors that scale keys, values and the inner activations of the feed-forward layer.

Liu et al., "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning", NeurIPS 2022,
arXiv:2205.05638. With l_k, l_v, l_f of ones to begin with:

    K = l_k * (W_k x + b_k)        V = l_v * (W_v x + b_v)        FFN(x) = W_2 (l_f * act(W_1 x + b_1)) + b_2

The scaling is one digital multiplication behind the converters, or, for l_f, in front of the second matrix.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...workloads.shapes import ModelShape
from ..costs import scale_backward, scale_forward
from ..placement import Placement
from ..plan import Part, Size, TensorPlan, first_of
from ..recipes import Recipe
from ..spec import Method, Targeted, register

if TYPE_CHECKING:
    from torch import Tensor

    from ..attaching import Built, Site


def _scaled_outputs(linear: Any, x: "Tensor") -> "Tensor":
    return linear.plain(x) * linear.scale


def _scaled_inputs(linear: Any, x: "Tensor") -> "Tensor":
    return linear.plain(x * linear.scale)


@dataclass(frozen=True)
class IA3(Targeted, Method):
    """`targets`: the linears that are scaled, by role, as of `lora`: ffn_down in front, the others behind. A joint
    projection is scaled as a whole, its queries too.
    """

    name = "ia3"
    title = "(IA)³"
    family = "vectors"
    summary = "vectors that scale keys, values and inner activations; no cell written, no read added"
    source = "Liu et al., Few-Shot Parameter-Efficient Fine-Tuning (IA)^3, NeurIPS 2022, arXiv:2205.05638"
    groups = ("vectors",)
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"rate.vectors": 1e-3},
        {"rate.vectors": 1e-2},
        {"recipe.epochs": 16},
        {"rate.head": 1e-3},
    )

    targets: str = "key,value,ffn_down"

    def __post_init__(self) -> None:
        """Raise `UsageError` for targets that are no roles."""
        _ = self.roles

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        scaled = self.linears(shape)
        inner = [linear for linear in scaled if linear.role == "ffn_down"]
        widths = {linear: linear.in_features if linear in inner else linear.out_features for linear in scaled}
        # What is scaled first needs no gradient, be it the outputs of the first linears or the inputs of the first FFN.
        spared = sum(widths[linear] for linear in first_of(scaled, shape))
        return Part(
            tuple(TensorPlan(f"{linear.name}.scale", (width,), group="vectors") for linear, width in widths.items()),
            trained_linears=scaled,
            changed_inputs=inner,
            inference_work=scale_forward(sum(widths.values())),
            backward_work=scale_backward(sum(widths.values()), spared),
        )

    def build(self, site: "Site") -> "Built":
        import torch
        from torch import nn

        from ..attaching import Built
        from ..layers import CellLinear, ChangedLinear, tensors_of

        of_input = {linear.name: linear.role == "ffn_down" for linear in self.linears(site.shape)}

        def make(name: str, linear: nn.Linear) -> CellLinear:
            if name not in of_input:
                return CellLinear(name, linear)
            inner = of_input[name]
            width = linear.in_features if inner else linear.out_features
            scale = nn.Parameter(torch.ones(width, dtype=site.dtype))
            return ChangedLinear(name, linear, _scaled_inputs if inner else _scaled_outputs, {"scale": scale})

        encoder = site.encoder(make)
        return Built(site.model(encoder), tensors_of(encoder, "scale"))


# The rate is the paper's (3e-3); it has not been searched.
register(IA3(recipe=Recipe(learning_rates={"vectors": 3e-3, "head": 3e-3}, head_margin=1.0)))
