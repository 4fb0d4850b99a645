"""MP+: moment probing, and in every block a small network that scales and shifts what the feed-forward layer puts out.

Gao et al., "Tuning Pre-trained Model via Moment Probing", ICCV 2023, arXiv:2307.11342, section 3.4 (PSRP). With x what
enters a feed-forward layer F and r numbers in the bottleneck,

    z = relu(D x)        F(x) <- (1 + W z) * F(x) + B z        trained: D (r, d), W (d, r), B (d, r), shared D

Head and second moments are those of `mp`. In contrast to it the gradient goes through the backbone, of which nothing
can be stored. W and B start at 0: the backbone starts as it was.

The authors' x is the sum in front of the layer's norm; here it is what comes out of that norm, where the norm stands in
front (ViT). In BERT both are the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import UsageError
from ...workloads.shapes import LinearShape, ModelShape
from ..costs import matrix_forward, matrix_gradient, scale_backward, scale_forward
from ..placement import Placement
from ..plan import Part, Size, TensorPlan, first_of
from ..recipes import Recipe
from ..spec import Method, register
from .mp import add_moments, moments_part

if TYPE_CHECKING:
    from torch import Tensor

    from ..attaching import Built, Site

MATRICES = ("psrp_down", "psrp_weight", "psrp_bias")


def _recalibrated(linear: Any, x: "Tensor", entered: "dict[str, Tensor]", entry: str) -> "Tensor":
    import torch.nn.functional as F

    narrow = F.relu(F.linear(entered[entry], linear.psrp_down))
    return (1 + F.linear(narrow, linear.psrp_weight)) * linear.plain(x) + F.linear(narrow, linear.psrp_bias)


@dataclass(frozen=True)
class MomentProbingPlus(Method):
    """`bottleneck`: numbers in the bottleneck of each block."""

    name = "mp+"
    title = "MP+"
    family = "side"
    summary = "moment probing, and small networks that scale and shift what each feed-forward layer puts out"
    source = "Gao et al., Tuning Pre-trained Model via Moment Probing, ICCV 2023, arXiv:2307.11342"
    groups = ("recalibration", "matrices", "vectors")
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"rate.recalibration": 3e-3},
        {"rate.recalibration": 3e-4},
        {"recipe.epochs": 16},
        {"rate.head": 1e-3},
    )

    bottleneck: int = 16

    def __post_init__(self) -> None:
        """Raise `UsageError` for a bottleneck below 1."""
        if self.bottleneck < 1:
            raise UsageError(f"bottleneck of mp+ must be at least 1; got {self.bottleneck}")

    @property
    def no_bundle(self) -> str:
        return "has a head of second moments"

    def _layers(self, shape: ModelShape) -> dict[LinearShape, LinearShape]:
        """The last linear of each feed-forward layer, and the one that its input enters."""
        found = {}
        for block in shape.blocks:
            entries = [x for x in block.linears if {"ffn_up", "ffn_gate"} & set(x.roles)]
            ends = [x for x in block.linears if x.role == "ffn_down"]
            if len(ends) == 1 and entries:
                found[ends[0]] = entries[0]
        if not found:
            raise UsageError(f"{shape.name} has no block with one feed-forward layer: mp+ has nothing to recalibrate")
        return found

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        moments, layers, narrow = moments_part(shape, through=True, cached=False), self._layers(shape), self.bottleneck
        firsts = first_of(list(layers), shape)
        tensors, weights, scaled, spared, still = [], 0, 0, 0, 0
        for end, entry in layers.items():
            width, inputs = end.out_features, entry.in_features
            for name, extents in zip(MATRICES, ((narrow, inputs), (width, narrow), (width, narrow)), strict=True):
                tensors.append(TensorPlan(f"{end.name}.{name}", extents, group="recalibration"))
            weights, scaled = weights + narrow * (inputs + 2 * width), scaled + width
            if end in firsts:  # nothing is trained in front: x and F(x) need no gradient
                spared, still = spared + narrow * inputs, still + width
        forward = matrix_forward(weights) + scale_forward(scaled)
        backward = matrix_gradient(weights) + matrix_forward(weights - spared) + scale_backward(scaled, still)
        return replace(
            moments,
            tensors=(*tensors, *moments.tensors),
            trained_linears=tuple(layers),
            inference_work=moments.inference_work + forward.times(shape.runs),
            backward_work=moments.backward_work + backward.times(shape.runs),
        )

    def build(self, site: "Site") -> "Built":
        import torch
        from torch import nn

        from ..attaching import Built
        from ..layers import CellLinear, ChangedLinear, tensors_of

        generator = site.generator()
        entered: dict[str, torch.Tensor] = {}
        layers = {end.name: entry.name for end, entry in self._layers(site.shape).items()}

        def make(name: str, linear: nn.Linear) -> CellLinear:
            if name in layers.values():
                plain = CellLinear(name, linear)
                plain.register_forward_pre_hook(lambda _module, args: entered.__setitem__(name, args[0]))
                return plain
            if name not in layers:
                return CellLinear(name, linear)
            width, bound = linear.out_features, site.shape.hidden_size**-0.5
            down = torch.empty(self.bottleneck, site.shape.hidden_size, dtype=site.dtype)
            own = {"psrp_down": nn.Parameter(down.uniform_(-bound, bound, generator=generator))}
            for key in MATRICES[1:]:
                own[key] = nn.Parameter(torch.zeros(width, self.bottleneck, dtype=site.dtype))
            return ChangedLinear(name, linear, partial(_recalibrated, entered=entered, entry=layers[name]), own)

        encoder = site.encoder(make)
        model = site.model(encoder)
        found = [tensors_of(encoder, key) for key in MATRICES]
        own = {name: tensor for tensors in zip(*(x.items() for x in found), strict=True) for name, tensor in tensors}
        return Built(model, own | add_moments(site, model))


# The rates have not been searched: those of the second moments are `mp`'s, that of the networks in the blocks is as
# usual for matrices that start at 0.
register(
    MomentProbingPlus(
        recipe=Recipe(
            learning_rates={"recalibration": 1e-3, "matrices": 1e-3, "vectors": 1e-3, "head": 3e-3}, head_margin=1.0
        )
    )
)
