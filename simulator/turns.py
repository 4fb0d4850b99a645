"""How many pulses and verify reads of a write come one after another.

The cells of a word line of an array (all slices and polarities of its weights) go together, at most
`write.cells_in_parallel` at a time; such a group lasts as long as its slowest cell. Up to `write.arrays_in_parallel`
arrays of a matrix are written at once, each group by group; matrices come one after another. The write supply may feed
fewer (`counting.write_times`).

SET and RESET need opposite voltages on lines that the cells of a row share, so they come in separate phases
(`write.polarities`): a group takes as many SET phases as the cell with most SET pulses, and as many RESET phases alike.
That is NeuroSim's count and the least that phases can take: a cell that turns round more often than the others may make
a group wait longer.
"""

import dataclasses
from typing import Any

import numpy as np

from ..devices import Chip
from .counting import WriteTimes, write_times
from .mapping import Layout, Some
from .writing import WriteLog


def whole_log(
    log: WriteLog, *, chip: Chip, layout: Layout, at: tuple[np.ndarray, np.ndarray] | None, mean_siemens: float,
    only: Some | None = None,
) -> WriteLog:  # fmt: skip
    """The log of the written cells (all, or those `at` some weights) with conversions and time; where the chip looks at
    unchanged weights, too, extended to the whole matrix, or to `only` some of its lines: verify reads of the others,
    whose mean conductance is `mean_siemens`.
    """
    p, cell = chip.periphery, chip.cell
    everyone = p.write_unchanged == "verify"
    others = cells_of(layout, only) - log.pulses.size if everyone else 0
    verify_joules = log.verify_joules
    if others:
        verify_joules += others * (cell.read_voltage_volts or 0.0) ** 2 * chip.integration_seconds * mean_siemens
    verifies = log.verifies + others
    converters = verifies * (p.adc_energy_joules or 0.0)
    pumps = (log.cell_joules + log.access_joules + log.line_joules) * pump_loss(chip)
    times = write_times(chip)
    where = (slice(None), slice(None)) if at is None else at

    def by_weight(pulses: np.ndarray) -> np.ndarray:
        """The most of a weight's cells, (inputs, sensed); 0 for those that are not written."""
        found = np.zeros((layout.inputs, layout.sensed), np.uint16)
        found[where] = pulses.max((0, 1)) if pulses.size else 0
        return found

    in_arrays = [pulse_turns(by_weight(one), layout, times) for one in kinds_of(log, times)]
    looked = np.zeros((layout.inputs, layout.sensed), np.uint16)
    looked[where] = 1
    # One look at each group before its pulses, and one after each.
    looks = groups(layout, times, only) if everyone else pulse_turns(looked, layout, times)
    return dataclasses.replace(
        log,
        verify_joules=verify_joules,
        converter_joules=converters,
        pump_joules=pumps,
        energy_joules=log.cell_joules + log.access_joules + log.line_joules + pumps + verify_joules + converters,
        verifies=verifies,
        **in_turns(in_arrays, looks, times),
    )


def pump_loss(chip: Chip) -> float:
    """What pumps lose of each joule of pulses and lines that they hand on."""
    return (chip.periphery.pump_loss or 0.0) if chip.cell.pumped == "yes" else 0.0


def kinds_of(log: WriteLog, times: WriteTimes) -> list[np.ndarray]:
    """Pulses of each cell, of the kinds that wait for each other: SET and RESET in phases, else all together."""
    assert log.sets is not None, "a log of one write"
    return [log.sets, log.pulses - log.sets] if times.phases else [log.pulses]


def in_turns(in_arrays: list[np.ndarray], looks: np.ndarray, times: WriteTimes) -> dict[str, Any]:
    """Turns and seconds of a write, from those of each array: of pulses, by kind, and of looks before them."""
    turns = [queue(one, times.arrays) for one in in_arrays]
    verified = queue(sum(in_arrays, looks), times.arrays)
    if times.phases:
        pulsing = turns[0] * times.set_seconds + turns[1] * times.reset_seconds
    else:
        pulsing = turns[0] * max(times.set_seconds, times.reset_seconds)
    return {
        "time_seconds": pulsing + verified * times.verify_seconds,
        "pulse_turns": sum(turns),
        "set_turns": turns[0] if times.phases else 0,
        "reset_turns": turns[1] if times.phases else 0,
        "verify_turns": verified,
    }


def queue(turns: np.ndarray, arrays: int) -> int:
    """Turns one after another where each array (any shape) needs `turns` of them and `arrays` work at once: the work is
    shared, but no array is written in parts.
    """
    shared = -(-int(turns.sum(dtype=np.int64)) // max(1, min(arrays, turns.size)))
    return max(int(turns.max(initial=0)), shared)


def cells_of(layout: Layout, only: Some | None) -> int:
    """Cells of a matrix, or of `only` some of its outputs or inputs; references belong to the inputs."""
    if only is None:
        return layout.cells
    return layout.cells_per_weight * len(only.numbers) * (layout.sensed if only.axis else layout.inputs)


def groups(layout: Layout, times: WriteTimes, only: Some | None = None) -> np.ndarray:
    """Groups of cells that are written one after another in each array, (row_tiles, column_tiles)."""
    rows = np.minimum(layout.rows, layout.inputs - np.arange(layout.row_tiles) * layout.rows)
    array = layout.array_of_output()
    if only is not None and only.axis:
        rows = np.bincount(only.numbers // layout.rows, minlength=layout.row_tiles)
    elif only is not None:
        array = array[only.numbers]
    weights = np.bincount(array, minlength=layout.column_tiles)
    group, pieces = _group(layout, times)
    return rows[:, None] * (-(-weights // group) * pieces)


def pulse_turns(slowest: np.ndarray, layout: Layout, times: WriteTimes) -> np.ndarray:
    """Turns of pulses in each array, (row_tiles, column_tiles); `slowest`: (inputs, sensed), the most pulses that a
    cell of a weight took.
    """
    group, pieces = _group(layout, times)
    array = layout.array_of_output()
    order = np.argsort(array, kind="stable")  # a reference stands beside the outputs of its array
    ends = np.cumsum(np.bincount(array, minlength=layout.column_tiles))
    cuts = [np.arange(first, end, group) for first, end in zip(np.r_[0, ends[:-1]], ends, strict=True)]
    starts, owners = np.concatenate(cuts), np.cumsum([0, *map(len, cuts[:-1])])
    columns = slowest if np.array_equal(order, np.arange(len(order))) else slowest[:, order]
    lasting = np.maximum.reduceat(columns, starts, axis=1)
    by_array = np.add.reduceat(lasting.astype(np.int64), owners, axis=1)
    return np.add.reduceat(by_array, np.arange(0, layout.inputs, layout.rows), axis=0) * pieces


def _group(layout: Layout, times: WriteTimes) -> tuple[int, int]:
    """Weights of a word line whose cells go together, and the pieces that a weight with more cells is written in."""
    return max(1, times.cells_together // layout.cells_per_weight), -(-layout.cells_per_weight // times.cells_together)
