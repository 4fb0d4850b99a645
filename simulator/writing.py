"""Writing cells: program-and-verify, pulse by pulse.

The loop is the incremental-step scheme of the published ReRAM macros: read, pulse towards the target with a voltage
that grows by a step each pulse, restart at the first voltage when the polarity turns, stop inside the tolerance or
after n_max pulses. Voltages, widths, tolerance and n_max are the cell file's. How far one pulse moves a cell is not
published as a law; the package uses this plain model, with parameters whose origin the cell file states:

    dG_k = +-step * exp(s_d2d z_cell) * (1 + growth * k) * max(0, 1 + s_c2c z_pulse) + s_range (g_max - g_min) z_pulse

with k the pulses since the polarity turned, z_cell drawn once per cell (cell-to-cell) and z_pulse once per pulse
(cycle-to-cycle); for cells with a published curve the step depends on the conductance and on the direction (see
`response`). Energy of a pulse is V * I * t in the mean of before and after, drawn from the write drivers: a share in
the cell, the rest in its access device (`layout.access_resistance`, R), as `programming.voltage_across` says:

    path       V_k is across both, and G is the conductance of both, as verify reads see it: I = V G, of which V G (1 -
               G R) V is the cell's own. The sum is NeuroSim's V^2 G t.
    cell       V_k is across the cell alone, G its own: I = V G, and the drivers give (1 + G R) V.

Where the source gives a fixed energy of a pulse, it is the cell's. C V_k^2 comes on top for charging the lines; every
verify is a read V_read^2 * G * t_read. What charge pumps lose on the way (`write.pump_loss`) only a chip knows.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..devices import Cell
from ..errors import UsageError
from . import pulse_kernel, randoms
from .arguments import real_numbers, require_cell, require_generator
from .compiling import announce
from .response import is_curved, pulse_numbers


@dataclass(frozen=True)
class WriteLog:
    """What a write did. Arrays have the shape of the written cells.

    pulses: pulses per cell (uint8 or uint16); sets: SET pulses among them (None in sums of logs); failed: cells left
    outside the tolerance (bool); energy_joules: all of the write, which is the sum of

    cell_joules         SET/RESET pulses, in the cells
    access_joules       in their access devices
    line_joules         charging lines
    pump_joules         lost in charge pumps
    verify_joules       cell current of the verify reads
    converter_joules    conversions of the verify reads

    and of digital_adds additions (of the rotation of the weights); time_seconds: the cells of one row pulsed together,
    row after row; reversals: how often the polarity turned; pulse_turns, verify_turns: pulses and verify reads one
    after another in the arrays of a chip; set_turns, reset_turns: those of each, where SET and RESET pulses come one
    after another. `program_cells` knows no array, converter, pump or rotation: what these add is 0 there.
    """

    pulses: np.ndarray
    failed: np.ndarray
    energy_joules: float
    time_seconds: float
    cell_joules: float
    access_joules: float
    line_joules: float
    verify_joules: float
    verifies: int
    set_pulses: int
    reset_pulses: int
    reversals: int
    converter_joules: float = 0.0
    pump_joules: float = 0.0
    pulse_turns: float = 0.0
    set_turns: float = 0.0
    reset_turns: float = 0.0
    verify_turns: float = 0.0
    digital_adds: float = 0.0
    sets: np.ndarray | None = None
    label: str = field(default="simulated")

    @property
    def cells_pulsed(self) -> int:
        """How many cells received at least one pulse."""
        return int(np.count_nonzero(self.pulses))


class WriteSum:
    """The sum of many logs, in little memory: how many cells took how many pulses, but not which."""

    def __init__(self) -> None:
        self._cells = np.zeros(1, np.int64)
        self._failed = 0
        self._sums: dict[str, Any] = dict.fromkeys(_SUMS, 0)

    def add(self, log: WriteLog) -> None:
        """Add a log."""
        mine, theirs = self._cells, np.bincount(log.pulses.ravel(), minlength=1)
        self._cells = np.zeros(max(len(mine), len(theirs)), np.int64)
        self._cells[: len(mine)] += mine
        self._cells[: len(theirs)] += theirs
        self._failed += int(np.count_nonzero(log.failed))
        for name in _SUMS:
            self._sums[name] += getattr(log, name)

    def copy(self) -> "WriteSum":
        """A sum that goes on by itself."""
        twin = WriteSum()
        twin._cells, twin._failed, twin._sums = self._cells.copy(), self._failed, dict(self._sums)
        return twin

    def log(self) -> WriteLog:
        """One log of everything; its cells are sorted by pulses, and the failed ones come last."""
        pulses = np.repeat(np.arange(len(self._cells), dtype=np.uint16), self._cells)
        failed = np.zeros(pulses.size, bool)
        failed[pulses.size - self._failed :] = True
        return WriteLog(pulses=pulses, failed=failed, **self._sums)


_SUMS = (
    "energy_joules", "time_seconds", "cell_joules", "access_joules", "line_joules", "verify_joules", "pump_joules",
    "verifies", "set_pulses", "reset_pulses", "reversals", "converter_joules", "pulse_turns", "set_turns",
    "reset_turns", "verify_turns", "digital_adds",
)  # fmt: skip


def require_programmable(cell: Cell) -> None:
    """Raise UsageError naming the numbers that program-and-verify needs and the cell file does not know."""
    needed = ["g_min_siemens", "g_max_siemens", "program_tolerance_siemens", "pulses_max", "set_pulse_seconds",
              "reset_pulse_seconds"]  # fmt: skip
    if not is_curved(cell):
        needed.append("pulse_step_siemens")
    for side in ("set", "reset"):
        if getattr(cell, f"{side}_energy_joules") is None:
            needed.append(f"{side}_voltage_volts")
    missing = [name for name in needed if getattr(cell, name) is None]
    if missing:
        raise UsageError(
            f"cell {cell.name!r} cannot be programmed: its file does not know {', '.join(missing)}; "
            "give them with --set or in your own cell file"
        )


def _wanted_and_present(
    target_siemens: np.ndarray, initial_siemens: np.ndarray | None, cell: Cell
) -> tuple[np.ndarray, np.ndarray]:
    """(wanted conductance, conductance before the write), checked; the second is written in place."""
    target = np.ascontiguousarray(real_numbers(target_siemens, "target_siemens"), dtype=np.float64)
    if initial_siemens is None:
        conductance = np.full(target.shape, cell.g_min_siemens, np.float64)
    else:
        given = real_numbers(initial_siemens, "initial_siemens")
        conductance = np.array(given, dtype=np.float64, order="C")  # written in place, as a flat view
    if conductance.shape != target.shape:
        raise UsageError(
            f"initial_siemens has shape {conductance.shape}, target_siemens {target.shape}; they must be equal"
        )
    for name, values in (("target_siemens", target), ("initial_siemens", conductance)):
        # One pass each: comparisons with NaN are false.
        if values.size and not (values.min() >= 0.0 and values.max() < np.inf):
            raise UsageError(f"{name} must be finite and not negative; conductances are in siemens")
    if target.size and target.max() > cell.g_max_siemens * (1.0 + 1e-6):
        raise UsageError(
            f"target_siemens goes up to {target.max():g} S; cells of {cell.name!r} to {cell.g_max_siemens:g} S"
        )
    return target, conductance


def program_cells(
    target_siemens: np.ndarray,
    cell: Cell,
    rng: np.random.Generator,
    initial_siemens: np.ndarray | None = None,
    *,
    stuck: np.ndarray | None = None,
    index: np.ndarray | None = None,
    spread_seed: np.uint64 | None = None,
    line_farads: float = 0.0,
    implementation=pulse_kernel.program_blocks,
) -> tuple[np.ndarray, WriteLog]:
    """Bring cells to their target conductance by program-and-verify.

    target_siemens: wanted conductance, any shape; the last axis is a physical row (its cells are pulsed together).
    initial_siemens: conductance before the write, same shape; by default every cell is at the cell's g_min (erased).
    stuck: uint8 map of `pulse_kernel.HEALTHY`, `STUCK_LOW`, `STUCK_HIGH`, `WORN_OUT`: all but the healthy take pulses
    and do not move; of size 0: all are healthy.
    index, spread_seed: the cells' numbers in their matrix and the seed of their cell-to-cell factors, to keep the
    factors the same when cells are written again; by default 0, 1, 2, ... and a fresh seed from `rng`. line_farads:
    capacitance charged by a pulse. implementation: the numba kernel, or `reference.program_blocks` (plain numpy, same
    numbers).

    Returns (conductance_siemens, same shape, float64; WriteLog). Equal seeds give equal results on any number of
    threads. Raises UsageError for targets that are negative, not finite, or above the cell's g_max, for an initial
    state, `stuck` or `index` of another shape, and for a cell whose file lacks a number that programming needs.
    Source of the scheme: Wan et al., Nature 2022 and Milo et al., IRPS 2021 (see the cell file); energy: NeuroSim.
    """
    require_cell(cell)
    require_generator(rng)
    require_programmable(cell)
    announce()
    target, conductance = _wanted_and_present(target_siemens, initial_siemens, cell)
    # The kernel looks at both by the number of the cell, and checks nothing.
    stuck = _of_cells(stuck, "stuck", target, np.uint8)
    index = _of_cells(index, "index", target, np.uint32)
    none = np.empty(0, np.uint8)
    small = np.uint8 if cell.pulses_max < 256 else np.uint16
    pulses, sets, failed = np.empty(target.size, small), np.empty(target.size, small), np.empty(target.size, bool)
    busy = np.empty(target.size, np.float32)
    tally = np.zeros((-(-target.size // pulse_kernel.BLOCK), pulse_kernel.TALLY))
    family = randoms.draw_seed(rng) if spread_seed is None else spread_seed
    implementation(
        none.astype(np.uint32) if index is None else index,
        conductance.reshape(-1), target.reshape(-1),
        none if stuck is None else stuck,
        pulses, sets, failed, busy, tally, family, randoms.draw_seed(rng), pulse_numbers(cell, line_farads),
    )  # fmt: skip
    sums = tally.sum(0)
    parts: dict[str, Any] = {
        "cell_joules": float(sums[pulse_kernel.CELL_JOULES]),
        "access_joules": float(sums[pulse_kernel.ACCESS_JOULES]),
        "line_joules": float(sums[pulse_kernel.LINE_JOULES]),
        "verify_joules": float(sums[pulse_kernel.VERIFY_JOULES]),
        "verifies": int(sums[pulse_kernel.VERIFIES]),
        "set_pulses": int(sums[pulse_kernel.SETS]),
        "reset_pulses": int(sums[pulse_kernel.RESETS]),
        "reversals": int(sums[pulse_kernel.REVERSALS]),
    }
    rows = busy.reshape(-1, max(1, [1, *target.shape][-1]))
    log = WriteLog(
        pulses=pulses.reshape(target.shape),
        sets=sets.reshape(target.shape),
        failed=failed.reshape(target.shape),
        energy_joules=float(sums[: pulse_kernel.VERIFY_JOULES + 1].sum()),
        time_seconds=float(rows.max(axis=1).sum(dtype=np.float64)) if busy.size else 0.0,
        **parts,
    )
    return conductance, log


def _of_cells(numbers: Any, name: str, target: np.ndarray, kind: type) -> np.ndarray | None:
    """Whole numbers, one a cell in the shape of the targets, as a flat array of a kind; None if there are none."""
    if numbers is None or np.size(numbers) == 0:
        return None
    array, most = real_numbers(numbers, name), np.iinfo(kind).max
    if array.shape != target.shape:
        raise UsageError(f"{name} has shape {array.shape}, target_siemens {target.shape}; they must be equal")
    if array.dtype.kind not in "bui" or (array.size and not 0 <= array.min() <= array.max() <= most):
        raise UsageError(f"{name} must hold whole numbers from 0 to {most}; got {array.dtype} values")
    return np.ascontiguousarray(array, kind).ravel()


def tolerance_siemens(cell: Cell, target_siemens: np.ndarray) -> np.ndarray:
    """How far from its target a cell may be when it is verified; shape of the targets."""
    return cell.program_tolerance_siemens + (cell.program_tolerance_relative or 0.0) * np.asarray(target_siemens)
