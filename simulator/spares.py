"""What the spare columns of a matrix cost: the log of its first write with theirs."""

import dataclasses

import numpy as np

from .cells import Cells
from .counting import write_times
from .turns import in_turns, kinds_of, pump_loss
from .writing import WriteLog

SUMS = (
    "cell_joules", "access_joules", "line_joules", "verify_joules", "verifies", "set_pulses", "reset_pulses",
    "reversals",
)  # fmt: skip


def with_spares(log: WriteLog, cells: Cells) -> WriteLog:
    """Move the outputs with most failed cells of a first write to spare columns (`Cells.move_to_spares`), and return
    the log of both writes, its arrays flat.

    Cells that are not used in the end do not count as failed. Time: spare cells of a word line and an array go
    together, as many as `write_cells_in_parallel` says, after all others.
    """
    found = cells.move_to_spares(log.failed)
    if found is None:
        return log
    more, at, unused = found
    layout, p, times = cells.layout, cells.chip.periphery, write_times(cells.chip)
    array = layout.array_of_output()[at[1]]
    together = np.zeros((layout.column_tiles, layout.inputs), np.int64)
    np.add.at(together, (array, at[0]), layout.cells_per_weight)
    pieces = -(-together // times.cells_together)
    by_array = lambda turns: np.add.reduceat(turns, np.arange(0, layout.inputs, layout.rows), axis=1)
    in_arrays = []
    for kind in kinds_of(more, times):
        slowest = np.zeros((layout.column_tiles, layout.inputs), np.uint16)
        np.maximum.at(slowest, (array, at[0]), kind.max((0, 1)))
        in_arrays.append(by_array(slowest * pieces))
    turns = in_turns(in_arrays, by_array(pieces), times)  # one look before the pulses
    pumps = (more.cell_joules + more.access_joules + more.line_joules) * pump_loss(cells.chip)
    converters = more.verifies * (p.adc_energy_joules or 0.0)
    failed = log.failed.copy()
    if cells.spares is not None:
        failed[:, :, (cells.spares >= 0)[np.arange(layout.inputs) // layout.rows]] = False
    return dataclasses.replace(
        log,
        pulses=np.concatenate([log.pulses.ravel(), more.pulses.ravel()]),
        failed=np.concatenate([failed.ravel(), (more.failed & ~unused).ravel()]),
        **{name: getattr(log, name) + getattr(more, name) for name in SUMS},
        converter_joules=log.converter_joules + converters,
        pump_joules=log.pump_joules + pumps,
        energy_joules=log.energy_joules + more.energy_joules + converters + pumps,
        sets=None,
        **{name: getattr(log, name) + more_turns for name, more_turns in turns.items()},
    )
