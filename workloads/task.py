"""A labelled task, made from rows: one fixed test split, and few-shot draws by seed. Where tasks come from: `tasks`."""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from ..display import Shown
from ..errors import UsageError
from .scores import Metric
from .texts import normalise

SPLIT_SEED = 20140601
"""Seed of every task's division into test and train; recorded in `Task.split_seed`."""

VALIDATION_SHARE = 0.2

TEST_EXAMPLES = 400
"""Of a task whose user asks for no number."""

OWN = "the user's own"
"""The licence of what a user brings."""


@dataclass(frozen=True)
class Example:
    """A text, or an image, and the index of its label in `Task.labels`.

    `image`: (height, width) or (height, width, 3) uint8, or a file that holds one; `text` is then what tells images
    apart, a digest of it. `pair`: the two texts of an example that has two; `words` and the `tags` of each: those of a
    sentence whose entities are to be found. `text` then holds the texts or words joined together, and the label of a
    tagged sentence is its place in `Task.strata`.
    """

    text: str
    label: int
    image: np.ndarray | Path | None = field(default=None, compare=False, repr=False)
    pair: tuple[str, str] | None = field(default=None, compare=False, repr=False)
    words: tuple[str, ...] = field(default=(), compare=False, repr=False)
    tags: tuple[int, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True)
class FewShot:
    """The examples an adaptation may look at. `seed` is the one they were drawn with."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    seed: int


@dataclass(frozen=True, repr=False)
class Task(Shown):
    """A task of classifying texts, pairs of texts or images, or of tagging words. No two texts are the same (see
    `texts.normalise`), and no two images, so nothing of `test` is in `train`. `augment`: images are cropped and
    mirrored at random while training. `metric`: what right answers are counted by. `strata`: what examples are drawn
    evenly from; the labels where there are none. The labels of a tagging task are its tags, O first.
    """

    name: str
    labels: tuple[str, ...]
    train: tuple[Example, ...]
    test: tuple[Example, ...]
    source: str
    licence: str
    split_seed: int
    messages: tuple[str, ...] = ()
    augment: bool = False
    metric: Metric = "accuracy"
    strata: tuple[str, ...] = ()

    def _facts(self) -> dict[str, object]:
        return {"name": self.name, "labels": self.labels, "train": len(self.train), "test": len(self.test),
                "metric": self.metric}  # fmt: skip

    @property
    def paired(self) -> bool:
        """Whether examples are pairs of texts."""
        return self.train[0].pair is not None

    @property
    def tagged(self) -> bool:
        """Whether every word has a tag."""
        return bool(self.train[0].tags)

    @property
    def kind(self) -> Literal["text", "image"]:
        return "text" if self.train[0].image is None else "image"

    def few_shot(self, shots: int, seed: int) -> FewShot:
        """Draw `shots` examples from `train`, the same number from each class, and hold a fifth back for validation.

        Where `shots` is no multiple of the number of classes, classes picked at random give one more. A class with too
        few examples gives all it has and the others make up for it. The draw depends on `seed` alone; the test examples
        are the same for every seed.

        Raises:
            UsageError: fewer than 2 shots per class, or more shots than there are examples.
        """
        strata = self.strata or self.labels
        classes = len(strata)
        if shots < 2 * classes:
            raise UsageError(
                f"task {self.name!r}: {shots} shots are too few for {classes} classes; give at least {2 * classes}"
            )
        if shots > len(self.train):
            raise UsageError(
                f"task {self.name!r}: {shots} shots asked for, but only {len(self.train)} "
                f"{'example' if len(self.train) == 1 else 'examples'} can be trained on{_behind(self.messages)}"
            )
        rng = np.random.default_rng(seed)
        by_class = [[example for example in self.train if example.label == label] for label in range(classes)]
        scarce = [strata[label] for label, examples in enumerate(by_class) if len(examples) < 2]
        if scarce:
            raise UsageError(
                f"task {self.name!r}: class {scarce[0]!r} has fewer than 2 examples to train on; add some"
                f"{_behind(self.messages)}"
            )
        taken = _even_counts(shots, [len(examples) for examples in by_class], rng)
        drawn = [_shuffled(examples, rng)[:n] for examples, n in zip(by_class, taken, strict=True)]
        held = _proportional_counts(max(1, round(VALIDATION_SHARE * shots)), taken)
        validation = [example for examples, n in zip(drawn, held, strict=True) for example in examples[:n]]
        train = [example for examples, n in zip(drawn, held, strict=True) for example in examples[n:]]
        return FewShot(_shuffled(train, rng), _shuffled(validation, rng), seed)

    def scarce(self, shots: int) -> list[str]:
        """What to say of classes that cannot give their share of so many shots; the others make up for it."""
        strata = self.strata or self.labels
        sizes = [sum(example.label == label for example in self.train) for label in range(len(strata))]
        share = shots // len(strata)
        few = [f"{name!r} ({size})" for name, size in zip(strata, sizes, strict=True) if size < share]
        more = f" and {len(few) - 5} more classes" if len(few) > 5 else ""
        return [
            f"{shots} shots are {share} of each class, and {', '.join(few[:5])}{more} have fewer examples to train on; "
            "the other classes give more"
        ] if few else []  # fmt: skip


def _behind(messages: Sequence[str]) -> str:
    """What was said of a task before, in brackets behind an error that it may be the reason of."""
    return f" ({'; '.join(messages)})" if messages else ""


def own_task(messages: Sequence[str], make: Callable[[], Task]) -> Task:
    """A user's own task. What was said when its file was read stands in front of its messages, or behind an error."""
    try:
        task = make()
    except UsageError as error:
        raise UsageError(f"{error}{_behind(messages)}") from error
    return replace(task, messages=(*messages, *task.messages))


def make_task(
    name: str,
    rows: Iterable[tuple[str, str]],
    source: str,
    licence: str,
    test_examples: int | None,
    classes_min: int = 2,
    noun: str = "texts",
) -> Task:
    """A task from (text, label) rows, split; see `load_task`. `noun`: what the examples are, in messages."""
    pairs, messages = _unique(rows, noun)
    labels = tuple(sorted({label for _, label in pairs}))
    if len(labels) < classes_min:
        only = f"only the label {labels[0]!r}" if labels else "no usable example"
        raise UsageError(f"task {name!r} ({source}) has {only}; at least two classes are needed{_behind(messages)}")
    examples = [Example(text, labels.index(label)) for text, label in pairs]
    rng = np.random.default_rng(SPLIT_SEED)
    by_class = [[example for example in examples if example.label == label] for label in range(len(labels))]
    tested = min(test_examples or TEST_EXAMPLES, len(examples) // 2)
    if test_examples and tested < test_examples:
        messages.append(
            f"the test has {tested} examples instead of {test_examples}: half of the {len(examples)} {noun} of the task"
        )
    messages += _look_alikes(labels)
    counts = _proportional_counts(tested, [len(members) for members in by_class])
    shuffled = [_shuffled(members, rng) for members in by_class]
    test = [example for members, n in zip(shuffled, counts, strict=True) for example in members[:n]]
    train = [example for members, n in zip(shuffled, counts, strict=True) for example in members[n:]]
    return Task(name, labels, _shuffled(train, rng), _shuffled(test, rng), source, licence, SPLIT_SEED, tuple(messages))


def _look_alikes(labels: Sequence[str]) -> list[str]:
    """Labels that a person may take for one: `Up` and `up`, 1 and 1.0."""
    found: dict[object, str] = {}
    said = []
    for label in labels:
        first = found.setdefault(_looks(label), label)
        if first != label:
            said.append(f"the labels {first!r} and {label!r} are two classes; write them alike if they mean one")
    if quoted := [label for label in labels if len(label) > 1 and label[0] == label[-1] and label[0] in "'`\""]:
        said.append(
            f"the quotes of the label {quoted[0]} belong to it; only double quotes are taken off, of CSV's fields"
        )
    return said


def _looks(label: str) -> object:
    try:
        return float(label)
    except ValueError:
        return normalise("".join(sign for sign in label if unicodedata.category(sign) != "Cf"))  # signs without width


def _unique(rows: Iterable[tuple[str, str]], noun: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Each normalised text once, in the order of the file; texts with contradictory labels not at all."""
    found: dict[str, tuple[str, set[str]]] = {}
    read = 0
    for text, label in rows:
        key = normalise(text)
        if key:
            read += 1
            found.setdefault(key, (text, set()))[1].add(label)
    pairs = [(text, next(iter(labels))) for text, labels in found.values() if len(labels) == 1]
    contradictory = len(found) - len(pairs)
    messages = []
    if read > len(found):
        repeated = read - len(found)
        messages.append(
            f"1 repeated {noun[:-1]} was left out" if repeated == 1 else f"{repeated} repeated {noun} were left out"
        )
    if contradictory:
        messages.append(
            f"1 {noun[:-1]} that occurs with two labels was left out"
            if contradictory == 1
            else f"{contradictory} {noun} that occur with two labels were left out"
        )
    return pairs, messages


def _shuffled(examples: Sequence[Example], rng: np.random.Generator) -> tuple[Example, ...]:
    return tuple(examples[i] for i in rng.permutation(len(examples)))


def _even_counts(total: int, available: Sequence[int], rng: np.random.Generator) -> list[int]:
    """Split `total` as evenly as `available` allows; classes in random order give the odd ones."""
    counts = [0] * len(available)
    order = rng.permutation(len(available))
    left = total
    while left:
        for i in order:
            if left and counts[i] < available[i]:
                counts[i] += 1
                left -= 1
    return counts


def _proportional_counts(total: int, available: Sequence[int]) -> list[int]:
    """Split `total` (at most the sum of `available`) in proportion, by largest remainders; first classes win ties."""
    shares = [total * n / sum(available) for n in available]
    counts = [int(share) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda i: counts[i] - shares[i])
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return counts
