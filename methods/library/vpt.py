"""VPT: trained prompts between an image's [CLS] and its patches; deep: new ones in front of every block.

Jia et al., "Visual Prompt Tuning", ECCV 2022, arXiv:2203.12119. With c the [CLS] token, E the patches with their
positions, and P prompts in every p:

    deep      [c_l, -, E_l] = Block_l([c_l-1, p_l-1, E_l-1])        what a block makes of its prompts is discarded
    shallow   [c_1, z_1, E_1] = Block_1([c_0, p_0, E_0])            [c_l, z_l, E_l] = Block_l([c_l-1, z_l-1, E_l-1])
    features  LayerNorm(c_L)

Prompts get no position. They start uniform in +-sqrt(6 / (k^2 channels + d)) for patches of k x k pixels: Xavier's
bound for the projection of the patches. No cell is written; every array is read P times more for each image.

The paper starts the head from random weights and a bias of -log(99) for every class (`paper_head`). A number that all
classes share is not seen by softmax, and the head is trained from class means here, as for every other method.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import UsageError
from ...workloads.shapes import ModelShape
from ..costs import sum_gradient
from ..placement import Placement
from ..plan import Part, Size, TensorPlan
from ..recipes import Recipe
from ..spec import Method, register

if TYPE_CHECKING:
    from ..attaching import Built, Site

HEAD_BIAS = -math.log((1 - 0.01) / 0.01)
"""The bias that gives every class a chance of 1 % under a sigmoid: the paper's code starts the head from it."""


@dataclass(frozen=True)
class VisualPromptTuning(Method):
    """`prompts`: how many. `dropout`: share of the prompts' numbers that a training pass sets to 0 (the paper's runs:
    0.1 deep, 0 shallow; its code: 0). `paper_head`: start the head as the paper does, not from class means."""

    family = "prompts"
    source = "Jia et al., Visual Prompt Tuning, ECCV 2022, arXiv:2203.12119"
    kinds = ("image",)
    other_kind = "prompt-tuning"
    groups = ("prompts",)
    for_images: ClassVar[Mapping[str, Any]] = {"learning_rates": {"prompts": 3e-3}, "epochs": 10}

    prompts: int = 10
    dropout: float = 0.0
    paper_head: bool = False

    def __post_init__(self) -> None:
        """Raise `UsageError` for fewer than 0 prompts, or a dropout that leaves nothing."""
        if self.prompts < 0:
            raise UsageError(f"prompts of {self.name} must not be negative; got {self.prompts}")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout of {self.name} must be 0 or more and below 1; got {self.dropout}")

    @abstractmethod
    def prompted(self, blocks: int) -> int:
        """How many of so many blocks have prompts of their own."""

    @property
    def extra_tokens(self) -> int:
        return self.prompts

    def _paths(self, shape: ModelShape) -> list[str]:
        return [block.name for block in shape.blocks][: self.prompted(len(shape.blocks))]

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        if shape.fixed_tokens and self.prompts:
            raise UsageError(
                f"this model has a bias for each pair of its own tokens: there is none for the prompts of {self.name}"
            )
        width = shape.hidden_size
        tensors = [TensorPlan(f"{x}.prompts", (self.prompts, width), group="prompts") for x in self._paths(shape)]
        return Part(
            tuple(tensors),
            before_blocks=True,
            extra_tokens=self.prompts,
            backward_work=sum_gradient(sum(tensor.numbers for tensor in tensors)),
            keep_head=self.paper_head,
        )

    def build(self, site: "Site") -> "Built":
        import torch
        from torch import nn

        from ..attaching import Built
        from ..layers import patch_projection
        from ..prompts import VisualPrompts

        encoder = site.encoder()
        model = site.model(encoder)
        generator, width = site.generator(), site.shape.hidden_size
        bound = math.sqrt(6.0 / (patch_projection(encoder).weight[0].numel() + width))
        draws = [
            torch.empty(self.prompts, width, dtype=site.dtype).uniform_(-bound, bound, generator=generator)
            for _ in self._paths(site.shape)
        ]
        if self.paper_head:
            nn.init.kaiming_normal_(model.head.weight, mode="fan_out", generator=generator)
            nn.init.constant_(model.head.bias, HEAD_BIAS)
        visual = VisualPrompts(self._paths(site.shape), draws, self.dropout, generator, site.shape.front_tokens)
        model.add_module("visual", visual)
        visual.install(encoder)
        return Built(model, visual.state())


@dataclass(frozen=True)
class DeepVisualPromptTuning(VisualPromptTuning):
    __doc__ = VisualPromptTuning.__doc__

    name = "vpt"
    title = "VPT"
    summary = "prompts between an image's [CLS] and patches, new ones in every block; no cell written, more reads"

    def prompted(self, blocks: int) -> int:
        return blocks


@dataclass(frozen=True)
class ShallowVisualPromptTuning(VisualPromptTuning):
    __doc__ = VisualPromptTuning.__doc__

    name = "vpt-shallow"
    title = "VPT shallow"
    summary = "prompts between an image's [CLS] and patches, in front of the first block; no cell written, more reads"

    def prompted(self, blocks: int) -> int:
        return 1


# The rates have not been searched yet.
_RECIPE = Recipe(learning_rates={"prompts": 1e-2, "head": 3e-3}, head_margin=1.0)
register(DeepVisualPromptTuning(recipe=_RECIPE))
register(ShallowVisualPromptTuning(recipe=_RECIPE))
