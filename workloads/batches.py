"""Token ids and padded batches, numpy only; `images` has those of images."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast, overload

import numpy as np

from ..errors import UsageError
from ..runtime.cutting import starts
from .images import ImageBatch, Images

if TYPE_CHECKING:
    from tokenizers import Tokenizer

IGNORED = -100
"""Label of a token that is not classified: special ones, padding, and all but the first token of a word."""

PAD_ID = 0
"""Padded places are masked, so the id that stands there does not matter; it only has to be in every vocabulary."""


Labels = Sequence[int] | Sequence[Sequence[int]]
"""The class of each example, or of each token of each example (`IGNORED` where it has none)."""


@dataclass(frozen=True)
class Batch:
    """input_ids and attention_mask (1 token, 0 padding) of shape (B, T), labels of shape (B,), or (B, T) where words
    are tagged; all int64.
    """

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
    with _cutting(tokenizer, max_tokens):
        return [encoding.ids for encoding in tokenizer.encode_batch(starts(tokenizer, texts, max_tokens))]


def encode_pairs(tokenizer: "Tokenizer", pairs: Sequence[tuple[str, str]], max_tokens: int) -> list[list[int]]:
    """Token ids of pairs of texts with their special tokens; the longer text is cut where both have too many."""
    with _cutting(tokenizer, max_tokens, tokenizer.num_special_tokens_to_add(True) + 2):
        return [encoding.ids for encoding in tokenizer.encode_batch(list(pairs))]


def encode_words(
    tokenizer: "Tokenizer", sentences: Sequence[Sequence[str]], max_tokens: int
) -> tuple[list[list[int]], list[list[int]]]:
    """Token ids of sentences that are split into words, and for every token the number of the word that it is the
    first token of; `IGNORED` for all other tokens.

    A word of which no token is left (cut off, or of characters that the tokenizer drops) has no number in the list.
    """
    # Tokenizers that know words by the blank in front of them are to see that blank; others drop it.
    spaced = [[*sentence[:1], *(f" {word}" for word in sentence[1:])] for sentence in sentences]
    with _cutting(tokenizer, max_tokens):
        encodings = tokenizer.encode_batch(spaced, is_pretokenized=True)
    ids, words = [], []
    for encoding in encodings:
        seen: set[int] = set()
        first = []
        for word in encoding.word_ids:
            first.append(IGNORED if word is None or word in seen else word)
            seen.add(first[-1])
        ids.append(encoding.ids)
        words.append(first)
    return ids, words


@contextlib.contextmanager
def _cutting(tokenizer: "Tokenizer", max_tokens: int, least: int = 3) -> Iterator[None]:
    """Meanwhile the tokenizer cuts to `max_tokens` and does not pad."""
    if max_tokens < least:
        raise UsageError(
            f"max_tokens must be at least {least} ({'two' if least == 3 else 'some'} special tokens and one of the "
            f"text), not {max_tokens}"
        )
    truncation, padding = tokenizer.truncation, tokenizer.padding
    tokenizer.enable_truncation(max_tokens)
    tokenizer.no_padding()
    try:
        yield
    finally:
        if truncation is None:
            tokenizer.no_truncation()
        else:
            tokenizer.enable_truncation(**truncation)
        if padding is not None:
            tokenizer.enable_padding(**padding)


@overload
def batches(
    encoded: Images,
    labels: Labels,
    batch_size: int,
    rng: np.random.Generator | None = None,
    order: np.ndarray | None = None,
) -> Iterator[ImageBatch]: ...
@overload
def batches(
    encoded: Sequence[Sequence[int]],
    labels: Labels,
    batch_size: int,
    rng: np.random.Generator | None = None,
    order: np.ndarray | None = None,
) -> Iterator[Batch]: ...
def batches(
    encoded: Sequence[Sequence[int]] | Images,
    labels: Labels,
    batch_size: int,
    rng: np.random.Generator | None = None,
    order: np.ndarray | None = None,
) -> Iterator[Batch] | Iterator[ImageBatch]:
    """Yield padded batches that hold every example once; the last one may be smaller.

    With `order`, numbers of examples, these come in that order. With `rng` they come in random order. Without, texts
    are sorted by length (ties in the given order), which saves padding: use it for evaluation, where the order does not
    matter. Images are then taken as they come.
    """
    if batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, not {batch_size}")
    if len(encoded) != len(labels):
        raise ValueError(f"{len(encoded)} examples but {len(labels)} labels")
    if isinstance(encoded, Images):
        return encoded.batches(cast(Sequence[int], labels), batch_size, rng, order)
    if order is None:
        order = by_length(encoded) if rng is None else rng.permutation(len(encoded))
    return _text_batches(encoded, labels, batch_size, order)


def _text_batches(
    encoded: Sequence[Sequence[int]], labels: Labels, batch_size: int, order: np.ndarray
) -> Iterator[Batch]:
    lengths = np.array([len(ids) for ids in encoded], dtype=np.int64)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        width = int(lengths[chosen].max())
        input_ids = np.full((len(chosen), width), PAD_ID, dtype=np.int64)
        for row, index in enumerate(chosen):
            input_ids[row, : lengths[index]] = encoded[index]
        mask = (np.arange(width) < lengths[chosen, None]).astype(np.int64)
        yield Batch(input_ids, mask, _labels([labels[i] for i in chosen], width))


def by_length(encoded: Sequence[Sequence[int]]) -> np.ndarray:
    """The order of evaluation: numbers of the examples, the shortest first, ties in the given order."""
    return np.argsort([len(ids) for ids in encoded], kind="stable")


def _labels(chosen: Sequence[int | Sequence[int]], width: int) -> np.ndarray:
    """(B,), or (B, width) with `IGNORED` behind each example's own."""
    if not isinstance(chosen[0], Sequence):
        return np.array(chosen, dtype=np.int64)
    rows = np.full((len(chosen), width), IGNORED, dtype=np.int64)
    for row, own in zip(rows, cast(Sequence[Sequence[int]], chosen), strict=True):
        row[: len(own)] = own
    return rows
