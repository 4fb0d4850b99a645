"""Texts to token ids, and padded batches of them; `images` does the same for images."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UsageError
from .cutting import starts
from .manifest import BundleError, TokenizerInfo
from .textfile import lone_surrogate
from .tokenizer_file import read_tokenizer, working

log = logging.getLogger(__name__)

EVALUATION_BATCH = 16
"""Texts in one forward pass: more need more memory and are no faster."""

Encoded = Sequence[Any]
"""Token ids of each text, or pixels of each image."""


@dataclass(frozen=True)
class Batch:
    """What one run of a graph gets: data inputs by name, their first axis the examples, and labels (n,) int64."""

    inputs: Mapping[str, np.ndarray]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


class Encoder:
    """The bundle's tokenizer. Texts that are too long are cut; the first time, that is said in the log."""

    noun = "text"

    def __init__(self, folder: Path, info: TokenizerInfo) -> None:
        self._path = folder / info.file
        self._tokenizer = read_tokenizer(self._path)
        with working(self._path):
            self._tokenizer.no_padding()
            special = self._tokenizer.num_special_tokens_to_add(False)
            if info.max_tokens <= special:
                raise BundleError(f"it adds {special} special tokens, and max_tokens is {info.max_tokens}")
            self._tokenizer.enable_truncation(info.max_tokens)
        self.info = info
        self.longest = info.max_tokens
        self._said = False

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return self._tokenizer.get_vocab_size()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, special tokens included. Raises `UsageError` for an empty text."""
        if strange := [type(text).__name__ for text in texts if not isinstance(text, str)]:
            raise UsageError(f"the bundle takes texts, not {strange[0]}")
        if blank := next((i for i, text in enumerate(texts) if not text.strip()), -1) + 1:
            raise UsageError(f"text {blank} of {len(texts)} is empty")
        for place, text in enumerate(texts, start=1):
            if wrong := lone_surrogate(text):
                raise UsageError(f"text {place} of {len(texts)} is none: {wrong}")
        with working(self._path):
            encodings = self._tokenizer.encode_batch(starts(self._tokenizer, texts, self.info.max_tokens))
        if bare := next((i for i, encoding in enumerate(encodings) if not encoding.ids), -1) + 1:
            raise UsageError(f"text {bare} of {len(texts)} has no token that the model knows")
        if not self._said and (cut := sum(bool(encoding.overflowing) for encoding in encodings)):
            self._said = True
            log.warning("%d of %d texts are longer than %d tokens and were cut", cut, len(texts), self.info.max_tokens)
        return [encoding.ids for encoding in encodings]

    def feeds(self, encoded: Sequence[Sequence[int]], _rng: np.random.Generator | None = None) -> dict[str, np.ndarray]:
        """What the graphs take, padded; nothing about it is random."""
        return pad(encoded, self.info.pad_id)

    def draw(self, rng: np.random.Generator, count: int, tokens: int) -> list[list[int]]:
        """Token ids as often as words are in texts, the n-th most frequent with a probability of 1 / n (Zipf, 1949), to
        measure with; vocabularies list frequent tokens first.
        """
        often = 1.0 / np.arange(1, self.vocabulary + 1)
        return rng.choice(len(often), (count, tokens), p=often / often.sum()).tolist()


def pad(encoded: Sequence[Sequence[int]], pad_id: int) -> dict[str, np.ndarray]:
    """`input_ids` and `attention_mask` (n, longest), int64, padding at the end."""
    lengths = np.array([len(ids) for ids in encoded], dtype=np.int64)
    width = int(lengths.max())
    input_ids = np.full((len(encoded), width), pad_id, dtype=np.int64)
    for row, ids in enumerate(encoded):
        input_ids[row, : len(ids)] = ids
    return {"input_ids": input_ids, "attention_mask": (np.arange(width) < lengths[:, None]).astype(np.int64)}


def by_length(encoded: Encoded, size: int) -> Iterator[np.ndarray]:
    """Indices of the examples in batches of similar length, which saves padding; ties in the given order."""
    order = np.argsort([len(ids) for ids in encoded], kind="stable")
    return (order[start : start + size] for start in range(0, len(order), size))
