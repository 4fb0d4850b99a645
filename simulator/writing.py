"""Writing cells: program-and-verify, pulse by pulse.

The loop is the incremental-step scheme of the published ReRAM macros: read, pulse towards the target with a voltage
that grows by a step each pulse, restart at the first voltage when the polarity turns, stop inside the tolerance or
after n_max pulses. Voltages, widths, tolerance and n_max are the cell file's. How far one pulse moves a cell is not
published as a law; the package uses this plain model, with parameters whose origin the cell file states:

    dG_k = +-step * exp(s_d2d z_cell) * (1 + growth * k) * max(0, 1 + s_c2c z_pulse)

with k the pulses since the polarity turned, z_cell drawn once per cell (cell-to-cell) and z_pulse once per pulse
(cycle-to-cycle). Energy of a pulse is V_k^2 * G * t with G the mean of before and after (NeuroSim's form), or the cell
file's fixed energy where the source gives one, plus C V_k^2 for charging the lines; every verify is a read
V_read^2 * G * t_read.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..devices import Cell
from ..errors import UsageError
from . import kernels, randoms


@dataclass(frozen=True)
class WriteLog:
    """What a write did. Arrays have the shape of the written cells.

    pulses: pulses per cell (uint16); failed: cells left outside the tolerance (bool); energy_joules: all of the
    write, which is cell_joules (SET/RESET pulses) + line_joules (charging lines) + verify_joules (cell current of
    the verify reads) + converter_joules (conversions of the verify reads: 0 for `program_cells`, which knows no
    converter); time_seconds: the cells of one row pulsed together, row after row; reversals: how often the polarity
    turned; pulse_turns, verify_turns: pulses and verify reads one after another in the arrays of a chip (0 for
    `program_cells`, which knows no array).
    """

    pulses: np.ndarray
    failed: np.ndarray
    energy_joules: float
    time_seconds: float
    cell_joules: float
    line_joules: float
    verify_joules: float
    verifies: int
    set_pulses: int
    reset_pulses: int
    reversals: int
    converter_joules: float = 0.0
    pulse_turns: float = 0.0
    verify_turns: float = 0.0
    label: str = field(default="simulated")

    @property
    def cells_pulsed(self) -> int:
        """How many cells received at least one pulse."""
        return int(np.count_nonzero(self.pulses))

    @staticmethod
    def total(logs: "list[WriteLog]") -> "WriteLog":
        """The sum of several logs; per-cell arrays are joined end to end."""
        empty = np.zeros(0, np.uint16)
        add = lambda name: sum(getattr(log, name) for log in logs)
        return WriteLog(
            pulses=np.concatenate([log.pulses.ravel() for log in logs]) if logs else empty,
            failed=np.concatenate([log.failed.ravel() for log in logs]) if logs else empty.astype(bool),
            **{name: add(name) for name in _SUMS},
        )


_SUMS = (
    "energy_joules", "time_seconds", "cell_joules", "line_joules", "verify_joules",
    "verifies", "set_pulses", "reset_pulses", "reversals", "converter_joules", "pulse_turns", "verify_turns",
)  # fmt: skip


def require_programmable(cell: Cell) -> None:
    """Raise UsageError naming the numbers that program-and-verify needs and the cell file does not know."""
    needed = ["g_min_siemens", "g_max_siemens", "program_tolerance_siemens", "pulses_max", "pulse_step_siemens",
              "set_pulse_seconds", "reset_pulse_seconds"]  # fmt: skip
    for side in ("set", "reset"):
        if getattr(cell, f"{side}_energy_joules") is None:
            needed.append(f"{side}_voltage_volts")
    missing = [name for name in needed if getattr(cell, name) is None]
    if missing:
        raise UsageError(
            f"cell {cell.name!r} cannot be programmed: its file does not know {', '.join(missing)}; "
            "give them with --set or in your own cell file"
        )


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
    implementation=kernels.program_rows,
) -> tuple[np.ndarray, WriteLog]:
    """Bring cells to their target conductance by program-and-verify.

    target_siemens: wanted conductance, any shape; the last axis is a physical row (its cells are pulsed together).
    initial_siemens: conductance before the write, same shape; by default every cell is at the cell's g_min (erased).
    stuck: uint8 map of `kernels.HEALTHY/STUCK_LOW/STUCK_HIGH`: those cells take pulses and do not move.
    index, spread_seed: the cells' numbers in their matrix and the seed of their cell-to-cell factors, to keep the
    factors the same when cells are written again; by default 0, 1, 2, ... and a fresh seed from `rng`. line_farads:
    capacitance charged by a pulse. implementation: the numba kernel, or `reference.program_rows` (plain numpy, same
    numbers).

    Returns (conductance_siemens, same shape, float64; WriteLog). Equal seeds give equal results on any number of
    threads. Raises UsageError for targets that are negative, not finite, or of another shape than the initial state,
    and for a cell whose file lacks a number that programming needs.
    Source of the scheme: Wan et al., Nature 2022 and Milo et al., IRPS 2021 (see the cell file); energy: NeuroSim.
    """
    require_programmable(cell)
    target = np.asarray(target_siemens, dtype=np.float64)
    initial = (
        np.full(target.shape, cell.g_min_siemens) if initial_siemens is None else np.asarray(initial_siemens, float)
    )
    if initial.shape != target.shape:
        raise UsageError(
            f"initial_siemens has shape {initial.shape}, target_siemens {target.shape}; they must be equal"
        )
    for name, values in (("target_siemens", target), ("initial_siemens", initial)):
        if not np.all(np.isfinite(values)) or (values.size and values.min() < 0):
            raise UsageError(f"{name} must be finite and not negative; conductances are in siemens")
    flat = (-1, (target.shape[-1] if target.ndim else 1) or 1)
    conductance = np.array(initial, dtype=np.float64).reshape(flat)
    goal = np.ascontiguousarray(target.reshape(flat))
    shape = conductance.shape
    stuck = np.zeros(shape, np.uint8) if stuck is None else np.ascontiguousarray(stuck, np.uint8).reshape(flat)
    index = np.arange(target.size, dtype=np.uint32) if index is None else np.ascontiguousarray(index, np.uint32)
    ups, downs = np.zeros(shape, np.uint16), np.zeros(shape, np.uint16)
    busy, tally = np.zeros(shape, np.float32), np.zeros((shape[0], kernels.TALLY))
    family = randoms.draw_seed(rng) if spread_seed is None else spread_seed
    implementation(
        index.reshape(flat), conductance, goal, stuck, ups, downs, busy, tally, family, randoms.draw_seed(rng),
        *_parameters(cell, line_farads),
    )  # fmt: skip
    sums = tally.sum(0)
    parts: dict[str, Any] = {
        "cell_joules": float(sums[kernels.CELL_JOULES]),
        "line_joules": float(sums[kernels.LINE_JOULES]),
        "verify_joules": float(sums[kernels.VERIFY_JOULES]),
    }
    log = WriteLog(
        pulses=(ups + downs).reshape(target.shape),
        failed=(np.abs(conductance - goal) > cell.program_tolerance_siemens).reshape(target.shape),
        energy_joules=sum(parts.values()),
        time_seconds=float(busy.max(axis=1).sum(dtype=np.float64)) if busy.size else 0.0,
        verifies=int(sums[kernels.VERIFIES]),
        set_pulses=int(ups.sum(dtype=np.int64)),
        reset_pulses=int(downs.sum(dtype=np.int64)),
        reversals=int(sums[kernels.REVERSALS]),
        **parts,
    )
    return conductance.reshape(target.shape), log


def _parameters(cell: Cell, line_farads: float) -> tuple:
    """The kernel's scalars, in its order; an unknown spread or growth is no spread and no growth."""
    fixed = lambda value: -1.0 if value is None else float(value)
    known = lambda value: 0.0 if value is None else float(value)
    return (
        float(cell.program_tolerance_siemens), int(cell.pulses_max), float(cell.pulse_step_siemens),
        known(cell.pulse_step_growth), known(cell.cycle_to_cycle_sigma), known(cell.cell_to_cell_sigma),
        known(cell.set_voltage_volts), known(cell.set_voltage_step_volts), float(cell.set_pulse_seconds),
        fixed(cell.set_energy_joules),
        known(cell.reset_voltage_volts), known(cell.reset_voltage_step_volts), float(cell.reset_pulse_seconds),
        fixed(cell.reset_energy_joules),
        known(cell.read_voltage_volts), known(cell.read_seconds), float(line_farads),
    )  # fmt: skip
