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
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..workloads.pools import Pool
from ..workloads.shapes import ModelShape
from .assemble import assemble
from .base import (
    Adaptation,
    BackboneLike,
    BackwardNeed,
    Method,
    ParameterCount,
    Placement,
    Recipe,
    register,
    torch_generator,
)
from .blocks import change_block_inputs
from .cells import AdaptedModel, CellLinear, clone_encoder, patch_projection
from .costs import sum_gradient

HEAD_BIAS = -math.log((1 - 0.01) / 0.01)
"""The bias that gives every class a chance of 1 % under a sigmoid: the paper's code starts the head from it."""


class VisualPrompts(nn.Module):
    """The prompts (P, hidden_size) of the first block, or of every block; `training` tells whether they are dropped."""

    def __init__(
        self,
        paths: Sequence[str],
        prompts: Sequence[Tensor],
        dropout: float,
        generator: torch.Generator,
        front: int = 1,
    ) -> None:
        super().__init__()
        self.paths = list(paths)
        self.prompts = nn.ParameterList(prompts)
        self.dropout = dropout
        self.generator = generator
        self.front = front
        self.eval()

    def install(self, encoder: nn.Module) -> None:
        """Put the prompts into every run of the encoder from now on."""
        change_block_inputs(encoder, self.paths[: len(self.prompts)], self._put)

    def state(self) -> dict[str, nn.Parameter]:
        """The prompts of each block by name."""
        return {f"{path}.prompts": prompts for path, prompts in zip(self.paths, self.prompts, strict=False)}

    def _put(self, block: int, hidden: Tensor) -> Tensor:
        """Hidden states with this block's prompts in front of the patches: new ones, or instead of the last block's."""
        prompts = self.prompts[block]
        behind = self.front + (len(prompts) if block else 0)
        own = prompts.unsqueeze(0).expand(hidden.shape[0], -1, -1)
        if self.training and self.dropout:
            kept = torch.rand(own.shape, generator=self.generator, dtype=own.dtype) >= self.dropout
            own = own * kept / (1.0 - self.dropout)
        return torch.cat([hidden[:, : self.front], own, hidden[:, behind:]], 1)


@dataclass(frozen=True)
class VisualPromptTuning(Method):
    """`prompts`: how many. `dropout`: share of the prompts' numbers that a training pass sets to 0 (the paper's runs:
    0.1 deep, 0 shallow; its code: 0). `paper_head`: start the head as the paper does, not from class means."""

    source = "Jia et al., Visual Prompt Tuning, ECCV 2022, arXiv:2203.12119"
    placements = (Placement.DIGITAL,)
    backward_need = BackwardNeed.THROUGH
    kinds = ("image",)

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
        if backbone.kind != "image":
            raise UsageError(f"{self.name} puts its prompts between [CLS] and patches; for texts take prompt-tuning")
        if backbone.shape.fixed_tokens and self.prompts:
            raise UsageError(
                f"this model has a bias for each pair of its own tokens: there is none for the prompts of {self.name}"
            )
        encoder = clone_encoder(backbone.module, backbone.linear_names(), CellLinear)
        model = AdaptedModel(encoder, backbone.hidden_size, classes)
        generator, dtype = torch_generator(rng), next(encoder.parameters()).dtype
        bound = math.sqrt(6.0 / (patch_projection(encoder).weight[0].numel() + backbone.hidden_size))
        paths = [block.name for block in backbone.shape.blocks]
        draws = [
            torch.empty(self.prompts, backbone.hidden_size, dtype=dtype).uniform_(-bound, bound, generator=generator)
            for _ in paths[: self.prompted(len(paths))]
        ]
        if self.paper_head:
            nn.init.kaiming_normal_(model.head.weight, mode="fan_out", generator=generator)
            nn.init.constant_(model.head.bias, HEAD_BIAS)
        visual = VisualPrompts(paths, draws, self.dropout, generator, backbone.shape.front_tokens)
        model.add_module("visual", visual)
        visual.install(encoder)
        adaptation = assemble(
            self,
            backbone,
            model,
            groups={"prompts": visual.state()},
            placements={},
            backward_work=sum_gradient(sum(draw.numel() for draw in draws)),
            extra_tokens=self.prompts,
        )
        adaptation.keep_head = self.paper_head
        return adaptation

    def count(self, shape: ModelShape, *, rank: int = 16, pool_size: int = 6) -> ParameterCount:
        if not shape.patch_weights:
            raise UsageError(f"{self.name} is for models of images, and {shape.name} reads texts; take prompt-tuning")
        return ParameterCount({"prompts": self.prompted(len(shape.blocks)) * self.prompts * shape.hidden_size})


@dataclass(frozen=True)
class DeepVisualPromptTuning(VisualPromptTuning):
    __doc__ = VisualPromptTuning.__doc__

    name = "vpt"
    summary = "prompts between an image's [CLS] and patches, new ones in every block; no cell written, more reads"

    def prompted(self, blocks: int) -> int:
        return blocks


@dataclass(frozen=True)
class ShallowVisualPromptTuning(VisualPromptTuning):
    __doc__ = VisualPromptTuning.__doc__

    name = "vpt-shallow"
    summary = "prompts between an image's [CLS] and patches, in front of the first block; no cell written, more reads"

    def prompted(self, blocks: int) -> int:
        return 1


# The rates have not been searched yet.
_RECIPE = Recipe(learning_rates={"prompts": 1e-2, "head": 3e-3}, head_margin=1.0)
register(DeepVisualPromptTuning(recipe=_RECIPE))
register(ShallowVisualPromptTuning(recipe=_RECIPE))
