"""Trained tokens among those of an example: in front of a text, or between an image's [CLS] and its patches."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UsageError
from .blocks import change_block_inputs
from .layers import AdaptedModel

SLOPE = 0.2
"""Of the leaky relu of a prompt that an image makes itself."""


class PromptedModel(AdaptedModel):
    """An `AdaptedModel` that puts its prompts (P, hidden_size) in front of every text; `places`: the longest input that
    the encoder takes with them, None for any length.
    """

    def __init__(self, encoder: nn.Module, width: int, classes: int, prompts: Tensor, places: int | None) -> None:
        super().__init__(encoder, width, classes)
        self.prompts = nn.Parameter(prompts)
        self.places = places
        self.added = len(prompts)

    def encode(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        words = word_table(self.encoder)(input_ids)
        prompts = self.prompts.unsqueeze(0).expand(words.shape[0], -1, -1)
        limit = None if torch.compiler.is_exporting() else self.places
        if limit is not None and prompts.shape[1] + words.shape[1] > limit:
            raise UsageError(
                f"{words.shape[1]} tokens and {prompts.shape[1]} prompts are more than the {self.places} places that "
                "the model knows; give fewer --max-tokens"
            )
        beside = attention_mask.new_ones(prompts.shape[:2])
        types = {name: torch.cat([0 * beside, own], 1) for name, own in self.token_types(input_ids).items()}
        hidden: Tensor = self.encoder(
            inputs_embeds=torch.cat([prompts, words], 1), attention_mask=torch.cat([beside, attention_mask], 1), **types
        ).last_hidden_state
        return hidden


def word_table(encoder: Any) -> nn.Embedding:
    """The word embeddings of a text encoder."""
    found: nn.Embedding = encoder.get_input_embeddings()
    return found


class VisualPrompts(nn.Module):
    """The prompts (P, hidden_size) of the first block, or of every block; `training` tells whether they are dropped,
    `front` behind how many of an image's own tokens they stand.
    """

    def __init__(
        self,
        paths: Sequence[str],
        prompts: Sequence[Tensor],
        dropout: float,
        generator: torch.Generator,
        front: int,
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


class InstancePrompt(nn.Module):
    """One prompt for each image, made of its patches (`library.idpt`), behind the image's own `front` tokens."""

    def __init__(self, width: int, front: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(width, width, dtype=dtype), nn.LayerNorm(width, dtype=dtype)
        self.front = front

    def forward(self, patches: Tensor) -> Tensor:
        """(batch, patches, hidden_size) -> (batch, 1, hidden_size)."""
        return F.leaky_relu(self.norm(self.linear(patches)), SLOPE).amax(1, keepdim=True)

    def install(self, encoder: nn.Module, path: str) -> None:
        """Put the prompt in front of the block at `path` from now on."""
        change_block_inputs(encoder, [path], lambda _block, hidden: self._put(hidden))

    def _put(self, hidden: Tensor) -> Tensor:
        own, patches = hidden[:, : self.front], hidden[:, self.front :]
        return torch.cat([own, self(patches), patches], 1)
