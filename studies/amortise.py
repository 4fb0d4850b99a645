"""Words and figures that compare results: break-even of the pool, wear, write-to-read ratios."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..devices import Chip
from ..reports.records.conclusions import Versus
from ..reports.records.results import Result
from ..simulator import WriteLog


def break_even(pool_joules: float, results: Sequence[Result]) -> list[Versus]:
    """After how many tasks, and how many optimiser steps, programming the pool once has cost less than rewriting.

    One row for each method x placement that rewrites cells. Tasks: pool_joules over the mean write energy of a task.
    Steps of one adaptation: what of pool_joules the write of the initial values leaves, over the mean of a step.
    """
    rows = []
    for key in dict.fromkeys((r.method, r.placement) for r in results):
        mine = [r for r in results if (r.method, r.placement) == key and (r.write_energy_joules or 0.0) > 0]
        if not mine:
            continue
        task_joules = float(np.mean([r.write_energy_joules for r in mine]))
        initial_joules = float(np.mean([r.initial_write_energy_joules for r in mine]))
        each = [
            ((r.write_energy_joules or 0.0) - (r.initial_write_energy_joules or 0.0)) / r.train_steps
            for r in mine if r.train_steps > 0
        ]  # fmt: skip
        at_steps = key[1] == "NVM_STEP"
        step_joules = max(0.0, float(np.mean(each))) if at_steps and each else None
        note = "rewritten at every optimiser step" if at_steps else "rewritten once a task"
        rows.append(
            Versus(
                method=key[0],
                placement=key[1],
                tasks=math.ceil(pool_joules / task_joules),
                steps=_steps(pool_joules - initial_joules, step_joules) if at_steps else None,
                write_energy_joules_per_task=task_joules,
                write_energy_joules_per_step=step_joules,
                initial_write_energy_joules=initial_joules,
                note=f"{note}, after a write of the initial values" if initial_joules else note,
            )
        )
    return rows


def _steps(left_joules: float, step_joules: float | None) -> int | None:
    """Steps until `left_joules` are spent; None: never."""
    if left_joules <= 0:
        return 0
    return math.ceil(left_joules / step_joules) if step_joules else None


def wear(chip: Chip, writes_max: int) -> tuple[float | None, float | None]:
    """(share of the endurance that one task uses on its most written cell, tasks until that cell is worn out).

    One write (a program-and-verify of a cell) counts as one SET/RESET cycle, the unit endurance is quoted in. (0,
    None) when nothing is written or the endurance is unlimited; (None, None) when the cell file knows no endurance.
    """
    endurance = chip.cell.endurance_writes
    if writes_max == 0 or (endurance is not None and math.isinf(endurance)):
        return 0.0, None
    if endurance is None:
        return None, None
    return writes_max / endurance, endurance / writes_max


def write_read_ratios(log: WriteLog, read_joules_per_cell: float) -> dict[str, Any]:
    """Energy of writing over energy of reading, at three levels, because the level decides the answer.

    cell_pulse: one mean pulse over one verify read of a cell; cell_program_verify: one written cell (pulses, lines,
    verify currents) over one verify read; array_with_converters: programming everything over reading everything once,
    converters included (`read_joules_per_cell`: of all that is on the arrays and their periphery).
    """
    cells = max(1, log.pulses.size)
    written = max(1, log.cells_pulsed)
    pulses = max(1, log.set_pulses + log.reset_pulses)
    cell_read = log.verify_joules / max(1, log.verifies)
    ratio = lambda a, b: a / b if b > 0 else None
    return {
        "cell_pulse": ratio(log.cell_joules / pulses, cell_read),
        "cell_program_verify": ratio((log.energy_joules - log.converter_joules) / written, cell_read),
        "array_with_converters": ratio(log.energy_joules / cells, read_joules_per_cell),
    }
