"""A long text that is cut before it is tokenised gives the tokens of the whole text; what it costs is bounded."""

import random

import pytest
from edge_adapt.errors import EdgeAdaptError
from edge_adapt.runtime.cutting import starts
from edge_adapt.runtime.tokenizer_file import read_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

PIECES = (
    "the", "film", "was", "not", "very", "good", "1234567", "a" * 150, "\u03a3\u03a3", "e\u0301", "\u4e2d\u6587", ",",
    "!?", "\U0001f600", "\n", "\t", "  ", "un-be-lievable", "\u00df", "[SEP]",
)  # fmt: skip


def trained(kind: str) -> Tokenizer:
    corpus = [" ".join(random.Random(n).choices(PIECES, k=30)) for n in range(60)]
    if kind == "wordpiece":
        made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]", "[SEP]"], show_progress=False)
    elif kind == "bytes":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=400, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        )
    else:
        made = Tokenizer(models.Unigram())
        made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
        made.pre_tokenizer = pre_tokenizers.Metaspace() if kind == "unigram" else None
        trainer = trainers.UnigramTrainer(
            vocab_size=200, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False
        )
    made.train_from_iterator(corpus, trainer)
    return made


TOKENIZERS = {kind: trained(kind) for kind in ("wordpiece", "bytes", "unigram", "one piece")}


@pytest.mark.parametrize("kind", TOKENIZERS)
@settings(max_examples=40)
@given(
    words=st.lists(st.sampled_from(PIECES) | st.text(max_size=12), min_size=1, max_size=60),
    times=st.integers(1, 200),
    most=st.integers(1, 40),
    between=st.sampled_from([" ", "", "  ", "\n"]),
)
def test_the_same_tokens(kind: str, words: list[str], times: int, most: int, between: str) -> None:
    tokenizer, text = TOKENIZERS[kind], between.join(words * times)
    tokenizer.no_truncation()
    wanted = tokenizer.encode(text).ids[:most]
    tokenizer.enable_truncation(most)
    (start,) = starts(tokenizer, [text], most)
    assert text.startswith(start)
    assert tokenizer.truncation["max_length"] == most
    assert tokenizer.encode(start).ids == wanted


def test_a_long_text_is_not_tokenised_whole() -> None:
    text = "the film was good " * 100_000
    assert len(starts(TOKENIZERS["wordpiece"], [text], 128)[0]) < 10_000
    assert starts(TOKENIZERS["wordpiece"], ["short"], 128) == ["short"]


def test_a_normalizer_that_blows_texts_up(tmp_path) -> None:
    made = trained("wordpiece")
    made.normalizer = normalizers.Sequence([normalizers.Replace("a", "aa")] * 30)
    made.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(EdgeAdaptError, match="makes texts up to 1073741824 times as long"):
        read_tokenizer(tmp_path / "tokenizer.json")
