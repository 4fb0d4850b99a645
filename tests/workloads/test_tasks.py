"""Tasks: fixed splits without leaks, balanced draws by seed, and the published sizes of the shipped texts."""

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from edge_adapt.errors import UsageError
from edge_adapt.runtime.examples import Reading
from edge_adapt.workloads.fetch import is_cached
from edge_adapt.workloads.task import Example, Task, make_task
from edge_adapt.workloads.tasks import TASKS, load_task
from edge_adapt.workloads.texts import normalise, overlap
from hypothesis import assume, given
from hypothesis import strategies as st


def _write(path: Path, rows: Sequence[tuple[str, str]]) -> Path:
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    return path


def _rows(counts: dict[str, int]) -> list[tuple[str, str]]:
    return [(f"{label} text {index}", label) for label, count in counts.items() for index in range(count)]


def _task(train: Sequence[int]) -> Task:
    """A task with so many training examples of each class."""
    examples = tuple(Example(f"{label} {i}", label) for label, count in enumerate(train) for i in range(count))
    return Task("made up", tuple(map(str, range(len(train)))), examples, (), "test", "none", 0)


def test_split_is_fixed_stratified_and_without_leaks(tmp_path: Path) -> None:
    path = _write(tmp_path / "mine.jsonl", _rows({"b": 30, "a": 70}))
    task = load_task(path, test_examples=20)
    assert (task.name, task.labels, task.source) == ("mine", ("a", "b"), str(path))
    assert Counter(task.labels[example.label] for example in task.test) == {"a": 14, "b": 6}
    assert len(task.train) == 80
    assert all(example.text.startswith(task.labels[example.label]) for example in task.train + task.test)
    assert not overlap((example.text for example in task.train), (example.text for example in task.test))
    assert load_task(path, test_examples=20) == task
    assert [example.label for example in task.train] != sorted(example.label for example in task.train)


def test_test_split_is_at_most_half(tmp_path: Path) -> None:
    task = load_task(_write(tmp_path / "t.jsonl", _rows({"a": 10, "b": 11})), test_examples=400)
    assert (len(task.train), len(task.test)) == (11, 10)


def test_repeated_and_contradictory_texts(tmp_path: Path) -> None:
    rows = [
        ("Same  text", "a"),
        ("same text\n", "a"),
        ("SAME\ttext", "a"),
        ("odd", "a"),
        ("Odd ", "b"),
        *_rows({"a": 4, "b": 4}),
    ]
    task = load_task(_write(tmp_path / "t.jsonl", rows))
    texts = [example.text for example in task.train + task.test]
    assert sorted(texts) == sorted(["Same  text", *(text for text, _ in _rows({"a": 4, "b": 4}))])
    assert task.messages == ("3 repeated texts were left out", "1 text that occurs with two labels was left out")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("x", "a"), ("y", "a")], "only the label 'a'; at least two classes are needed"),
        ([("x", "a"), ("x", "b")], "no usable example"),
    ],
)
def test_one_class(tmp_path: Path, rows: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_task(_write(tmp_path / "t.jsonl", rows))


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (("'up'", "'down'"), "the quotes of the label 'down' belong to it"),
        (("up", "\u200bup"), "the labels 'up' and '\\u200bup' are two classes"),
    ],
)
def test_labels_that_look_like_others(tmp_path: Path, labels: tuple[str, str], said: str) -> None:
    task = load_task(_write(tmp_path / "t.jsonl", _rows(dict.fromkeys(labels, 4))))
    assert said in " ".join(task.messages)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("movie", {"text_column": "body"}, "--text-column has no effect on the task 'movie'"),
        ("ner-tweets", {"on_error": "skip"}, "--on-error has no effect"),
        ("{folder}", {"encoding": "latin-1"}, "--encoding has no effect"),
        ("{folder}/a.conll", {"label_column": "tag"}, "--label-column has no effect"),
    ],
)
def test_options_of_reading_that_mean_nothing_are_refused(
    tmp_path: Path, name: str, options: dict[str, str], said: str
) -> None:
    (tmp_path / "a.conll").write_text("Ann B-X\n")
    with pytest.raises(UsageError, match=said):
        load_task(name.format(folder=tmp_path), reading=Reading(**options))


@pytest.mark.parametrize(
    ("given_name", "message"),
    [
        ("moive", "unknown task 'moive'; did you mean 'movie'.* or give a .csv or .jsonl file"),
        ("gone.csv", "task file gone.csv does not exist"),
    ],
)
def test_unknown_tasks(given_name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_task(given_name)


def test_test_examples_must_be_positive() -> None:
    with pytest.raises(UsageError, match="at least 1, not 0"):
        load_task("movie", test_examples=0)


@given(
    train=st.lists(st.integers(2, 40), min_size=2, max_size=6),
    shots=st.integers(2, 200),
    seed=st.integers(0, 2**32 - 1),
)
def test_few_shot_draw(train: list[int], shots: int, seed: int) -> None:
    task = _task(train)
    assume(2 * len(train) <= shots <= sum(train))
    drawn = task.few_shot(shots, seed)
    assert drawn.seed == seed
    both = drawn.train + drawn.validation
    assert len(both) == len(set(both)) == shots
    assert set(both) <= set(task.train)
    assert len(drawn.validation) == max(1, round(0.2 * shots))
    counts = Counter(example.label for example in both)
    # Balanced: no class has two fewer than another unless it gave all it has.
    for label, count in enumerate(train):
        assert counts[label] == count or counts[label] >= max(counts.values()) - 1
    assert set(Counter(example.label for example in drawn.train)) == set(range(len(train)))
    assert task.few_shot(shots, seed) == drawn


def test_seeds_draw_differently_and_evenly() -> None:
    task = _task([50, 50, 50])
    draws = [task.few_shot(30, seed) for seed in range(20)]
    assert len({draw.train for draw in draws}) == 20
    assert all(Counter(e.label for e in d.train + d.validation) == {0: 10, 1: 10, 2: 10} for d in draws)
    assert all(Counter(e.label for e in d.validation) == {0: 2, 1: 2, 2: 2} for d in draws)
    often = np.bincount([int(e.text.split()[1]) for d in draws for e in d.train + d.validation], minlength=50)
    assert often.min() > 0  # every example gets its chance


@pytest.mark.parametrize(
    ("train", "shots", "message"),
    [
        ([20, 20, 20], 5, "5 shots are too few for 3 classes; give at least 6"),
        ([20, 20], 41, "41 shots asked for, but only 40 examples"),
        ([20, 1], 10, "class '1' has fewer than 2 examples"),
    ],
)
def test_impossible_draws(train: list[int], shots: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        _task(train).few_shot(shots, 0)


def test_what_was_left_out_stands_behind_the_error_that_it_causes() -> None:
    """Of 24 texts in the file, four are different: without the reason nobody understands that only two remain."""
    rows = [(f"text {n % 4}", str(n % 2)) for n in range(24)]
    task = make_task("mine", rows, "mine.csv", "own", None)
    said = r"8 shots asked for, but only 2 examples can be trained on \(20 repeated texts were left out\)"
    with pytest.raises(UsageError, match=said):
        task.few_shot(8, 0)
    with pytest.raises(UsageError, match=r"only 1 example can be trained on \(1 repeated text was left out\)"):
        make_task("mine", [("a", "x"), ("b", "y"), ("a", "x")], "mine.csv", "own", None).few_shot(8, 0)
    with pytest.raises(UsageError, match=r"no usable example; .* 1 text that occurs with two labels was left out\)"):
        make_task("mine", [("a", "x"), ("a", "y")], "mine.csv", "own", None)


@given(st.text(), st.sampled_from([" ", "\n", "\t ", "  "]))
def test_normalise_ignores_case_and_space(text: str, space: str) -> None:
    assert normalise(text) == normalise(f"{space}{text.replace(' ', space)}{space}")
    assert normalise(normalise(text)) == normalise(text)


def test_overlap() -> None:
    assert overlap(["A b", "c"], ["a  B\n", "d"]) == {"a b"}


@cache
def _shipped(name: str) -> Task:
    package = TASKS[name].package
    if not is_cached(package):
        pytest.skip(f"{package} is not in the cache")
    return load_task(name)


# Classes as published; numbers of texts at |rating| >= 0.5, or of articles and tweets, before repeated ones go.
SIZES = {
    "tweets": (2, 3432),
    "movie": (2, 10072),
    "amazon": (2, 2985),
    "nyt": (2, 2970),
    "bbc": (5, 2225),
    "r8": (8, 5485 + 2189),
    "r52": (22, 1207),  # counted in the files: published are all topics together
    "newsgroups": (4, 4869 + 3978 + 3952 + 3252),
    "election": (2, 5722),
    "spam": (2, 4150 + 1896),
}


@pytest.mark.download
@pytest.mark.parametrize("name", TASKS)
def test_shipped_task(name: str) -> None:
    task = _shipped(name)
    classes, published = SIZES[name]
    total = len(task.train) + len(task.test)
    assert len(task.labels) == classes
    assert 0.95 * published < total <= published
    assert len(task.test) == 400
    assert not overlap((example.text for example in task.train), (example.text for example in task.test))
    draw = task.few_shot(100, seed=0)
    assert (len(draw.train), len(draw.validation)) == (80, 20)
    assert task.metric == ("macro-F1" if name in ("r52", "spam") else "accuracy")
    assert task.source
    assert task.licence


@pytest.mark.download
@pytest.mark.parametrize("pair", list(itertools.combinations(TASKS, 2)), ids="-".join)
def test_no_text_occurs_in_two_shipped_tasks(pair: tuple[str, str]) -> None:
    first, second = (_shipped(name) for name in pair)
    assert not overlap((e.text for e in first.train + first.test), (e.text for e in second.train + second.test))
