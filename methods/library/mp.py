"""MP: moment probing, a head on the mean and on the second moments of an example's tokens.

Gao et al., "Tuning Pre-trained Model via Moment Probing", ICCV 2023, arXiv:2307.11342, section 3. With X (N, 512) =
Linear(tokens), its four quarters X_1 to X_4 each through one LayerNorm of 128 numbers,

    C_k = 1/N sum_n (X_k - mean) (X_k+1 - mean)^T          k = 1, 2, 3: covariances of neighbouring quarters, 128 x 128
    C_k <- C_k / |its columns|
    m   = Conv(gelu(Conv([C_1, C_2, C_3])))                3 x 3, stride 2, 3 -> 3 channels: 3 x 31 x 31 = 2883 numbers
    logits = (Linear(pooled) + Linear(m)) / 2              pooled: the model's own feature, [CLS] or the mean

Tokens are the patches of an image, or all tokens of a text, padding not. No gradient enters the backbone and no cell is
written: with `cache_features` the backbone is read once for each example.

The mean that is taken away is that of each of the 128 channels, as a covariance has it. The authors' code takes away
one number, the mean over all channels, so that its C_k have products of the means in them.

Both classifiers start from class means, where the authors' start at random.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...workloads.shapes import ModelShape
from ..costs import NUMBER_BYTES, DigitalWork
from ..heads import MomentsHead
from ..placement import BackwardNeed, Placement
from ..plan import Part, Side, Size, TensorPlan
from ..recipes import Recipe
from ..spec import Method, register

if TYPE_CHECKING:
    from torch import nn

    from ..attaching import Built, Site
    from ..layers import AdaptedModel

QUARTERS, QUARTER = 4, 128
NARROW, PAIRS = QUARTERS * QUARTER, QUARTERS - 1
KERNEL = (PAIRS, PAIRS, 3, 3)
MIDDLE, END = 63, 31
"""Extents of a covariance of 128 x 128 behind each of the convolutions."""


@dataclass(frozen=True)
class MomentProbing(Method):
    """`cache_features`: read the backbone once for each example."""

    name = "mp"
    title = "MP"
    family = "side"
    summary = "a head on mean and covariances of an example's tokens; no gradient enters the backbone, no cell written"
    source = "Gao et al., Tuning Pre-trained Model via Moment Probing, ICCV 2023, arXiv:2307.11342"
    backward_need = BackwardNeed.SIDE
    groups = ("matrices", "vectors")
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"rate.matrices": 3e-3, "rate.vectors": 3e-3},
        {"rate.matrices": 3e-4, "rate.vectors": 3e-4},
        {"recipe.epochs": 16},
        {"rate.head": 1e-3},
    )

    cache_features: bool = True

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        return moments_part(shape, through=False, cached=self.cache_features)

    def build(self, site: "Site") -> "Built":
        from ..attaching import Built

        model = site.model(site.encoder())
        return Built(model, add_moments(site, model))


def moments_part(shape: ModelShape, through: bool, cached: bool) -> Part:
    """The second moments and the head on them; `through`: what the tokens are made of needs a gradient, too."""
    hidden, front = shape.hidden_size, shape.front_tokens if shape.patch_weights else 0
    tensors = (
        TensorPlan("side.project", (NARROW, hidden), group="matrices"),
        TensorPlan("side.project.bias", (NARROW,), group="vectors"),
        TensorPlan("side.norm.weight", (QUARTER,), group="vectors"),
        TensorPlan("side.norm.bias", (QUARTER,), group="vectors"),
        TensorPlan("side.shrink", KERNEL, group="matrices"),
        TensorPlan("side.shrink_again", KERNEL, group="matrices"),
    )
    projected, covariances = NARROW * hidden, PAIRS * QUARTER**2
    convolved = PAIRS**2 * 9 * (MIDDLE**2 + END**2)
    held = sum(tensor.numbers for tensor in tensors)
    forward = _of_tokens(projected + covariances, front) + DigitalWork(
        per_sequence=convolved, bytes_per_sequence=NUMBER_BYTES * (held + covariances)
    )
    # A covariance is a product of two things that both need a gradient.
    passed = (2 if through else 1) * projected + 2 * covariances + NARROW
    backward = _of_tokens(passed, front) + DigitalWork(
        per_sequence=2 * convolved, bytes_per_sequence=NUMBER_BYTES * (3 * held + covariances)
    )
    return Part(
        tensors,
        inference_work=forward,
        backward_work=backward,
        features="own",
        head="moments",
        side=Side(
            levels=(-1,),
            width=hidden + MomentsHead.moments,
            outputs=NARROW,
            outputs_once=covariances + PAIRS * (MIDDLE**2 + END**2),
            cached=cached,
        ),
    )


def add_moments(site: "Site", model: "AdaptedModel") -> "dict[str, nn.Parameter]":
    """Put the second moments beside the model's encoder; their state by name."""
    import torch
    from torch import nn

    from ..features import View
    from ..moments import CrossCovariance, MomentProbe

    generator = site.generator()
    project = nn.Linear(site.shape.hidden_size, NARROW, dtype=site.dtype)
    norm = nn.LayerNorm(QUARTER, dtype=site.dtype)
    shrink, again = (nn.Conv2d(PAIRS, PAIRS, 3, stride=2, bias=False, dtype=site.dtype) for _ in range(2))
    with torch.no_grad():
        project.bias.zero_()
        for weight in (project.weight, shrink.weight, again.weight):
            bound = weight[0].numel() ** -0.5
            weight.uniform_(-bound, bound, generator=generator)
    parts = {"project": project, "norm": norm, "shrink": shrink, "shrink_again": again}
    view = View(site.backbone.pooling, model.of_images, site.shape.front_tokens)
    model.side = MomentProbe(CrossCovariance(parts, QUARTERS), view)
    return {
        f"side.{name}" if key == "weight" and name != "norm" else f"side.{name}.{key}": tensor
        for name, part in parts.items()
        for key, tensor in part.named_parameters()
    }


def _of_tokens(each: int, front: int) -> DigitalWork:
    """So many products for each token but those in front of an image's patches."""
    return DigitalWork(per_token=each, per_sequence=-front * each)


# The rates have not been searched: they are those of matrices that start at random elsewhere.
register(
    MomentProbing(recipe=Recipe(learning_rates={"matrices": 1e-3, "vectors": 1e-3, "head": 3e-3}, head_margin=1.0))
)
