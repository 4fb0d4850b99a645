"""Which constants would turn a ranking of energies round, and at which value.

An energy is a sum of lines, events times the cost of one (`explain`), and a cost is a product of constants of the chip.
So the difference of two methods is a polynomial in each constant, with all others as they are:

    E_a(x) - E_b(x) = R + sum_p D_p x^p        x: the constant, as a multiple of what it is

and its positive roots are where the two change places. Counts of events do not change with a cost. What does change
them (sizes of arrays, bits) is left out, and so is what a constant does to accuracies.

Works on `report.json` alone. Sources: of each constant and of its range, as the device files name them.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from ..errors import UsageError, unknown_name
from .explain import explain, line_of
from .records import SimulateReport
from .records.device import Between, Cost
from .records.results import Result
from .rows import Row, by_shots, rows_of, subject_of
from .schema import ReportError

if TYPE_CHECKING:
    import numpy as np

PER_CELL = "pulses of a written cell"
"""Without lines and verifies."""
SAME = 1e-9
"""Energies that differ by less than this part are equal: there is no order that could turn."""
FARTHEST = 1e6
"""A constant that had to be so many times larger or smaller turns nothing."""
WRITE_SHARES = (0.1, 0.5)
"""Shares of an adaptation's energy that `WriteShare` asks about."""


@dataclass(frozen=True)
class Turn:
    """A constant, and where it turns a ranking.

    key: in the device file; meaning: in words. now: its value, None where no source gives one (counted as 0). at: the
    value nearest to it where the two methods take the same, None where no value does that. between: how far sources
    differ; inside: whether a value that they give turns the ranking, None where no range is known. ends: the first
    method's energy over the second's at both ends of the range.
    """

    key: str
    meaning: str
    unit: str
    now: float | None
    at: float | None
    between: Between | None
    inside: bool | None
    ends: tuple[float, float] | None

    @property
    def nearness(self) -> float:
        """How far `at` is from now, as |ln(at / now)|; infinite where there is no turn. What is unknown now comes first
        where every value of its range turns the ranking, else after everything that is known.
        """
        if self.at is None:
            return math.inf
        if self.now:
            return abs(math.log(self.at / self.now))
        return 0.0 if self.always else FARTHEST

    @property
    def always(self) -> bool:
        """Whether every value that sources give turns the ranking: it rests on a constant that counts as 0."""
        return bool(self.inside) and self.ends is not None and min(self.ends) > 1.0

    @property
    def side(self) -> str:
        """Whether the ranking turns above the value or below it."""
        return "" if self.at is None else "above" if self.at > (self.now or 0.0) else "below"


@dataclass(frozen=True)
class Ranking:
    """Two methods by the energy of an adaptation, the cheaper one first.

    answer_joules: energy of one answer of each. answers: after so many answers the second has taken no more than the
    first; None: never. writes_eaten: after so many answers the first has spent on dearer answers what it saved in
    writes; None where it saved none, or answers no dearer. turns: the nearest first; none where both take the same.
    """

    first: str
    second: str
    methods: tuple[str, str]
    joules: tuple[float, float]
    answer_joules: tuple[float, float] | None
    answers: float | None
    writes_eaten: float | None
    turns: tuple[Turn, ...]

    @property
    def even(self) -> bool:
        """Whether both take the same."""
        return math.isclose(*self.joules, rel_tol=SAME)

    @property
    def decisive(self) -> Turn | None:
        """The nearest constant that turns the ranking inside its published range."""
        return next((turn for turn in self.turns if turn.inside), None)

    @property
    def nearest(self) -> Turn | None:
        """The nearest constant that turns the ranking at all."""
        return next((turn for turn in self.turns if turn.at is not None), None)


@dataclass(frozen=True)
class WriteShare:
    """Of a method that writes cells: energy of a written cell, lines and verifies included, and what it would have
    to be for writing to be these shares of an adaptation's energy.
    """

    title: str
    method: str
    joules_per_cell: float
    share: float
    at: Mapping[float, float]


@dataclass(frozen=True)
class Sensitivity:
    """What the rankings of a report rest on. arrays: on the chip, for constants of one array."""

    shots: int
    arrays: int
    rankings: tuple[Ranking, ...]
    write_shares: tuple[WriteShare, ...]


@dataclass(frozen=True)
class _Term:
    """One line of the energies of two methods: joules and events of each, in the mean of their runs."""

    cost: Cost
    joules: tuple[float, float]
    events: tuple[float, float]

    def per_unit(self, side: int, key: str) -> float:
        """What a method's line would be if a number of it that is unknown or 0 were 1: its events times the other
        numbers. Where one of these is unknown too, the line counts as 0 whatever this one is.
        """
        others = [number for number in self.cost.numbers if number.key != key]
        if any(number.value is None for number in others):
            return 0.0
        return self.events[side] * math.prod((number.value or 0.0) ** (number.power or 0) for number in others)


def sensitivity(report: SimulateReport, of: Sequence[str] = (), shots: int | None = None) -> Sensitivity:
    """The rankings of all pairs of methods that adapt; `of`: of these, METHOD or METHOD:PLACEMENT. `shots`: default the
    largest number of the report.

    Raises:
        UsageError: a method or a number of shots that the report does not have, or fewer than two methods.
        ReportError: no event counts, or such as do not add up to the energies of the report.
    """
    groups = by_shots(rows_of(report.results))
    if shots is not None and shots not in groups:
        raise UsageError(f"the report has no run of {shots} shots; it has {', '.join(map(str, groups))}")
    number = max(groups) if shots is None else shots
    known = _rankable(groups[number])
    chosen = _chosen(known, of)
    if len(chosen) < 2:
        if any(
            row.trains and not all(record.adaptation_event_counts for record in row.records) for row in groups[number]
        ):
            raise ReportError("this report has no event counts: an earlier version wrote it; run the command again")
        raise UsageError("a ranking needs two methods that adapt; the report, or --method, has fewer")
    for row in chosen:
        for record in row.records:
            explain(report, "adaptation_energy_joules", record)
    pairs = _pairs(chosen) if of else list(combinations(chosen, 2))
    shares = tuple(share for row in chosen if (share := _write_share(row)) is not None)
    arrays = report.device.array.arrays_used
    return Sensitivity(number, arrays, tuple(ranking(report, one, other) for one, other in pairs), shares)


def of_subject(report: SimulateReport) -> list[Ranking]:
    """The rankings of the method that a report is about against each other one that adapts, at the most shots."""
    groups = by_shots(rows_of(report.results))
    known = _rankable(groups[max(groups)])
    subject = subject_of((row.method, row.placement) for row in known)
    mine = next((row for row in known if (row.method, row.placement) == subject), None)
    return [] if mine is None else [ranking(report, mine, row) for row in known if row is not mine]


def ranking(report: SimulateReport, one: Row, other: Row) -> Ranking:
    """Two rows of a report by the energy of an adaptation."""
    first, second = sorted((one, other), key=lambda row: row.stat("adaptation_energy_joules").mean or 0.0)
    terms = _terms(report, (first, second))
    totals = tuple(math.fsum(term.joules[side] for term in terms) for side in (0, 1))
    answer = tuple(row.stat("inference_energy_joules").mean for row in (first, second))
    joules = (totals[0], totals[1])
    found = [] if math.isclose(*joules, rel_tol=SAME) else _turns(terms, (first, second))
    turns = sorted(found, key=lambda turn: turn.nearness)
    each = None if answer[0] is None or answer[1] is None else (answer[0], answer[1])
    return Ranking(
        first.title, second.title, (_key(first), _key(second)), joules, each,
        _answers(joules, each), _writes_eaten(first, second, each), tuple(turns),
    )  # fmt: skip


def _rankable(rows: Sequence[Row]) -> list[Row]:
    """Those that adapt, whose energies and events are known."""
    known = [row for row in rows if row.trains and row.stat("adaptation_energy_joules").mean]
    return [row for row in known if all(record.adaptation_event_counts for record in row.records)]


def _key(row: Row) -> str:
    return f"{row.method}:{row.placement}"


def _chosen(rows: Sequence[Row], of: Sequence[str]) -> list[Row]:
    found = []
    for name in of:
        method, _, placement = name.partition(":")
        mine = [r for r in rows if r.method == method and placement.upper() in ("", r.placement)]
        if not mine:
            raise UsageError(unknown_name("method that adapts in the report", name, [_key(row) for row in rows]))
        found += [row for row in mine if row not in found]
    return found or list(rows)


def _pairs(rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """The first against each other."""
    return [(rows[0], row) for row in rows[1:]]


def _answers(joules: tuple[float, float], each: tuple[float, float] | None) -> float | None:
    if each is None or each[0] <= each[1]:
        return None
    return (joules[1] - joules[0]) / (each[0] - each[1])


def _writes_eaten(first: Row, second: Row, each: tuple[float, float] | None) -> float | None:
    writes = [row.stat("write_energy_joules").mean for row in (first, second)]
    if each is None or each[0] <= each[1] or None in writes:
        return None
    saved = (writes[1] or 0.0) - (writes[0] or 0.0)
    return saved / (each[0] - each[1]) if saved > 0 else None


def _write_share(row: Row) -> WriteShare | None:
    written, cells = row.stat("write_energy_joules").mean, row.stat("cells_written").mean
    total = row.stat("adaptation_energy_joules").mean
    if not written or not cells or not total:
        return None
    each = written / cells
    at = {share: each * share / (1 - share) * (total - written) / written for share in WRITE_SHARES}
    return WriteShare(row.title, _key(row), each, written / total, at)


def _terms(report: SimulateReport, rows: tuple[Row, Row]) -> list[_Term]:
    """The energy lines of the device."""
    found = []
    for cost in report.device.costs:
        if cost.quantity == "energy":
            lines = [[line_of(cost, _counts(record)) for record in row.records] for row in rows]
            joules, events = (
                tuple(math.fsum(getattr(line, name) for line in mine) / len(mine) for mine in lines)
                for name in ("total", "events")
            )
            found.append(_Term(cost, (joules[0], joules[1]), (events[0], events[1])))
    return found


def _counts(record: Result) -> dict[str, float]:
    """What happened in an adaptation, as far as it is known."""
    return {name: 0.0 if n is None else n for name, n in (record.adaptation_event_counts or {}).items()}


def _turns(terms: Sequence[_Term], rows: tuple[Row, Row]) -> Iterator[Turn]:
    """One for each constant with a unit whose power is known wherever it stands, and one for the energy of a written
    cell.
    """
    numbers = {number.key: number for term in terms for number in term.cost.numbers if number.unit}
    for key, number in numbers.items():
        with_it = [(term, n.power) for term in terms for n in term.cost.numbers if n.key == key]
        powers = [(term, power) for term, power in with_it if power is not None]
        if len(powers) == len(with_it):
            yield _turn(key, number.meaning, number.unit, number.value, number.range, terms, powers)
    pulses = [term for term in terms if term.cost.published is not None and term.cost.part == "write"]
    cells = [row.stat("cells_written").mean or 0.0 for row in rows]
    if pulses and sum(cells):
        now = math.fsum(sum(term.joules) for term in pulses) / sum(cells)
        published = pulses[0].cost.published
        assert published is not None
        yield _turn(PER_CELL, PER_CELL, "J", now, published.range, terms, [(term, 1) for term in pulses])


def _turn(
    key: str, meaning: str, unit: str, now: float | None, between: Between | None,
    terms: Sequence[_Term], powers: Sequence[tuple[_Term, int]],
) -> Turn:  # fmt: skip
    """Where the two methods' energies meet as one constant changes: as a multiple of what it is, or, where it counts
    as 0, in its unit.
    """
    import numpy as np

    rest, degree = [0.0, 0.0], max(power for _, power in powers)
    own = np.zeros((2, degree + 1))
    changed = {id(term) for term, _ in powers}
    for side in (0, 1):
        rest[side] = math.fsum(term.joules[side] for term in terms if id(term) not in changed)
        for term, power in powers:
            own[side, power] += term.joules[side] if now else term.per_unit(side, key)
    own[:, 0] += rest
    at = _meeting(own[0] - own[1], rest, not now)
    scale = now or 1.0
    value = None if at is None else at * scale
    inside = None if between is None else value is not None and _reached(value, now or 0.0, between)
    return Turn(key, meaning, unit, now, value, between, inside, _ends(own, between, scale))


def _ends(own: "np.ndarray", between: Between | None, scale: float) -> tuple[float, float] | None:
    """The first energy over the second at both ends of a range; None without one, or where the second is 0 there."""
    if between is None:
        return None
    (low, high), (low_other, high_other) = (
        [_at(energy, end / scale) for end in (between.low, between.high)] for energy in own
    )
    return (low / low_other, high / high_other) if low_other and high_other else None


def _reached(value: float, now: float, between: Between) -> bool:
    """Whether the range goes as far as a value, from where the constant is now."""
    return value <= between.high if value > now else value >= between.low


def _at(coefficients: "np.ndarray", x: float) -> float:
    """A polynomial, its coefficients from the constant up."""
    return math.fsum(float(c) * x**power for power, c in enumerate(coefficients))


def _meeting(difference: "np.ndarray", rest: Sequence[float], from_zero: bool) -> float | None:
    """The positive root of a polynomial that is nearest to 1, or, for a constant that counts as 0 now, to 0."""
    import numpy as np

    noise = 1e-12 * max(1e-300, *map(abs, rest))
    if not np.any(np.abs(difference[1:]) > noise):
        return None
    roots = np.polynomial.polynomial.polyroots(np.trim_zeros(difference, "b"))
    positive = [float(root.real) for root in roots if abs(root.imag) < 1e-9 * abs(root) and root.real > 0]
    if not from_zero:
        positive = [root for root in positive if 1 / FARTHEST <= root <= FARTHEST]
    return min(positive, key=lambda root: root if from_zero else abs(math.log(root)), default=None)
