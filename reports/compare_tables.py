"""The tables of the comparison's page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import tables
from .compare_rows import rows_on
from .records.compare import Compared, ComparedCell
from .rows import seeds_in_words
from .tables import Cell, Table
from .values import area, count, digits, duration, si


@dataclass(frozen=True)
class Group:
    """The rows of one device in a table, or why there are none."""

    title: str
    rows: Sequence[Sequence[Cell]]
    failure: str = ""


@dataclass(frozen=True)
class GroupedTable:
    """A table whose rows are grouped by device."""

    caption: str
    columns: Sequence[str]
    groups: Sequence[Group]
    notes: Sequence[str]


def results(comparison: Compared, task: str, colours: Mapping[str, str]) -> GroupedTable:
    """All methods on all devices for one task, with the failures in their place."""
    groups, shown = [], None
    notes: dict[str, None] = {}
    for cell in comparison.cells:
        if cell.task != task:
            continue
        rows = rows_on(comparison, cell.device, [task])
        if not rows:
            groups.append(Group(cell.device, (), cell.message))
            continue
        table = tables.results(rows, colours)
        shown = rows, table
        notes |= dict.fromkeys(table.notes)
        groups.append(Group(cell.device, table.rows))
    if shown is None:
        return GroupedTable("No simulation of this task ended well.", ("device",), groups, ())
    rows, table = shown
    seeds = seeds_in_words(rows)
    spread = seeds if seeds == "1 seed" else f"mean ± sample standard deviation over {seeds}"
    return GroupedTable(
        f"{task}, {rows[0].shots} shots. Accuracies in % ({spread}); energies, times and counts are means of one "
        f"adaptation; tasks until worn out: the worst seed. {tables.HEAD_WORDS} All simulated unless marked; ~: "
        "estimated.",
        table.columns, groups, tuple(notes),
    )  # fmt: skip


def devices(comparison: Compared) -> Table:
    """Each chip, and what programming it once takes."""
    lines = []
    for device in comparison.devices:
        cost = device.programming
        error, failed = cost.weight_error_relative, cost.failed_cells
        lines.append(
            [
                Cell(device.device, below=device.title),
                Cell(count(device.arrays_used), device.arrays_used),
                Cell(area(device.area_square_meters), device.area_square_meters),
                Cell(count(cost.cells), cost.cells),
                Cell("–" if cost.pulses_mean is None else digits(cost.pulses_mean), cost.pulses_mean),
                Cell(count(failed), failed),
                Cell(si(cost.energy_joules, "J"), cost.energy_joules),
                Cell(duration(cost.time_seconds), cost.time_seconds),
                Cell("–" if error is None else digits(100 * error, 2), error),
            ]
        )
    return Table(
        "The chips, and their one-time programming with backbone and pool (area estimated, the rest simulated).",
        ("device", "arrays", "area", "cells", "pulses per cell", "out of tolerance", "energy", "time",
         "weight error, %"),
        lines,
    )  # fmt: skip


def cells(comparison: Compared) -> Table:
    """Every simulation of the table: how it ended."""
    lines = [
        [
            Cell(f"{cell.device}, {cell.task}"),
            Cell(_ending(cell)),
            Cell(duration(cell.seconds), cell.seconds),
            Cell(cell.config_hash),
        ]
        for cell in comparison.cells
    ]
    return Table("Every simulation.", ("device, task", "ended", "wall time", "configuration"), lines,
                 frozenset({0, 1, 3}))  # fmt: skip


def _ending(cell: ComparedCell) -> str:
    if cell.status == "failed":
        return f"failed: {cell.message}"
    if cell.kept:
        return "done, kept from an earlier call, same inputs"
    return f"done again; changed: {'; '.join(cell.changed)}" if cell.changed else "done"
