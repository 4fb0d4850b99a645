"""A tokenizer without its vocabulary, or for other texts, is refused: nothing is computed from unknown words."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edge_adapt.errors import EdgeAdaptError, UsageError
from edge_adapt.workloads import vocabulary
from edge_adapt.workloads.models import load_backbone
from edge_adapt.workloads.task import Example
from edge_adapt.workloads.vocabulary import FILES, load_tokenizer, require_known, unknown_share
from tokenizers import Tokenizer
from tokenizers.models import BPE, Unigram, WordLevel, WordPiece
from tokenizers.pre_tokenizers import ByteLevel, Whitespace
from transformers import AlbertConfig, BertConfig, PretrainedConfig, RobertaConfig


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return _folder(tmp_path, BertConfig(vocab_size=60))


def _folder(path: Path, config: PretrainedConfig) -> Path:
    config.save_pretrained(path)
    return path


def test_no_vocabulary(folder: Path) -> None:
    with pytest.raises(EdgeAdaptError) as caught:
        load_tokenizer(folder)
    assert all(name in str(caught.value) for name in FILES)
    assert "\n" not in str(caught.value)


def test_no_vocabulary_is_found_before_the_weights_are_read(folder: Path) -> None:
    with pytest.raises(EdgeAdaptError, match="has no vocabulary"):
        load_backbone(folder)


def test_settings_alone_are_no_vocabulary(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "unk_token": "[UNK]"})
    )
    (folder / "special_tokens_map.json").write_text(json.dumps({"unk_token": "[UNK]"}))
    with pytest.raises(EdgeAdaptError, match="has no vocabulary"):
        load_tokenizer(folder)


def test_only_special_tokens(folder: Path) -> None:
    words = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "<s>", "[unused0]"])}
    Tokenizer(WordLevel(words, unk_token="[UNK]")).save(str(folder / "tokenizer.json"))
    with pytest.raises(EdgeAdaptError, match="holds no words, only special tokens"):
        load_tokenizer(folder)


def test_a_file_that_the_model_s_tokenizer_does_not_read(tmp_path: Path) -> None:
    """ALBERT's reads spiece.model: of vocab.txt transformers makes an empty vocabulary, or nothing."""
    folder = _folder(tmp_path, AlbertConfig(vocab_size=60))
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\nw\n")
    with pytest.raises(EdgeAdaptError, match=r"only special tokens|no usable fast tokenizer"):
        load_tokenizer(folder)


def test_words_of_a_slow_tokenizer(folder: Path) -> None:
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "film"]) + "\n")
    assert load_tokenizer(folder).encode("good film").ids == [2, 5, 6, 3]


def test_merges_belong_to_their_vocabulary(tmp_path: Path) -> None:
    folder = _folder(tmp_path, RobertaConfig(vocab_size=60))
    letters = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "a", "b", "ab"]
    (folder / "vocab.json").write_text(json.dumps({letter: i for i, letter in enumerate(letters)}))
    with pytest.raises(EdgeAdaptError, match=r"vocab\.json without the merges\.txt"):
        load_tokenizer(folder)
    (folder / "merges.txt").write_text("#version: 0.2\na b\n")
    assert load_tokenizer(folder).encode("ab").ids == [0, 7, 2]


@pytest.mark.parametrize(
    ("file", "absent", "message"),
    [
        ("spiece.model", ["sentencepiece"], r"'sentencepiece', which is not installed: pip install sentencepiece, or"),
        ("sentencepiece.bpe.model", ["sentencepiece", "google.protobuf"], "pip install sentencepiece protobuf"),
        ("spm.model", ["google.protobuf"], "'protobuf'"),
        ("tiktoken.model", ["tiktoken"], "'tiktoken'"),
    ],
)
def test_the_package_that_is_missing_is_named(
    folder: Path, file: str, absent: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / file).write_bytes(b"model")
    monkeypatch.setattr(vocabulary, "_installed", lambda module: module not in absent)
    with pytest.raises(EdgeAdaptError, match=message):
        load_tokenizer(folder)


def _word_level(words: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    return tokenizer


def _word_piece() -> Tokenizer:
    tokenizer = Tokenizer(WordPiece({"[UNK]": 0, "a": 1, "##a": 2, "b": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    return tokenizer


def _unigram() -> Tokenizer:
    tokenizer = Tokenizer(Unigram([("<unk>", 0.0), ("a", -1.0), ("b", -1.0)], unk_id=0))
    tokenizer.pre_tokenizer = Whitespace()
    return tokenizer


@pytest.mark.parametrize("tokenizer", [_word_level({"[UNK]": 0, "a": 1, "b": 2}), _word_piece(), _unigram()])
def test_the_share_of_unknown_tokens(tokenizer: Tokenizer) -> None:
    """Two known tokens and one unknown, then two unknown of four."""
    assert unknown_share(tokenizer, [Example("a z b", 0)]) == pytest.approx(1 / 3)
    assert unknown_share(tokenizer, [Example("a z b", 0), Example("y", 0)]) == pytest.approx(2 / 4)
    assert unknown_share(tokenizer, [Example("a z", 0, pair=("a", "z"))]) == pytest.approx(1 / 2)
    assert unknown_share(tokenizer, [Example("a z", 0, words=("a", "a", "a", "z"), tags=(0, 0, 0, 0))]) == 1 / 4


def test_texts_that_leave_nothing_are_unknown() -> None:
    bytes_of_latin = Tokenizer(BPE({"a": 0, "b": 1}, []))
    bytes_of_latin.pre_tokenizer = ByteLevel()
    assert unknown_share(Tokenizer(BPE({"a": 0}, [])), [Example("zz", 0), Example("a", 0)]) == pytest.approx(1 / 2)
    assert unknown_share(bytes_of_latin, []) == 0.0


def test_a_task_in_words_that_the_tokenizer_does_not_know() -> None:
    tokenizer = _word_level({"[UNK]": 0, "a": 1})
    with pytest.raises(UsageError, match="'tiny' does not know 75 % of the tokens of task 'mine'"):
        require_known(tokenizer, [Example("a x y z", 0)], "tiny", "mine")
    assert "20 %" in str(require_known(tokenizer, [Example("a a a a z", 0)], "tiny", "mine"))
    assert require_known(tokenizer, [Example("a a", 0)], "tiny", "mine") is None


def test_a_backbone_asked_to_read_such_a_task(model_folder: Callable[[Any], Path], tmp_path: Path) -> None:
    from edge_adapt.workloads.tasks import load_task

    backbone = load_backbone(
        model_folder(
            BertConfig(vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24)
        )
    )
    rows = [f"Wort{i} und Wort{i + 1},{'ja' if i % 2 else 'nein'}" for i in range(40)]
    (tmp_path / "german.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    with pytest.raises(UsageError, match="does not know 100 %"):
        backbone.reading(load_task(str(tmp_path / "german.csv")))
