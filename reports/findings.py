"""What a report says, in sentences made from its records and comparisons. Nothing physical is computed here.

No row is called better or worse than another unless their comparison says so: inside the error it is a tie.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .records import SimulateReport
from .records.conclusions import Comparison
from .rows import Row, Series, by_shots, rows_of, series_title, subject_of
from .sensitivity import of_subject
from .sensitivity_words import answers_text, verdict
from .values import JOIN, count, duration, percent, si, signed


@dataclass(frozen=True)
class Finding:
    """One sentence or two, with the topic they belong to."""

    topic: str
    text: str


def findings(report: SimulateReport) -> list[Finding]:
    """The findings of a report, the verdict first. A topic without data gives none; a verdict there always is."""
    rows = rows_of(report.results)
    largest = next(reversed(by_shots(rows).values()))
    told = _Told(report, largest)
    return [
        Finding("verdict", told.verdict()),
        *(finding for group in by_shots(rows).values() for finding in _Told(report, group).against_others()),
        *told.gains(),
        *_writes(rows),
        *_energy_rankings(report),
        *break_even(report),
        *pool_fit(report),
        *_chip_loss(largest),
        *told.drift(),
        *_wear(largest),
        *told.chips(),
        *told.errors(),
        *_estimated(rows),
    ]


def _known(rows: list[Row], *names: str) -> list[Row]:
    return [row for row in rows if all(row.stat(name).mean is not None for name in names)]


def _mean(row: Row, name: str) -> float:
    mean = row.stat(name).mean
    assert mean is not None, f"{row.title} has no {name}"  # rows come through _known
    return mean


def _percent(row: Row, name: str) -> str:
    return f"{percent(row.stat(name))}{JOIN}%"


def _energy(row: Row) -> str:
    text = si(row.stat("adaptation_energy_joules").mean, "J")
    return f"{text} (estimated)" if row.estimated else text


def _adapting(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row.trains and row.stat("adaptation_energy_joules").mean]


def points(comparison: Comparison, sign: bool = True) -> str:
    """ "+3.2 ± 1.4 points", as `points_of`."""
    return points_of(comparison.difference_points, comparison.standard_error_points, sign)


def points_of(difference: float | None, error: float | None, sign: bool = True) -> str:
    """A difference and its error, where these are known; without its sign where words say it."""
    if difference is None:
        return f"unknown{JOIN}points"
    text = signed(difference) if sign else f"{abs(difference):.1f}"
    return f"{text}{JOIN}points" if error is None else f"{text}{JOIN}±{JOIN}{error:.1f}{JOIN}points"


@dataclass(frozen=True)
class _Told:
    """The rows of one number of shots, and what their comparisons say."""

    report: SimulateReport
    rows: Sequence[Row]

    @property
    def shots(self) -> int:
        return self.rows[0].shots

    @property
    def subject(self) -> Series | None:
        """What the report is about, where it is."""
        return subject_of((row.method, row.placement) for row in self.rows)

    @property
    def age(self) -> str:
        return duration(self.report.ages_seconds[-1])

    def _row(self, method: str, placement: str) -> Row:
        return next(row for row in self.rows if (row.method, row.placement) == (method, placement))

    def _comparisons(self, **wanted: Any) -> list[Comparison]:
        """The comparisons of these rows with the given fields."""
        here = {(row.method, row.placement) for row in self.rows}
        mine = (
            c for c in self.report.comparisons
            if c.shots == self.shots
            and {(c.method, c.placement), (c.against_method, c.against_placement)} <= here
        )  # fmt: skip
        return [c for c in mine if all(getattr(c, name) == value for name, value in wanted.items())]

    def _titles(self, comparison: Comparison) -> tuple[str, str]:
        one = self._row(comparison.method, comparison.placement)
        return one.title, self._row(comparison.against_method, comparison.against_placement).title

    def verdict(self) -> str:
        """What the comparisons that were named beforehand decide; without any, the first gain over a start."""
        primary = self._comparisons(primary=True)
        between = [c for c in primary if c.outcome == c.against_outcome]
        again = [c for c in primary if c.outcome != c.against_outcome]
        sentences = [self._between(between)] if between else []
        sentences += [self._resolution(c) for c in between if c.verdict == "tie"][:1]
        sentences += [self._recovery(comparison) for comparison in again]
        if not between and (gains := self._gains()):
            sentences.insert(0, f"On the chip at {self.shots} shots, {self._gain(gains[0])}.")
        if not sentences:
            row = self.rows[0]
            sentences = [
                f"{row.title} gets {_percent(row, 'accuracy_chip')} right on the chip. It is compared with nothing."
            ]
        return " ".join(sentences)

    def _between(self, comparisons: Sequence[Comparison]) -> str:
        """The subject against its rival, now and after drift, in one sentence."""
        one, other = self._titles(comparisons[0])
        whens = {"exact": "with exact weights", "chip": "on the chip", "drifted": f"{self.age} later"}
        parts = []
        for comparison in comparisons:
            when = whens[comparison.outcome]
            if comparison.verdict == "too few":
                parts.append(f"{when} there are too few answers to tell")
            elif comparison.verdict == "tie":
                parts.append(f"{when} they are a tie ({points(comparison)})")
            else:
                parts.append(f"{when} {one} is {points(comparison, sign=False)} {comparison.verdict}")
        return f"{one} against {other} at {self.shots} shots: {'; '.join(parts)}."

    def _resolution(self, comparison: Comparison) -> str:
        """The least difference that runs like these can show, and how many more show half of it."""
        runs = comparison.runs
        these = "This run" if runs == 1 else f"These {runs} runs"
        least = comparison.interval_points
        told = f"{these} can show a difference of about {least:.0f} points or more"
        # More runs on the same test examples would leave the error of these as it is.
        own = len({tuple(entry.examples) for entry in self.report.test_sets}) >= runs
        return f"{told}. With --seeds {4 * runs}, half of that is enough." if own else f"{told}."

    def _recovery(self, comparison: Comparison) -> str:
        """What adapting again on the aged chip gives back, what it costs and what it writes."""
        row = self._row(comparison.method, comparison.placement)
        written = [record.readaptation_cells_written for record in row.records]
        known = [cells for cells in written if cells is not None]
        cells = max(known) if len(known) == len(written) else None
        writing = "" if cells is None else "writes no cell" if cells == 0 else f"writes {count(cells)} cells"
        cost = row.stat("readaptation_energy_joules").mean
        taking = "" if cost is None else f"takes {si(cost, 'J')}"
        spent = " and ".join(filter(None, (taking, writing)))
        again = f"dapting {row.title} again after {self.age}"
        gain = {
            "better": f"A{again} brings back {points(comparison, sign=False)}",
            "worse": f"A{again} loses another {points(comparison, sign=False)}",
            "tie": f"A{again} shows no clear change ({points(comparison)}, a tie)",
            "too few": f"There are too few answers to tell what a{again} changes",
        }[comparison.verdict]
        return f"{gain}. It {spent}." if spent else f"{gain}."

    def against_others(self) -> Iterator[Finding]:
        """The subject against every other row on the chip, by what the errors allow to say."""
        if self.subject is None:
            return
        method, placement = self.subject
        mine = self._comparisons(method=method, placement=placement, outcome="chip", against_outcome="chip")
        if not mine:
            return
        subject = self._row(method, placement)
        groups: dict[str, list[str]] = {}
        for comparison in mine:
            other = self._row(comparison.against_method, comparison.against_placement)
            groups.setdefault(comparison.verdict, []).append(f"{other.title} ({points(comparison)}; {_energy(other)})")
        words = {
            "better": "better than",
            "tie": "a tie with",
            "worse": "worse than",
            "too few": "not clearly different, with so few answers, from",
        }
        parts = [f"{words[verdict]} {_listed(groups[verdict])}" for verdict in words if verdict in groups]
        yield Finding(
            "accuracy and energy",
            f"At {self.shots} shots on the chip, {subject.title} ({_percent(subject, 'accuracy_chip')}; adapting takes "
            f"{_energy(subject)}) is {'; '.join(parts)}.",
        )

    def _gains(self) -> list[Comparison]:
        """Every trained row against its start, on the chip."""
        starts = {(row.method, row.placement): row.records[0].start for row in self.rows}
        return [
            c for c in self._comparisons(outcome="chip", against_outcome="chip")
            if starts[c.method, c.placement] == c.against_method
        ]  # fmt: skip

    def _gain(self, comparison: Comparison) -> str:
        one, start = self._titles(comparison)
        difference, verdict = comparison.difference_points, comparison.verdict
        if doubt := {"tie": "a tie", "too few": "too few answers to tell"}.get(verdict):
            return f"{one} changes by {points(comparison)} from its start, {start} ({doubt})"
        verb, side = ("gains", "over") if (difference or 0) >= 0 else ("loses", "against")
        return f"{one} {verb} {points(comparison, sign=False)} {side} its start, {start}"

    def gains(self) -> Iterator[Finding]:
        """What training itself gains."""
        if gains := self._gains():
            yield Finding(
                "gain over the start", f"At {self.shots} shots on the chip, {'; '.join(map(self._gain, gains))}."
            )

    def drift(self) -> Iterator[Finding]:
        """What time takes from the subject, or from the first row that adapts, and what adapting again gives back."""
        known = _known(_adapting(list(self.rows)), "accuracy_chip", "accuracy_drifted")
        row = next((row for row in known if (row.method, row.placement) == self.subject), known[0] if known else None)
        if row is None:
            return
        text = (
            f"{row.title} at {row.shots} shots: {_percent(row, 'accuracy_chip')} as adapted, "
            f"{_percent(row, 'accuracy_drifted')} after {self.age}"
        )
        if row.stat("accuracy_readapted").mean is not None:
            text += f", {_percent(row, 'accuracy_readapted')} after adapting again on the drifted chip"
            if (again := row.stat("readaptation_energy_joules").mean) is not None:
                text += f" for {si(again, 'J')}"
        if (looked := row.stat("compensation_energy_joules").mean) is not None:
            text += f"; drift compensation takes {si(looked, 'J')} each time, for every matrix on the chip"
        yield Finding("drift", text + ".")

    def chips(self) -> Iterator[Finding]:
        """How far the chips are apart."""
        chips = self.report.programming.chips
        if len(chips) < 2:
            return
        spans = [
            _span([100 * share for share in shares], "%")
            for shares in (
                [chip.weight_error_relative for chip in chips],
                [chip.weight_error_rms_relative for chip in chips],
            )
        ]
        row = next((row for row in self.rows if (row.method, row.placement) == self.subject), self.rows[0])
        shares = [100 * record.accuracy_chip for record in row.records if record.accuracy_chip is not None]
        spread = f" Each run has a chip of its own: {row.title} gets {_span(shares, '%')} right." if shares else ""
        yield Finding(
            "chips",
            f"On the {len(chips)} chips the weights are off by {spans[0]} on average and {spans[1]} RMS.{spread}",
        )

    def errors(self) -> Iterator[Finding]:
        """What the errors hold, and how many comparisons there are."""
        found = self.report.comparisons
        if not found:
            return
        holds = {
            "examples": "only the choice of test examples: one run says nothing about other draws and chips",
            "examples and runs": "the choice of test examples, the draws of labelled examples, and the chips",
            "runs": "the differences between runs, since the score is not a mean over examples",
        }[found[0].error_of]
        runs, examples = found[0].runs, found[0].examples
        named = sum(c.primary for c in found)
        text = (
            f"The number after ± is a standard error. Methods are compared on the same test examples "
            f"({count(examples)} in {runs} run{'' if runs == 1 else 's'}). The error covers {holds}. A difference is a "
            f"tie when its 95{JOIN}% interval includes 0."
        )
        if others := len(found) - named:
            text += (
                f" The verdict uses only the {named or 'no'} comparison{'' if named == 1 else 's'} chosen before the "
                f"run. There are {others} others, and about one in twenty ties looks better or worse by chance."
            )
        yield Finding("errors", text)


def _span(values: Sequence[float], unit: str) -> str:
    """ "15.2 to 15.9 %"."""
    low, high = (f"{value:.1f}" for value in (min(values), max(values)))
    return f"{low}{JOIN}{unit}" if low == high else f"{low} to {high}{JOIN}{unit}"


def _writes(rows: list[Row]) -> Iterator[Finding]:
    still = list(dict.fromkeys(row.title for row in rows if row.writes_cells is False))
    runs = sum(len(row.records) for row in rows if row.writes_cells is False)
    if still:
        yield Finding(
            "cell writes",
            f"No cell was written in {'the run' if runs == 1 else f'any of the {runs} runs'} of {_listed(still)}.",
        )
    written: dict[str, list[float]] = {}
    for row in rows:
        cells = row.stat("cells_written").mean
        if row.writes_cells and cells is not None:
            written.setdefault(row.title, []).append(cells)
    if written:
        parts = []
        for title, cells_list in written.items():
            low, high = count(min(cells_list)), count(max(cells_list))
            parts.append(f"{title} {low}" if low == high else f"{title} {low} to {high}")
        yield Finding("cell writes", f"Cell writes of one adaptation: {'; '.join(parts)}.")


def break_even(report: SimulateReport) -> list[Finding]:
    """After how many tasks and steps the pool's one-time programming is paid back."""
    section = report.break_even
    if section is None or not section.versus:
        return []
    parts, never = [], []
    for entry in section.versus:
        name = series_title(entry.method, entry.placement)
        tasks, steps = entry.tasks, entry.steps
        if tasks is None and steps is None:
            never.append(name)
            continue
        after = [] if tasks is None else [f"after {count(tasks)} task{'' if tasks <= 1 else 's'}"]
        if steps == 0:
            after.append("before the first step, because writing the initial values alone costs more")
        elif steps is not None:
            first = " after the initial values are written" if entry.initial_write_energy_joules else ""
            after.append(f"after {count(steps)} step{'' if steps <= 1 else 's'}{first if steps > 1 else ''}")
        parts.append(f"against {name} {' or '.join(after)}")
    cost = si(section.pool_programming_energy_joules, "J")
    text = f"Programming the pool once costs {cost}."
    if parts:
        text += f" It is paid back {'; '.join(parts)}."
    if never:
        text += f" It is never paid back against {_listed(never)}."
    return [Finding("break-even", text)]


def _energy_rankings(report: SimulateReport) -> Iterator[Finding]:
    """Which adaptation takes less energy, and the first constant that would turn that."""
    arrays = report.device.array.arrays_used
    for ranking in of_subject(report):
        text = " ".join(filter(None, (verdict(ranking, arrays), answers_text(ranking))))
        yield Finding("energy ranking", text)


def pool_fit(report: SimulateReport) -> list[Finding]:
    """The verdict on the pool, with the report's own explanation."""
    fit = report.pool_fit
    return [] if fit is None else [Finding("pool fit", f"{_VERDICTS[fit.verdict]} {fit.text}".strip())]


_VERDICTS = {
    "fits": "The pool fits this task.",
    "does not fit": "The pool does not fit this task.",
    "cannot tell": "It is not clear whether the pool fits this task.",
    "too few answers": "There are too few held-out answers to tell whether the pool fits this task.",
}


def _chip_loss(group: list[Row]) -> Iterator[Finding]:
    known = _known(_adapting(group), "accuracy_exact", "accuracy_chip")
    losses = {row.title: 100 * (_mean(row, "accuracy_exact") - _mean(row, "accuracy_chip")) for row in known}
    if not losses:
        return
    low, high = min(losses, key=lambda title: losses[title]), max(losses, key=lambda title: losses[title])
    text = f"Going from exact weights to the chip changes the accuracy at {group[0].shots} shots by "
    if low == high:
        text += f"{signed(-losses[low])} points ({low})."
    else:
        text += f"{signed(-losses[high])} points ({high}) to {signed(-losses[low])} ({low})."
    yield Finding("cost of the chip", text)


def _wear(group: list[Row]) -> Iterator[Finding]:
    wearing = {row.title: row.tasks_until_worn_out for row in group}
    worn = {title: tasks for title, tasks in wearing.items() if isinstance(tasks, float)}
    if worn:
        parts = [f"{title} after {count(tasks)} tasks" for title, tasks in sorted(worn.items(), key=lambda kv: kv[1])]
        yield Finding("wear", f"Cells reach the number of writes they are rated for: {'; '.join(parts)}.")


def _estimated(rows: list[Row]) -> Iterator[Finding]:
    titles = list(dict.fromkeys(row.title for row in rows if row.estimated))
    if titles:
        yield Finding(
            "labels",
            f"The results of {_listed(titles)} are estimated, not simulated event by event. Their notes say how.",
        )


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
