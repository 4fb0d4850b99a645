"""Standard errors of means and of paired differences, from the runs of a row and from its answers to single examples.

Runs differ in their draw of examples, their test examples and their chip, so that the spread of the runs over the root
of their number holds all of these. Two or three runs give it badly, though, and by chance far too small. The answers to
single examples give the part of the test examples alone, and give it well. The larger of the two is taken.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .rows import Row
from .values import Statistic


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences as a fraction, and its standard error (None: one run without its answers)."""

    mean: float | None
    standard_error: float | None

    @property
    def beyond_error(self) -> bool:
        """Whether it is larger than chance explains: more than two standard errors from 0."""
        return self.mean is not None and self.mean != 0 and abs(self.mean) > 2 * (self.standard_error or 0.0)


def standard_error(row: Row, outcome: str) -> float | None:
    """Standard error of a row's mean accuracy in an outcome (`exact`, `chip`, `drifted`, `readapted`), a fraction."""
    shares = row.stat(f"accuracy_{outcome}")
    if shares.mean is None:
        return None
    asked = sum(len(record.get(f"right_{outcome}") or "") for record in row.records)
    of_examples = math.sqrt(shares.mean * (1 - shares.mean) / asked) if asked else None
    return _larger(_of_runs(shares), of_examples)


def change(row: Row, outcome: str, other: Row, other_outcome: str) -> Difference:
    """`row` in an outcome minus `other` in another (they may be the same row), over the runs that both have."""
    theirs = {_run(record): record for record in other.records}
    pairs = [(record, theirs[_run(record)]) for record in row.records if _run(record) in theirs]
    a, b = f"accuracy_{outcome}", f"accuracy_{other_outcome}"
    differences = Statistic.of([x[a] - y[b] if x[a] is not None and y[b] is not None else None for x, y in pairs])
    answers = [_answers(x, outcome, y, other_outcome) for x, y in pairs]
    return Difference(differences.mean, _larger(_of_runs(differences), _of_answers(answers)))


def _run(record: Mapping[str, Any]) -> tuple[Any, Any]:
    """What makes two records the same run: the seed, and the task where several are compared."""
    return record.get("task"), record["seed"]


def _answers(one: Mapping[str, Any], outcome: str, other: Mapping[str, Any], other_outcome: str) -> list[int]:
    """Differences for every example that both were asked: 1, 0 or -1; [] where the answers are not kept."""
    mine, theirs = one.get(f"right_{outcome}"), other.get(f"right_{other_outcome}")
    if not mine or not theirs or len(mine) != len(theirs):
        return []
    return [int(x) - int(y) for x, y in zip(mine, theirs, strict=True)]


def _of_answers(runs: Sequence[Sequence[int]]) -> float | None:
    every = list(itertools.chain.from_iterable(runs))
    if not every:
        return None
    squares = sum((d - sum(run) / len(run)) ** 2 for run in runs if run for d in run)
    return math.sqrt(squares) / len(every)


def _of_runs(found: Statistic) -> float | None:
    return None if found.spread is None else found.spread / math.sqrt(found.count)


def _larger(one: float | None, other: float | None) -> float | None:
    known = [value for value in (one, other) if value is not None]
    return max(known) if known else None
