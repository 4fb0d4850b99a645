"""Batches: every example once, padding masked, tokenizer left as it was."""

import numpy as np
import pytest
from edge_adapt.errors import UsageError
from edge_adapt.workloads.batches import Batch, batches, encode
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing


def _rows(batch: Batch) -> list[tuple[tuple[int, ...], int]]:
    """The examples of a batch without padding."""
    pairs = zip(batch.input_ids, batch.attention_mask, batch.labels, strict=True)
    return [(tuple(int(i) for i in ids[mask == 1]), int(label)) for ids, mask, label in pairs]


@given(
    encoded=st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=12), min_size=1, max_size=30),
    size=st.integers(1, 9),
    seed=st.none() | st.integers(0, 5),
)
def test_every_example_once(encoded: list[list[int]], size: int, seed: int | None) -> None:
    labels = list(range(len(encoded)))
    rng = None if seed is None else np.random.default_rng(seed)
    made = list(batches(encoded, labels, size, rng))
    assert [len(batch.labels) for batch in made] == [size] * (len(encoded) // size) + [len(encoded) % size] * (
        len(encoded) % size > 0
    )
    got = [row for batch in made for row in _rows(batch)]
    assert sorted(got, key=lambda row: row[1]) == [(tuple(ids), label) for label, ids in enumerate(encoded)]
    for batch in made:
        assert batch.input_ids.dtype == batch.attention_mask.dtype == batch.labels.dtype == np.int64
        assert batch.input_ids.shape[1] == batch.attention_mask.sum(axis=1).max()  # no column of padding alone
        assert (batch.input_ids[batch.attention_mask == 0] == 0).all()
        assert (np.diff(batch.attention_mask, axis=1) <= 0).all()  # padding at the end only
        assert batch.tokens == sum(len(ids) for ids, _ in _rows(batch))
    if rng is None:
        lengths = [len(ids) for ids, _ in got]
        assert lengths == sorted(lengths)


def test_random_order_follows_the_generator() -> None:
    encoded = [[i] for i in range(1, 50)]
    order = [
        [int(i) for batch in batches(encoded, [0] * 49, 7, np.random.default_rng(seed)) for i in batch.input_ids[:, 0]]
        for seed in (0, 0, 1)
    ]
    assert order[0] == order[1] != order[2]


def test_bad_arguments() -> None:
    with pytest.raises(UsageError, match="batch_size must be at least 1"):
        list(batches([[1]], [0], 0))
    with pytest.raises(ValueError, match="1 examples but 2 labels"):
        list(batches([[1]], [0, 1], 4))


@pytest.fixture
def tokenizer() -> Tokenizer:
    words = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3, "a": 4, "b": 5}
    made = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    made.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    return made


def test_encode_truncates_and_keeps_special_tokens(tokenizer: Tokenizer) -> None:
    assert encode(tokenizer, ["a b", "a", "a b a b a"], 5) == [[1, 4, 5, 2], [1, 4, 2], [1, 4, 5, 4, 2]]


def test_encode_leaves_the_tokenizer_as_it_was(tokenizer: Tokenizer) -> None:
    before = tokenizer.to_str()
    encode(tokenizer, ["a b a"], 3)
    assert tokenizer.to_str() == before
    tokenizer.enable_truncation(17)
    tokenizer.enable_padding(length=20)
    before = tokenizer.to_str()
    assert encode(tokenizer, ["a b a"], 3) == [[1, 4, 2]]
    assert tokenizer.to_str() == before


def test_encode_needs_room(tokenizer: Tokenizer) -> None:
    with pytest.raises(UsageError, match="max_tokens must be at least 3"):
        encode(tokenizer, ["a"], 2)
