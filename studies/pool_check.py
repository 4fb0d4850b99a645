"""Whether the pool fits a task: a method that needs it against its rivals without, on examples held out of training.

The test set has no part in it: it is a question that a device can answer with the examples it has. By default the
answers are those on the fifth of the shots that every run holds back, which are there anyway; `--check-pool K` trains
K times more, with exact weights, so that every shot is held out once: five times the answers, for K times the training.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ..methods import METHODS
from ..reports.records.conclusions import PoolFit, PoolTest
from ..reports.rows import method_title
from ..reports.student import mcnemar

LEVEL = 0.05


def checked(methods: Sequence[str]) -> list[str]:
    """The methods that are compared, of those that run: the first that needs a pool and names rivals, its nearest
    rival, and a classifier alone; none without the first.
    """
    pooled = next((name for name in methods if METHODS[name].needs_pool and METHODS[name].rivals), None)
    if pooled is None:
        return []
    rival = [name for name in METHODS[pooled].rivals if name in methods][:1]
    return [pooled, *rival, *[name for name in methods if METHODS[name].family == "head"][:1]]


def folds(labels: Sequence[int], number: int) -> list[np.ndarray]:
    """Places of the examples of each fold: classes are spread evenly over the folds."""
    by_class = np.argsort(labels, kind="stable")
    return [np.sort(by_class[first::number]) for first in range(number)]


def pool_fit(right: Mapping[str, Sequence[str | None]], cross_validated: int = 0) -> PoolFit:
    """The report's `pool_fit`. `right`: for each method of `checked`, in that order, its held-out answers of every run
    ("0110"), the same examples for all; `cross_validated`: the number of folds they come from.

    The pool fits where the method with it is better than every other by McNemar's exact test, and does not where it is
    worse than one.
    """
    first, *others = right or [""]
    pooled = _joined(right.get(first, ()))
    tests = [_test(pooled, _joined(right[name]), name) for name in others]
    if not pooled or not tests:
        what = f"{method_title(first) or 'a method with a pool'}, another method and answers of one example each"
        return PoolFit(verdict="too few answers", folds=cross_validated, tests=[], text=f"The test needs {what}.")
    verdicts = {test.verdict for test in tests}
    if "worse" in verdicts:
        verdict = "does not fit"
    elif verdicts == {"better"}:
        verdict = "fits"
    else:
        verdict = "too few answers" if verdicts == {"too few answers"} else "cannot tell"
    return PoolFit(
        verdict=verdict, folds=cross_validated, tests=tests, text=_text(first, tests, verdict, cross_validated)
    )


def _joined(runs: Sequence[str | None]) -> str:
    return "" if None in runs else "".join(bits for bits in runs if bits)


def _test(pooled: str, other: str, name: str) -> PoolTest:
    mine = sum(a > b for a, b in zip(pooled, other, strict=True))
    theirs = sum(a < b for a, b in zip(pooled, other, strict=True))
    probability = mcnemar(mine, theirs)
    if mcnemar(mine + theirs, 0) > LEVEL:  # even if all of them were on one side
        verdict = "too few answers"
    elif probability > LEVEL:
        verdict = "cannot tell"
    else:
        verdict = "better" if mine > theirs else "worse"
    return PoolTest(
        against=name,
        answers=len(pooled),
        only_pool_right=mine,
        only_other_right=theirs,
        probability=probability,
        verdict=verdict,
    )


def _text(pooled: str, tests: Sequence[PoolTest], verdict: str, cross_validated: int) -> str:
    answers = tests[0].answers
    held = f"in {cross_validated}-fold cross-validation" if cross_validated else "to the held-back fifth of the shots"
    parts = [
        f"against {(name := method_title(test.against))}, {test.only_pool_right} that only {method_title(pooled)} got "
        f"right and {test.only_other_right} that only {name} got right (p = {test.probability:.2g})"
        for test in tests
    ]
    text = f"Of {answers} answers {held}, with exact weights, these differ: {'; '.join(parts)}."
    if verdict in ("cannot tell", "too few answers") and not cross_validated:
        text += " With --check-pool 5 there are five times as many answers, for about five times the training."
    elif verdict == "does not fit":
        text += " Train a pool on tasks that are closer to this one, or add more varied modules."
    return text
