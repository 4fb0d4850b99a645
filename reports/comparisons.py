"""Which rows of a report are compared, and which of these comparisons were named before as what a run decides."""

from collections.abc import Iterator, Mapping

from .paired import Answers, Side, compared
from .records import OUTCOMES
from .records.conclusions import Comparison
from .rows import Series, rivals_of, subject_of

PRIMARY_OUTCOMES = ("chip", "drifted")
"""Outcomes of the subject against its nearest rival that were named beforehand; the third primary comparison is the
recovery.
"""


def comparisons(answers: Answers) -> list[Comparison]:
    """The `comparisons` of a report, the primary ones first: the subject against every other row, every trained row
    against its start, and every trained row, adapted again, against itself before that.
    """
    found: dict[tuple[int, Side, Side], Comparison] = {}
    for shots in dict.fromkeys(record.shots for record in answers.results):
        rows = _rows(answers, shots)
        subject = subject_of(rows)
        for one, other in _pairs(rows, subject):
            key = (shots, one, other)
            if key not in found and (entry := compared(answers, shots, one, other, _primary(subject, one, other))):
                found[key] = entry
    return sorted(found.values(), key=lambda entry: not entry.primary)


def _rows(answers: Answers, shots: int) -> dict[Series, str | None]:
    """Each row with the method that is its start."""
    return {(r.method, r.placement): r.start for r in answers.results if r.shots == shots}


def _pairs(rows: Mapping[Series, str | None], subject: Series | None) -> Iterator[tuple[Side, Side]]:
    first_of: dict[str, Series] = {}
    for method, placement in rows:
        first_of.setdefault(method, (method, placement))
    trained = [row for row, start in rows.items() if start is not None]
    for outcome in OUTCOMES:
        if subject is not None:
            for row in rows:
                if row != subject:
                    yield Side(*subject, outcome), Side(*row, outcome)
        for row in trained:
            if (start := first_of.get(rows[row] or "")) is not None:
                yield Side(*row, outcome), Side(*start, outcome)
    for row in trained:
        yield Side(*row, "readapted"), Side(*row, "drifted")


def _primary(subject: Series | None, one: Side, other: Side) -> bool:
    if subject is None or (one.method, one.placement) != subject:
        return False
    if one.outcome != other.outcome:
        return True
    return (other.method, other.placement) == rivals_of(subject)[0] and one.outcome in PRIMARY_OUTCOMES
