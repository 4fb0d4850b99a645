"""A side network of stages, each with fewer and wider tokens than the one before (`library.hst`)."""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SideBlock(nn.Module):
    """What stands beside one block of the backbone: `parts` are the linears "query", "key", "value", "output", "ffn_up"
    and "ffn_down", the norms "attention_norm" and "ffn_norm", and "meta_norm" where the backbone has a [CLS].
    """

    def __init__(self, parts: Mapping[str, nn.Module], heads: int) -> None:
        super().__init__()
        self.parts, self.heads = nn.ModuleDict(parts), heads

    def forward(self, stream: Tensor, meta: Tensor | None, local: Tensor) -> Tensor:
        """The stream (batch, places, width), after it has looked at a meta token (batch, 1, width) and at the mean of
        what the block put out at its places, `local`; that is then added.
        """
        known = local.mean(1, keepdim=True)
        if meta is not None:
            known = torch.cat([self.parts["meta_norm"](meta), known], 1)
        stream = stream + self._attended(self.parts["attention_norm"](stream), known) + local
        return stream + self.parts["ffn_down"](F.gelu(self.parts["ffn_up"](self.parts["ffn_norm"](stream))))

    def _attended(self, x: Tensor, known: Tensor) -> Tensor:
        query, key, value = (
            self.parts[part](tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part, tokens in (("query", x), ("key", known), ("value", known))
        )
        weights = (query @ key.transpose(2, 3) / math.sqrt(query.shape[-1])).softmax(-1)
        return self.parts["output"]((weights @ value).transpose(1, 2).flatten(2))


class Stage(nn.Module):
    """Some side blocks on a grid of places. `embed`: what makes their stream, a linear in the first stage and a
    convolution in the others, and its norm; `bridge`: the linear that hidden states pass; `norm`: that behind the
    blocks.
    """

    def __init__(
        self, embed: nn.Module, embed_norm: nn.Module, bridge: nn.Module, blocks: Sequence[SideBlock], norm: nn.Module
    ) -> None:
        super().__init__()
        self.embed, self.embed_norm, self.bridge, self.norm = embed, embed_norm, bridge, norm
        self.blocks = nn.ModuleList(blocks)

    def forward(self, entered: Tensor, states: Sequence[Tensor], front: int, side: int) -> Tensor:
        """The stream (batch, places, width) behind the blocks, one for each of the states (batch, tokens, hidden_size).

        entered: patches (batch, places, hidden_size), or the stream of the stage before as an image (batch, its width,
        its side, its side). front: tokens of a state in front of its patches. side: of the grid.
        """
        made = self.embed(entered)
        stream = self.embed_norm(made if made.ndim == 3 else made.flatten(2).transpose(1, 2))
        for block, state in zip(self.blocks, states, strict=True):
            local = self.bridge(resampled(state[:, front:], side))
            stream = block(stream, self.bridge(state[:, :1]) if front else None, local)
        return self.norm(stream)


class Hierarchy(nn.Module):
    """hierarchy(states, attention_mask=None) -> (batch, width of the last stage), of what enters the first block of an
    encoder of images and what all blocks put out.
    """

    def __init__(self, stages: Sequence[Stage], front: int, grids: Sequence[int]) -> None:
        super().__init__()
        self.stages, self.front, self.grids = nn.ModuleList(stages), front, tuple(grids)
        self.counts = [len(stage.blocks) for stage in stages]

    def forward(self, states: tuple[Tensor, ...], attention_mask: Tensor | None) -> Tensor:
        stream, place = resampled(states[0][:, self.front :], self.grids[0]), 1
        for number, (stage, side) in enumerate(zip(self.stages, self.grids, strict=True)):
            if number:
                before = self.grids[number - 1]
                stream = stream.unflatten(1, (before, before)).permute(0, 3, 1, 2)
            behind = place + self.counts[number]
            stream = stage(stream, states[place:behind], self.front, side)
            place = behind
        return stream.mean(1)


def resampled(patches: Tensor, side: int) -> Tensor:
    """Patches (batch, patches, width) of a square image, at side x side places between them: (batch, side^2, width)."""
    own = math.isqrt(patches.shape[1])
    if own == side:
        return patches
    image = patches.transpose(1, 2).unflatten(2, (own, own))
    return F.interpolate(image, size=(side, side), mode="bilinear").flatten(2).transpose(1, 2)
