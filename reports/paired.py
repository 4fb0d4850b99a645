"""Paired differences between two rows of a report, with an error that holds the test examples, the draws and the chips.

In a run both rows answer the same test examples, after the same labelled ones, on the same chip: differences are taken
answer by answer. Of R runs the mean difference has the variance

    W + max(0, w (B - E)) / R,    w = (R - 1) / (PRIOR_RUNS + R - 1)

W: of the test examples alone, within the runs. B: of the runs' differences, as found; E: what B would be were the runs
alike. Two or three runs say little of B - E, which a draw or a chip adds; so it weighs as much as R - 1 runs beside
PRIOR_RUNS that were alike, and the error is never below that of the examples. Student's t has as many degrees of
freedom as both together. This is the moderated variance of Smyth, Linear models and empirical Bayes methods, 2004,
whose prior here is W. A test holds its error rate: of rows that do not differ, at most 7 in 100 are called so, also
where draws and chips move the difference by 2 points.

Where runs share their test examples, the example is the unit: its mean over the runs is what varies. One run has the
error of its examples alone. Scores that are no mean over examples (F1) have the error of the runs alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .records.conclusions import Comparison
from .records.header import TestSet
from .records.results import Result
from .student import mcnemar, t_quantile

PRIOR_RUNS = 5
LEVEL = 0.05
FEWEST_EXAMPLES = 30
"""Fewer test examples decide nothing."""
FEWEST_RUNS = 3
"""Fewer runs decide nothing where only they have an error."""

Verdict = Literal["better", "worse", "tie", "too few"]


@dataclass(frozen=True)
class Difference:
    """A difference in points with its error; see the fields `comparisons[]` of the report."""

    points: float | None
    error: float | None
    degrees: int | None
    error_of: Literal["examples", "examples and runs", "runs"]
    runs: int
    examples: int
    verdict: Verdict

    @property
    def interval(self) -> float | None:
        """Half the width of the 95 % interval."""
        if self.error is None or self.degrees is None:
            return None
        return self.error * t_quantile(self.degrees)


def of_answers(differences: Sequence[np.ndarray], shared: bool) -> Difference:
    """From the differences (-1, 0, 1) of each run's answers, (examples,) each; `shared`: every run has the same
    examples, in the same order.
    """
    runs, counts = len(differences), [len(found) for found in differences]
    means = np.array([found.mean() for found in differences])
    mean = float(means.mean())
    units = np.mean(differences, axis=0) if shared and runs > 1 else np.concatenate(list(differences))
    examples = len(units)
    if examples < FEWEST_EXAMPLES:
        return Difference(100 * mean, None, None, "examples", runs, examples, "too few")
    if runs == 1:
        within, excess, degrees = float(units.var(ddof=1)) / examples, 0.0, examples - 1
    else:
        if shared:
            rest = np.stack(list(differences)) - units - means[:, None] + mean
            within = float(units.var(ddof=1)) / examples
            alike = float((rest**2).sum()) / ((runs - 1) * (examples - 1)) / examples
        else:
            alike = float(np.mean([found.var(ddof=1) / n for found, n in zip(differences, counts, strict=True)]))
            within = alike / runs
        weight = (runs - 1) / (PRIOR_RUNS + runs - 1)
        excess = max(0.0, weight * (float(means.var(ddof=1)) - alike)) / runs
        degrees = PRIOR_RUNS + runs - 1
    error = math.sqrt(within + excess)
    # Few answers that differ are far from a normal distribution: they must also pass the exact test.
    differ = mcnemar(int((units > 0).sum()), int((units < 0).sum())) <= LEVEL
    clear = differ and abs(mean) > error * t_quantile(degrees, 1 - LEVEL)
    kind: Literal["examples", "examples and runs"] = "examples" if runs == 1 else "examples and runs"
    return Difference(100 * mean, 100 * error, degrees, kind, runs, examples, _verdict(mean, clear))


def of_scores(differences: Sequence[float], examples: int) -> Difference:
    """From the differences (-1..1) of a score of each run, where the score is no mean over examples."""
    runs, mean = len(differences), float(np.mean(differences))
    if runs < FEWEST_RUNS:
        return Difference(100 * mean, None, None, "runs", runs, examples, "too few")
    error = float(np.std(differences, ddof=1)) / math.sqrt(runs)
    clear = abs(mean) > error * t_quantile(runs - 1, 1 - LEVEL)
    return Difference(100 * mean, 100 * error, runs - 1, "runs", runs, examples, _verdict(mean, clear))


def _verdict(mean: float, clear: bool) -> Verdict:
    return "tie" if not clear else "better" if mean > 0 else "worse"


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a row and its outcome."""

    method: str
    placement: str
    outcome: str


@dataclass(frozen=True)
class Answers:
    """What comparisons are made of: records with their answers, what each run was tested on, and the task's metric."""

    results: Sequence[Result]
    test_sets: Sequence[TestSet]
    metric: str


def compared(answers: Answers, shots: int, one: Side, other: Side, primary: bool = False) -> Comparison | None:
    """An entry of a report's `comparisons`.

    None where the two have no run in common, or one of them has no value.
    """
    mine, theirs = _by_seed(answers, shots, one), _by_seed(answers, shots, other)
    seeds = [seed for seed in mine if seed in theirs]
    pairs = [(mine[s].accuracy(one.outcome), theirs[s].accuracy(other.outcome)) for s in seeds]
    values = [(a, b) for a, b in pairs if a is not None and b is not None]
    if not seeds or len(values) < len(seeds):
        return None
    sets = {entry.seed: entry for entry in answers.test_sets}
    found = {tuple(sets[seed].examples) for seed in seeds}
    if answers.metric == "accuracy":
        rights = [(mine[s].right(one.outcome), theirs[s].right(other.outcome)) for s in seeds]
        difference = of_answers([_answers(a) - _answers(b) for a, b in rights], shared=len(found) == 1)
    else:
        difference = of_scores([a - b for a, b in values], len({n for examples in found for n in examples}))
    return Comparison(
        primary=primary,
        shots=shots,
        outcome=one.outcome,
        method=one.method,
        placement=one.placement,
        against_method=other.method,
        against_placement=other.placement,
        against_outcome=other.outcome,
        difference_points=difference.points,
        standard_error_points=difference.error,
        degrees_of_freedom=difference.degrees,
        interval_points=difference.interval,
        error_of=difference.error_of,
        runs=difference.runs,
        examples=difference.examples,
        verdict=difference.verdict,
    )


def _by_seed(answers: Answers, shots: int, side: Side) -> dict[int, Result]:
    wanted = (side.method, side.placement, shots)
    return {r.seed: r for r in answers.results if (r.method, r.placement, r.shots) == wanted}


def _answers(bits: str | None) -> np.ndarray:
    """ "0110" as (examples,) float."""
    assert bits is not None, "answers whose mean is the score are kept"
    return np.frombuffer(bits.encode(), np.uint8).astype(float) - ord("0")
