"""How right answers are: accuracy, macro-averaged F1, and F1 of named entities."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

Metric = Literal["accuracy", "macro-F1", "entity-F1"]

MEANING: dict[str, str] = {
    "accuracy": "share of the examples whose class is named",
    "macro-F1": "F1 of each class that is there or named, their mean",
    "entity-F1": "F1 of named entities; one is found when its first word, its last word and its type are right",
}

Span = tuple[int, int, str]
"""First word, last word + 1, type."""


def accuracy(right: Sequence[int] | np.ndarray, answers: Sequence[int] | np.ndarray) -> float:
    """Share of right answers; 0 of none."""
    return float((np.asarray(right) == np.asarray(answers)).mean()) if len(right) else 0.0


def macro_f1(right: Sequence[int] | np.ndarray, answers: Sequence[int] | np.ndarray) -> float:
    """Mean of the F1 of every class that occurs among the right labels or the answers; 0 of none."""
    right, answers = np.asarray(right), np.asarray(answers)
    found = []
    for label in np.union1d(right, answers):
        hit = int(((right == label) & (answers == label)).sum())
        found.append(2 * hit / (int((right == label).sum()) + int((answers == label).sum())))
    return float(np.mean(found)) if found else 0.0


def entity_f1(right: Sequence[Sequence[str]], answers: Sequence[Sequence[str]]) -> float:
    """F1 of the entities of all sentences together, each given by the tags of its words; 0 where none is found.

    An entity counts as found only when its words and its type are exactly right (Tjong Kim Sang and De Meulder,
    "Introduction to the CoNLL-2003 Shared Task", CoNLL 2003).
    """
    hits = wanted = named = 0
    for true, guess in zip(right, answers, strict=True):
        if len(true) != len(guess):
            raise ValueError(f"{len(guess)} tags for {len(true)} words")
        there, said = entities(true), entities(guess)
        hits += len(there & said)
        wanted += len(there)
        named += len(said)
    return 2 * hits / (wanted + named) if hits else 0.0


def entities(tags: Sequence[str]) -> set[Span]:
    """The entities in a sentence. An entity starts at B-, and at an I- that follows O or another type, as the script of
    the shared task has it; it ends where the next one starts, or at O.
    """
    spans: set[Span] = set()
    start, kind = 0, ""
    for place, tag in enumerate([*tags, "O"]):
        now = entity_type(tag)
        if kind and (now != kind or tag.startswith("B-")):
            spans.add((start, place, kind))
            kind = ""
        if now and not kind:
            start, kind = place, now
    return spans


def entity_type(tag: str) -> str:
    """PER of "B-PER" and "I-PER"; "" of "O"."""
    return "" if tag == "O" else tag[2:]


SCORES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {"accuracy": accuracy, "macro-F1": macro_f1}
"""The metrics of one answer an example."""
