"""The multiplication behind a total of a report: how many events, what each costs, what they cost together.

Works on `report.json` alone, of `edge-adapt simulate` and of `edge-adapt count`: nothing is run again.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import UsageError, unknown_name
from .records import FIELDS, CountReport, Field, SimulateReport
from .records.conclusions import Reference
from .records.count import CountedResult
from .records.device import Cost, CostNumber
from .records.results import Result
from .records.spec import ARRAYS, Total
from .schema import ReportError

_TOLERANCE = 1e-9
HIDDEN = "hidden"  # the part of costs that are taken off

Explainable = SimulateReport | CountReport
Record = Result | CountedResult


@dataclass(frozen=True)
class _Total:
    """Where a total stands and what it is made of. `place`: "record", or the object of the report that holds it."""

    place: str
    field: Field
    said: Total

    @property
    def name(self) -> str:
        return self.field.name if self.place in ("record", "device") else f"{self.place}_{self.field.name}"

    @property
    def quantity(self) -> str:
        return {"J": "energy", "s": "time", "m²": "area"}[self.field.unit]


def _totals() -> Mapping[str, _Total]:
    """Those of the records first."""
    found = []
    for field in FIELDS:
        if field.total is not None:
            place = field.path.rpartition(".")[0]
            found.append(_Total("record" if place == "results[]" else place, field, field.total))
    return {total.name: total for total in sorted(found, key=lambda total: total.place != "record")}


TOTALS: Mapping[str, _Total] = _totals()
"""The totals that can be explained."""


@dataclass(frozen=True)
class Line:
    """One product: `events` times `each` is `total`. `each` is None where no source knows it: counted as 0."""

    component: str
    event: str
    events: float
    each: float | None
    unit: str
    total: float
    formula: str
    numbers: tuple[CostNumber, ...]


@dataclass(frozen=True)
class Explanation:
    """A total and the lines that add up to it; `references` are the sources of their numbers."""

    name: str
    subject: str
    unit: str
    total: float
    lines: tuple[Line, ...]
    references: tuple[Reference, ...]

    def by_component(self) -> dict[str, float]:
        """The sum of each component's lines."""
        found: dict[str, list[float]] = {}
        for line in self.lines:
            found.setdefault(line.component, []).append(line.total)
        return {name: math.fsum(parts) for name, parts in found.items()}


def choose_record(report: Explainable, method: str | None, shots: int | None = None, seed: int | None = None) -> Record:
    """The first record of `METHOD` or `METHOD:PLACEMENT`; without `method`, of the only one there is.

    Raises:
        UsageError: no such record, or several methods and none chosen.
    """
    records = [
        r for r in report.results
        if shots in (None, getattr(r, "shots", None)) and seed in (None, getattr(r, "seed", None))
    ]  # fmt: skip
    names = list(dict.fromkeys(f"{r.method}:{r.placement}" for r in records))
    if not records:
        raise UsageError(f"the report has no record with shots {shots} and seed {seed}")
    if method is None:
        if len(names) > 1:
            raise UsageError(f"which record? Choose one with --method: {', '.join(names)}")
        return records[0]
    name, _, placement = method.partition(":")
    wanted = f"{name}:{placement.upper()}" if placement else name
    found = [r for r in records if wanted in (r.method, f"{r.method}:{r.placement}")]
    if not found:
        raise UsageError(unknown_name("method in the report", wanted, names))
    return found[0]


def available(report: Explainable, record: Record | None) -> dict[str, tuple[float, str]]:
    """The totals that the report has, with their values and units."""
    found = {}
    for name, total in TOTALS.items():
        if total.place != "record" or record is not None:
            value = _value(report, record, total)
            if value is not None:
                found[name] = (value, total.field.unit)
    return found


def needs_record(name: str) -> bool:
    """Whether a total belongs to one record. Raises `UsageError` for an unknown name."""
    if name not in TOTALS:
        raise UsageError(unknown_name("total", name, TOTALS))
    return TOTALS[name].place == "record"


def explain(report: Explainable, name: str, record: Record | None = None) -> Explanation:
    """The lines behind a total, the largest component first; `record` for the totals of one record.

    Raises:
        UsageError: no such total, or it is unknown in this report.
        ReportError: the lines do not add up to the total, or the report has no event counts.
    """
    if needs_record(name) and record is None:
        raise UsageError(f"{name} belongs to one record: choose it with --method")
    total = TOTALS[name]
    value = _value(report, record, total)
    if value is None:
        raise UsageError(f"{name} is unknown in this report")
    lines = _lines(report, record, total)
    explanation = Explanation(name, _subject(record, total), total.field.unit, value, lines, _references(report, lines))
    added = math.fsum(explanation.by_component().values())
    if not math.isclose(added, value, rel_tol=_TOLERANCE, abs_tol=1e-300):
        raise ReportError(f"the events of {name} add up to {added:.12g}, but the report says {value:.12g}")
    return explanation


def _value(report: Explainable, record: Record | None, total: _Total) -> float | None:
    holder = record if total.place == "record" else getattr(report, total.place)
    value = getattr(holder, total.field.name, None)  # of a count, not every total is known
    return value.get("total") if isinstance(value, Mapping) else value


def _lines(report: Explainable, record: Record | None, total: _Total) -> tuple[Line, ...]:
    if total.said.counts == ARRAYS:
        counts: Mapping[str, float] = {"arrays": report.device.array.arrays_used}
    else:
        holder = record if total.place == "record" else getattr(report, total.place)
        counts = getattr(holder, total.said.counts)
    if counts is None:
        raise ReportError("this report has no event counts: an earlier version wrote it; run the command again")
    wanted, said = total.quantity, total.said
    mine = [cost for cost in report.device.costs if cost.quantity == wanted and said.part in ("", cost.part)]
    costs = [cost for cost in mine if not (said.sequential and cost.part == HIDDEN)]
    lines = [line for line in (line_of(cost, counts) for cost in costs) if line.events or line.total]
    sums: dict[str, float] = {}
    for line in lines:
        sums[line.component] = sums.get(line.component, 0.0) + line.total
    return tuple(sorted(lines, key=lambda line: (-sums[line.component], line.component)))


def line_of(cost: Cost, counts: Mapping[str, float]) -> Line:
    """One product. Of number, value and tally two are known, and the third follows."""
    named = [*cost.counts, *([cost.tally] if cost.tally else [])]
    if missing := [name for name in named if name not in counts]:
        raise ReportError(f"the cost of {cost.event!r} is for the count {missing[0]!r}, which the report lacks")
    events, each = math.fsum(counts[name] for name in cost.counts), cost.value
    if not cost.tally:
        each = -each if each and cost.part == HIDDEN else each
        total = events * (each or 0.0)
    else:
        total = counts[cost.tally]
        if cost.counts:
            each = total / events if events else None
        else:
            events = total / each if each else 0.0
    return Line(cost.component, cost.event, events, each, cost.unit, total, cost.formula, tuple(cost.numbers))


def _subject(record: Record | None, total: _Total) -> str:
    if total.place != "record" or record is None:
        return "backbone and pool, once" if total.place == "programming" else "all arrays"
    draw = [f"{record.shots} shots", f"seed {record.seed}"] if isinstance(record, Result) else []
    return ", ".join((f"{record.method}:{record.placement}", *draw))


def _references(report: Explainable, lines: Sequence[Line]) -> tuple[Reference, ...]:
    used = {number.source for line in lines for number in line.numbers}
    return tuple(reference for reference in report.references if reference.key in used)
