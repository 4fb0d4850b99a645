"""The tables of the page as data: texts for the reader and the exact value beside each."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .canvas import COMPONENT_COLOURS, fill_of
from .records import OUTCOMES, Field, SimulateReport, fields_of
from .records.conclusions import BreakEven, Comparison, Reference
from .records.programming import Programming, Share
from .records.results import Result
from .rows import (
    Row,
    component_title,
    method_title,
    placement_title,
    ratio_title,
    seeds_in_words,
    series_title,
)
from .sensitivity import Ranking
from .sensitivity_words import between_text, in_words, value_text
from .unknown import without
from .values import JOIN, Statistic, area, count, duration, percent, ratio, si, signed


@dataclass(frozen=True)
class Cell:
    """One cell: what is printed, the exact value (for copying by machine), a second line, and marks."""

    text: str
    value: float | int | None = None
    below: str = ""
    colour: str = ""
    fill: str = "full"
    badge: str = ""
    link: str = ""


@dataclass(frozen=True)
class Table:
    """A table with its caption; `words` are the columns that hold texts; figures are right-aligned."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    words: frozenset[int] = frozenset({0})
    notes: Sequence[str] = field(default_factory=tuple)


#: what the numbers of trained parameters leave out, for the captions
HEAD_WORDS = "Trained numbers are without the head, the classifier."

Form = Callable[[float | None], str]


def _joules(value: float | None) -> str:
    return si(value, "J")


def _bytes(value: float | None) -> str:
    return si(value, "B")


def _mean(row: Row, name: str, form: Form) -> Cell:
    mean = row.stat(name).mean
    return Cell(form(mean), mean)


def _accuracy(row: Row, name: str) -> Cell:
    statistic = row.stat(name)
    return Cell(percent(statistic), statistic.mean)


def _name(row: Row, colours: Mapping[str, str]) -> Cell:
    badge = "" if row.label == "simulated" else row.label
    fill = fill_of(row.method, colours)
    return Cell(method_title(row.method), None, placement_title(row.placement), colours[row.method], fill, badge)


def results(group: Sequence[Row], colours: Mapping[str, str], lacking: str = "", later: str = "later") -> Table:
    """Accuracy and cost of every method × placement at one number of shots.

    lacking: what its energies are without, in words. later: when the chip was tested again, "30 days later".
    """
    lines = []
    for row in group:
        tasks = row.tasks_until_worn_out
        lines.append(
            [
                _name(row, colours),
                _mean(row, "trained_parameters", count),
                _mean(row, "cells_written", count),
                *(_accuracy(row, f"accuracy_{name}") for name in ("exact", "chip", "drifted", "readapted")),
                _mean(row, "write_energy_joules", _joules),
                _mean(row, "adaptation_energy_joules", _joules),
                _mean(row, "adaptation_time_seconds", duration),
                _mean(row, "training_memory_bytes", _bytes),
                _mean(row, "inference_energy_joules", _joules),
                Cell(tasks) if isinstance(tasks, str) else Cell(count(tasks), tasks),
            ]
        )
    columns = (
        "method, placement",
        "trained numbers",
        "cell writes",
        "exact weights",
        "chip",
        later,
        "adapted again",
        "write energy",
        "adaptation energy",
        "adaptation time",
        "training memory ~",
        "energy per example",
        "tasks until worn out",
    )
    # Of each row one: where working sets lie differs a little with the examples of a run.
    first = [(row.title, next((record.note for record in row.records if record.note), "")) for row in group]
    notes = [f"{title}: {note}" for title, note in first if note]
    seeds = seeds_in_words(group)
    spread = seeds if seeds == "1 seed" else f"mean ± sample standard deviation over {seeds}"
    return Table(
        f"{group[0].shots} shots. Accuracies in % ({spread}); energies, times and counts are means; tasks until worn "
        f"out: the worst seed. {HEAD_WORDS} {f'Energies are {lacking}, whose price is unknown. ' if lacking else ''}"
        "Without a mark: simulated; ~: estimated.",
        columns,
        lines,
        notes=tuple(notes),
    )


def comparisons(entries: Sequence[Comparison], colours: Mapping[str, str], later: str = "later") -> list[Table]:
    """The comparisons of a report as tables: between methods in each outcome, and of a method with itself."""
    kinds = (_between_methods, _with_itself)
    return [table for kind in kinds if (table := kind(entries, colours, later)) is not None]


def _between_methods(entries: Sequence[Comparison], colours: Mapping[str, str], later: str) -> Table | None:
    found: dict[tuple[int, str, str, str, str], dict[str, Comparison]] = {}
    for entry in entries:
        if entry.outcome == entry.against_outcome:
            key = (entry.shots, entry.method, entry.placement, entry.against_method, entry.against_placement)
            found.setdefault(key, {})[entry.outcome] = entry
    lines = []
    for (shots, method, placement, other, place), outcomes in found.items():
        against = f"{method_title(other)}, {placement_title(place)}"
        lines.append(
            [
                _series(method, placement, colours),
                Cell(against),
                Cell(str(shots), shots),
                *(_difference(outcomes.get(name)) for name in OUTCOMES),
            ]
        )
    columns = ("method", "minus", "shots", "exact weights", "chip", later, "adapted again")
    return Table(_DIFFERENCES, columns, lines, frozenset({0, 1})) if lines else None


def _with_itself(entries: Sequence[Comparison], colours: Mapping[str, str], later: str) -> Table | None:
    words = {"exact": "exact weights", "chip": "as adapted", "drifted": later, "readapted": "adapted again"}
    lines = [
        [
            _series(entry.method, entry.placement, colours),
            Cell(str(entry.shots), entry.shots),
            Cell(f"{words[entry.outcome]} − {words[entry.against_outcome]}"),
            _difference(entry),
        ]
        for entry in entries
        if entry.outcome != entry.against_outcome
    ]
    columns = ("method", "shots", "what changed", "points")
    return Table("The same method at two times, likewise.", columns, lines, frozenset({0, 2})) if lines else None


_DIFFERENCES = (
    "Differences in points ± one standard error, on the same test examples, draws and chips. Better and worse: beyond "
    "what chance explains; a tie: the difference may be none."
)


def _series(method: str, placement: str, colours: Mapping[str, str]) -> Cell:
    return Cell(
        method_title(method), None, placement_title(placement), colours.get(method, ""), fill_of(method, colours)
    )


def _difference(entry: Comparison | None) -> Cell:
    if entry is None or entry.difference_points is None:
        return Cell("–")
    error = entry.standard_error_points
    text = signed(entry.difference_points)
    if error is not None:
        text += f"{JOIN}±{JOIN}{error:.1f}"
    return Cell(f"{text}, {entry.verdict}", entry.difference_points)


def components(
    group: Sequence[Row], colours: Mapping[str, str], what: str, total: str, form: Form, unknown: tuple[str, ...] = ()
) -> Table | None:
    """Totals and parts of a component field (`what`) with its total field; None when nothing is known.

    `unknown`: the components without a price, whose 0 is none.
    """
    parts = {row: row.components(what) for row in group}
    found = dict.fromkeys(name for entry in parts.values() for name in entry)
    names = [n for n in COMPONENT_COLOURS if n in found] + [n for n in found if n not in COMPONENT_COLOURS]
    if not names:
        return None
    lines = [
        [
            _name(row, colours),
            _mean(row, total, form),
            *(
                Cell("unknown") if name in unknown else Cell(form(parts[row].get(name)), parts[row].get(name))
                for name in names
            ),
        ]
        for row in group
    ]
    return Table(
        f"{group[0].shots} shots, means over the seeds.",
        ("method, placement", f"total, {without(unknown)}" if unknown else "total", *map(component_title, names)),
        lines,
    )


def programming(section: Programming) -> Table:
    """The one-time programming: all, backbone, pool."""
    parts: list[tuple[str, Programming | Share | None]] = [
        ("backbone and pool", section), ("backbone", section.backbone), ("pool", section.pool),
    ]  # fmt: skip
    lines = [
        [
            Cell(name, badge="" if section.label == "simulated" else section.label),
            Cell(count(part.cells), part.cells),
            Cell(si(part.energy_joules, "J"), part.energy_joules),
            Cell(duration(part.time_seconds), part.time_seconds),
        ]
        for name, part in parts
        if part is not None
    ]
    return Table("Paid once per chip.", ("programmed", "cells", "energy", "time"), lines)


def break_even(section: BreakEven | None) -> Table | None:
    """After how many tasks or steps the pool's programming is paid back."""
    if section is None or not section.versus:
        return None
    lines = []
    for entry in section.versus:
        never = "never" if entry.tasks is None and entry.steps is None else "–"
        lines.append(
            [
                Cell(series_title(entry.method, entry.placement)),
                *(
                    Cell(_joules(value), value)
                    for value in (
                        entry.write_energy_joules_per_task,
                        entry.initial_write_energy_joules,
                        entry.write_energy_joules_per_step,
                    )
                ),
                *(Cell(never if many is None else count(many), many) for many in (entry.tasks, entry.steps)),
                Cell(entry.note),
            ]
        )
    cost = si(section.pool_programming_energy_joules, "J")
    return Table(
        f"The pool's one-time programming ({cost}) against rewriting cells: tasks and steps, rounded up, after "
        "which the pool has cost less. A task begins with its first write, of the initial values; the steps are those "
        "that come after it (0: it alone costs more than the pool). –: does not apply.",
        ("against", "writes of a task", "of which first", "writes of a step", "tasks", "optimiser steps", "remark"),
        lines,
        frozenset({0, 6}),
    )


def sensitivity(rankings: Sequence[Ranking], arrays: int) -> Table | None:
    """For each pair, the constants that would turn it, the nearest first."""
    lines = [
        [
            Cell(f"{ranking.first} before {ranking.second}"),
            Cell(in_words(turn)),
            Cell(value_text(turn.now, turn.unit), turn.now),
            Cell(f"{turn.side} {si(turn.at, turn.unit)}", turn.at),
            Cell(between_text(turn), badge="inside" if turn.inside else ""),
        ]
        for ranking in rankings
        for turn in ranking.turns
        if turn.at is not None
    ]
    if not lines:
        return None
    return Table(
        "Constants that would turn the order of two methods by the energy of an adaptation, each changed alone. Power "
        f"that an array draws while it waits counts {arrays} times. Accuracies would stay as they are.",
        ("order", "constant", "here", "turns", "sources give"),
        lines,
        frozenset({0, 1, 4}),
    )


def ratios(found: Mapping[str, float | None]) -> Table | None:
    """Energy of writing as a multiple of the energy of reading."""
    if not found:
        return None
    lines = [[Cell(ratio_title(name)), Cell(ratio(value), value)] for name, value in found.items()]
    return Table(
        "The level decides the answer, so there are several.", ("energy of writing over reading", "ratio"), lines
    )


def silicon(areas: Mapping[str, float | None]) -> Table:
    """Area by part."""
    lines = [[Cell(component_title(name)), Cell(area(value), value)] for name, value in areas.items()]
    return Table(
        "Estimated from the cell and the periphery; – where the sources give no figure.", ("part", "area"), lines
    )


def _form_of(field: Field) -> Form:
    """How values of a field of a record are printed."""
    if field.kind.name == "fraction":
        return lambda value: percent(Statistic.of([value]))
    if field.unit in ("J", "B"):
        return lambda value: si(value, field.unit)
    if field.unit == "s":
        return duration
    return lambda value: f"{value:.2e}" if value is not None and 0 < abs(value) < 1 else count(value)


def runs(rows: Sequence[Row], colours: Mapping[str, str]) -> Table:
    """Every record, one line each."""
    columns = [(field.heading, field.name, _form_of(field)) for field in fields_of(Result) if field.heading]
    lines = [
        [
            _name(row, colours),
            Cell(str(row.shots), row.shots),
            Cell(str(record.seed), record.seed),
            *(Cell(form(value := getattr(record, name)), value) for _, name, form in columns),
        ]
        for row in rows
        for record in row.records
    ]
    return Table(
        f"Every run. {HEAD_WORDS}",
        ("method, placement", "shots", "seed", *(title for title, _, _ in columns)),
        lines,
    )


def references(entries: Sequence[Reference]) -> Table | None:
    """The papers used."""
    if not entries:
        return None
    lines = [
        [
            Cell(entry.key),
            Cell(entry.citation),
            Cell(entry.doi or "–", link=link_of(entry.doi)),
            Cell(", ".join(entry.used_for)),
        ]
        for entry in entries
    ]
    return Table(
        "Sources of the constants and equations.", ("key", "citation", "DOI", "used for"), lines, frozenset(range(4))
    )


def link_of(doi: str | None) -> str:
    """The address of a DOI, an arXiv number or an http(s) address; "" for anything else, which is not linked."""
    if not doi:
        return ""
    if re.match(r"10\.\d{4,9}/\S+$", doi):
        return f"https://doi.org/{doi}"
    if found := re.match(r"arxiv:\s*(\S+)$", doi, re.IGNORECASE):
        return f"https://arxiv.org/abs/{found.group(1)}"
    return doi if re.match(r"https?://\S+$", doi) else ""


def mapping(caption: str, values: Mapping[str, Any]) -> Table:
    """Keys and values as they are, values other than texts as JSON."""
    lines = [
        [Cell(key), Cell(v if isinstance(v, str) else json.dumps(v, ensure_ascii=False))] for key, v in values.items()
    ]
    return Table(caption, ("name", "value"), lines, frozenset(range(2)))


def identity(report: SimulateReport) -> Table:
    """What made the numbers: code, machine, contents of the inputs, and the digest of the results."""
    lines = [[Cell("digest of the results"), Cell(report.results_digest)]]
    lines += [[Cell("configuration"), Cell(report.config_hash)], [Cell("ended"), Cell(report.created)]]
    for section in (report.environment, report.inputs):
        for said in fields_of(type(section)):
            value = getattr(section, said.name)
            text = duration(value) if said.unit == "s" else "–" if value is None else str(value)
            lines.append([Cell(said.heading), Cell(text)])
    return Table("Who gets the same digest has the same results.", ("what", "value"), lines, frozenset(range(2)))
