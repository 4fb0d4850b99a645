"""Vectors that are added to the special tokens of a text in front of each block (see `library/pasta.py`)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .blocks import change_block_inputs


class SpecialTokenVectors(nn.Module):
    """The vectors (special tokens, hidden_size) of every block, and where the special tokens of a batch stand.

    The places are one-hot rows, and the vectors are put there by a product with them: the gradient is a product too.
    """

    ids: Tensor

    def __init__(self, paths: Sequence[str], special_ids: Sequence[int], vectors: Sequence[Tensor]) -> None:
        """`paths` of the blocks; `special_ids`: token ids that are special, none where the first tokens are."""
        super().__init__()
        self.paths = list(paths)
        self.vectors = nn.ParameterList(vectors)
        self.register_buffer("ids", torch.tensor(list(special_ids), dtype=torch.int64))
        self.places: Tensor | None = None

    def install(self, encoder: nn.Module) -> None:
        """Add the vectors in every run of the encoder from now on."""
        if len(self.ids):
            encoder.register_forward_pre_hook(self._look, with_kwargs=True)
        change_block_inputs(encoder, self.paths, self._add)

    def state(self) -> dict[str, nn.Parameter]:
        """The vectors of each block by name."""
        return {f"{path}.vectors": vectors for path, vectors in zip(self.paths, self.vectors, strict=True)}

    def _look(self, _module: nn.Module, _args: tuple, kwargs: dict[str, Any]) -> None:
        """Find the special tokens of a batch: places (batch, tokens, special tokens), 1 where row and order meet."""
        special = (kwargs["input_ids"].unsqueeze(-1) == self.ids).any(-1) & kwargs["attention_mask"].bool()
        order = torch.where(special, special.cumsum(1), 0)
        self.places = order.unsqueeze(-1) == torch.arange(1, len(self.vectors[0]) + 1)

    def _add(self, block: int, hidden: Tensor) -> Tensor:
        vectors = self.vectors[block]
        if len(self.ids):
            assert self.places is not None
            places = self.places
        else:
            places = torch.arange(hidden.shape[1]).unsqueeze(1) == torch.arange(len(vectors))
        return hidden + places.to(hidden.dtype) @ vectors
