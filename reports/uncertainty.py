"""Errors of a row's accuracies and of differences between rows, from the answers that its records keep.

The arithmetic is that of `paired.py`: a mean accuracy is treated as the difference from a row that answers nothing
right, so that its error holds test examples, draws and chips as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .paired import Difference, of_answers, of_scores
from .records import SimulateReport
from .records.compare import ComparedResult, ComparedTask
from .records.results import Result
from .rows import Row


@dataclass(frozen=True)
class Errors:
    """What the errors of one report need to know beside its rows.

    metric: what right answers are counted by; only of `accuracy` is the score the mean of the answers. shared: whether
    all runs have the same test examples.
    """

    metric: str
    shared: bool

    @classmethod
    def of(cls, report: SimulateReport) -> "Errors":
        """Those of a report of `edge-adapt simulate`."""
        return cls(report.task.metric, len({tuple(entry.examples) for entry in report.test_sets}) == 1)

    @classmethod
    def of_task(cls, task: ComparedTask) -> "Errors":
        """Those of one task of a comparison: runs have examples of their own where the task has more than one asks."""
        return cls(task.metric, task.test_pool == task.test_examples)

    @classmethod
    def of_tasks(cls, tasks: Sequence[ComparedTask]) -> "Errors":
        """Those of rows that hold the runs of several tasks. Where a task's runs share their examples, or a score is
        no mean over examples, the runs are what the error is made of.
        """
        if len(tasks) == 1:
            return cls.of_task(tasks[0])
        alone = all(task.metric == "accuracy" and not cls.of_task(task).shared for task in tasks)
        return cls("accuracy" if alone else "mean of several scores", False)

    def mean(self, row: Row, outcome: str) -> float | None:
        """Standard error of the row's mean accuracy in an outcome, a fraction; None where it cannot be told."""
        values = [value for record in row.records if (value := record.accuracy(outcome)) is not None]
        if not values or len(values) < len(row.records):
            return None
        answers = [_bits(record, outcome) for record in row.records]
        found = self._difference(values, answers)
        return None if found.error is None else found.error / 100

    def difference(self, row: Row, outcome: str, other: Row, other_outcome: str) -> Difference | None:
        """`row` in an outcome minus `other` in another (they may be the same row), over the runs that both have.

        None where they have no run in common, or one of them has no value.
        """
        theirs = {_run(record): record for record in other.records}
        pairs = [(record, theirs[_run(record)]) for record in row.records if _run(record) in theirs]
        both = [(one.accuracy(outcome), two.accuracy(other_outcome)) for one, two in pairs]
        values = [a - b for a, b in both if a is not None and b is not None]
        if not pairs or len(values) < len(pairs):
            return None
        answers = [(_bits(one, outcome), _bits(two, other_outcome)) for one, two in pairs]
        known = [a - b if a is not None and b is not None and len(a) == len(b) else None for a, b in answers]
        return self._difference(values, known)

    def better(self, row: Row, other: Row) -> bool:
        """Whether `row` is more accurate on the chip than `other` by more than chance explains."""
        found = self.difference(row, "chip", other, "chip")
        return found is not None and found.verdict == "better"

    def _difference(self, values: list[float], answers: list[np.ndarray | None]) -> Difference:
        kept = [found for found in answers if found is not None]
        if self.metric == "accuracy" and len(kept) == len(answers):
            return of_answers(kept, self.shared and len({len(found) for found in kept}) == 1)
        return of_scores(values, sum(len(found) for found in kept))


def _run(record: Result) -> tuple[str | None, int]:
    """What makes two records the same run: the seed, and the task where several are compared."""
    return record.task if isinstance(record, ComparedResult) else None, record.seed


def _bits(record: Result, outcome: str) -> np.ndarray | None:
    """The answers to single examples, 0 or 1 each, as floats; None where they are not kept."""
    bits = record.right(outcome)
    return None if bits is None else np.frombuffer(bits.encode(), np.uint8).astype(float) - ord("0")
