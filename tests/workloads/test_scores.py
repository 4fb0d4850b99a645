"""Metrics: hand-worked cases, and published implementations where they are installed."""

import numpy as np
import pytest
from edge_adapt.workloads.scores import accuracy, entities, entity_f1, macro_f1
from hypothesis import given
from hypothesis import strategies as st

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


@pytest.mark.parametrize(
    ("tags", "wanted"),
    [
        ("O O O", set()),
        ("B-PER I-PER O", {(0, 2, "PER")}),
        ("B-PER B-PER", {(0, 1, "PER"), (1, 2, "PER")}),
        ("B-PER I-LOC", {(0, 1, "PER"), (1, 2, "LOC")}),  # another type starts another entity
        ("O I-LOC I-LOC", {(1, 3, "LOC")}),  # an I- behind O starts one
        ("I-LOC B-LOC", {(0, 1, "LOC"), (1, 2, "LOC")}),
        ("O B-LOC I-LOC I-LOC", {(1, 4, "LOC")}),  # up to the end of the sentence
    ],
)
def test_entities_of_a_sentence(tags, wanted):
    assert entities(tags.split()) == wanted


@pytest.mark.parametrize(
    ("right", "named", "wanted"),
    [
        (["B-PER I-PER O"], ["B-PER I-PER O"], 1.0),
        (["B-PER I-PER O"], ["B-PER O O"], 0.0),  # a word short
        (["B-PER I-PER O"], ["B-LOC I-LOC O"], 0.0),  # another type
        (["B-PER O B-LOC"], ["B-PER O O"], 2 / 3),  # precision 1, recall 1/2
        (["B-PER O O"], ["B-PER O B-LOC"], 2 / 3),
        (["B-PER", "B-PER O"], ["B-PER", "O B-PER"], 1 / 2),  # 1 of 2 found, 1 of 2 right
        (["O O"], ["O O"], 0.0),
        (["B-PER", "I-PER"], ["B-PER", "I-PER"], 1.0),  # two sentences, two entities
    ],
)
def test_entity_f1_by_hand(right, named, wanted):
    assert entity_f1([r.split() for r in right], [n.split() for n in named]) == pytest.approx(wanted)


def test_tags_must_belong_to_the_words():
    with pytest.raises(ValueError, match="1 tags for 2 words"):
        entity_f1([["O", "O"]], [["O"]])


sentences = st.integers(1, 6).flatmap(
    lambda n: st.lists(
        st.tuples(*[st.lists(st.sampled_from(TAGS), min_size=n, max_size=n)] * 2), min_size=1, max_size=5
    )
)


@given(sentences)
def test_entity_f1_agrees_with_seqeval(pairs):
    seqeval = pytest.importorskip("seqeval.metrics")
    right, named = [list(column) for column in zip(*pairs, strict=True)]
    assert entity_f1(right, named) == pytest.approx(seqeval.f1_score(right, named, zero_division=0))


@given(sentences)
def test_entity_f1_of_swapped_roles_is_the_same(pairs):
    """Precision and recall change places: their harmonic mean stays."""
    right, named = zip(*pairs, strict=True)
    assert entity_f1(right, named) == entity_f1(named, right)


def test_macro_f1_by_hand():
    # Class 0: precision 2/3, recall 1, F1 0.8; class 1: precision 1, recall 1/2, F1 2/3; class 2 is named once: 0.
    assert macro_f1([0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 2]) == pytest.approx((0.8 + 2 / 3 + 0) / 3)
    assert macro_f1([], []) == 0.0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_macro_f1_agrees_with_scikit_learn(pairs):
    metrics = pytest.importorskip("sklearn.metrics")
    right, named = zip(*pairs, strict=True)
    wanted = metrics.f1_score(right, named, average="macro", zero_division=0)
    assert macro_f1(right, np.array(named)) == pytest.approx(wanted)


def test_accuracy():
    assert accuracy([1, 2, 3, 4], [1, 2, 0, 4]) == 0.75
    assert accuracy([], []) == 0.0
