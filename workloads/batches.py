"""Token ids and padded batches, numpy only; `images` has those of images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np

from ..errors import UsageError
from .images import ImageBatch, Images

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD_ID = 0
"""Padded places are masked, so the id that stands there does not matter; it only has to be in every vocabulary."""


@dataclass(frozen=True)
class Batch:
    """input_ids and attention_mask (1 token, 0 padding) of shape (B, T), labels of shape (B,); all int64."""

    input_ids: np.ndarray
    attention_mask: np.ndarray
    labels: np.ndarray

    @property
    def inputs(self) -> np.ndarray:
        return self.input_ids

    @property
    def tokens(self) -> int:
        """Number of tokens that are not padding."""
        return int(self.attention_mask.sum())


def encode(tokenizer: "Tokenizer", texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """Token ids of each text with its special tokens, cut to `max_tokens`, not padded. The tokenizer is left as it was.

    Raises:
        UsageError: `max_tokens` leaves no room for a token beside the special ones.
    """
    if max_tokens < 3:
        raise UsageError(f"max_tokens must be at least 3 (two special tokens and one of the text), not {max_tokens}")
    truncation, padding = tokenizer.truncation, tokenizer.padding
    tokenizer.enable_truncation(max_tokens)
    tokenizer.no_padding()
    try:
        return [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
    finally:
        if truncation is None:
            tokenizer.no_truncation()
        else:
            tokenizer.enable_truncation(**truncation)
        if padding is not None:
            tokenizer.enable_padding(**padding)


@overload
def batches(
    encoded: Images, labels: Sequence[int], batch_size: int, rng: np.random.Generator | None = None
) -> Iterator[ImageBatch]: ...
@overload
def batches(
    encoded: Sequence[Sequence[int]], labels: Sequence[int], batch_size: int, rng: np.random.Generator | None = None
) -> Iterator[Batch]: ...
def batches(
    encoded: Sequence[Sequence[int]] | Images,
    labels: Sequence[int],
    batch_size: int,
    rng: np.random.Generator | None = None,
) -> Iterator[Batch] | Iterator[ImageBatch]:
    """Yield padded batches that hold every example once; the last one may be smaller.

    With `rng` the examples come in random order. Without, texts are sorted by length (ties in the given order), which
    saves padding: use it for evaluation, where the order does not matter. Images are then taken as they come.
    """
    if batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, not {batch_size}")
    if len(encoded) != len(labels):
        raise ValueError(f"{len(encoded)} examples but {len(labels)} labels")
    if isinstance(encoded, Images):
        return encoded.batches(labels, batch_size, rng)
    return _text_batches(encoded, labels, batch_size, rng)


def _text_batches(
    encoded: Sequence[Sequence[int]], labels: Sequence[int], batch_size: int, rng: np.random.Generator | None
) -> Iterator[Batch]:
    lengths = np.array([len(ids) for ids in encoded], dtype=np.int64)
    order = np.argsort(lengths, kind="stable") if rng is None else rng.permutation(len(encoded))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        width = int(lengths[chosen].max())
        input_ids = np.full((len(chosen), width), PAD_ID, dtype=np.int64)
        for row, index in enumerate(chosen):
            input_ids[row, : lengths[index]] = encoded[index]
        mask = (np.arange(width) < lengths[chosen, None]).astype(np.int64)
        yield Batch(input_ids, mask, np.array([labels[i] for i in chosen], dtype=np.int64))
