"""What runs are tested on: sets of their own, alike in their classes, of which nothing is ever trained on."""

import dataclasses

import numpy as np
import pytest
from edge_adapt.studies.encoding import Encoded
from edge_adapt.studies.test_sets import answers_in_order, draw, with_pool
from edge_adapt.workloads.task import make_task


def task_of(sizes, test_examples=10):
    rows = [(f"text {label} {n}", f"class {label}") for label, size in enumerate(sizes) for n in range(size)]
    return make_task("made up", rows, "here", "none", test_examples)


def test_sets_are_alike_and_apart_and_away_from_the_training_examples():
    task = task_of((120, 80))
    pooled = with_pool(task, (16,))
    sets = draw(pooled, 10, range(10))
    assert len(pooled.test) == 100 and len(pooled.train) == 100, "half is tested on at most"
    texts = [example.text for found in sets.values() for example in found.examples]
    assert len(set(texts)) == len(texts) == 100
    assert not set(texts) & {example.text for example in pooled.train}
    for found in sets.values():
        assert [e.label for e in found.examples] == [e.label for e in task.test]
        assert [pooled.test[n] for n in found.numbers] == list(found.examples)
    assert sets[0].examples == task.test, "the first set is the task's own"
    assert len({found.sha256 for found in sets.values()}) == 10


def test_the_set_of_a_seed_does_not_depend_on_the_other_seeds():
    pooled = with_pool(task_of((120, 80)), (16,))
    many = draw(pooled, 10, range(5))
    for seed in range(5):
        assert draw(pooled, 10, [seed])[seed] == many[seed]
    assert draw(pooled, 10, [13])[13].examples == many[3].examples


def test_more_runs_than_sets_share_the_first():
    pooled = with_pool(task_of((30, 30), 20), (8,))
    sets = draw(pooled, 20, range(3))
    assert {found.numbers for found in sets.values()} == {tuple(range(20))}


@pytest.mark.parametrize(("sizes", "shots"), [((20, 20), 8), ((13, 9), 4), ((100, 100), 190)])
def test_where_there_are_few_examples_the_shots_come_first(sizes, shots):
    task = task_of(sizes)
    pooled = with_pool(task, (shots,))
    assert len(pooled.test) % len(task.test) == 0
    assert len(pooled.few_shot(shots, 0).train) > 0
    if shots == 190:
        assert pooled == task, "nothing is left for a second set"


def test_a_rare_class_does_not_stop_it():
    task = task_of((200, 9))
    pooled = with_pool(task, (8,))
    kept = sum(example.label == 1 for example in pooled.train)
    assert kept >= 4 and len(pooled.test) > len(task.test)


def test_answers_come_back_in_the_order_of_the_examples():
    order = np.array([2, 0, 3, 1])
    assert answers_in_order(order, np.array([True, False, False, True])) == "0110"
    task = task_of((8, 8), 4)
    encoded = Encoded([[1, 2, 3, 4], [1], [1, 2, 3], [1, 2]], [0, 1, 1, 0])
    found = encoded.grade_in_order(task, np.array([0, 1, 0, 1]))
    assert (found.right, found.score) == ("1100", 0.5)
    by_length = encoded.grade(task, np.array([1, 1, 0, 0]), np.array([1, 0, 1, 0]))
    assert by_length.right == "1100"
    words = dataclasses.replace(encoded, words=[[0], [0], [0], [0]])
    assert words.words and words.answers == 4
