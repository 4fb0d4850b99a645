"""One matrix in crossbar arrays: its cells, their wear, and what is read from them."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from ..devices import Chip
from . import kernels, pulse_kernel, randoms
from .counting import line_farads, write_times
from .mapping import Layout, error_variance, fit_scale, integer_type, integers, level_siemens, slice_gain, to_levels
from .retention import aging, fresh_seconds
from .writing import WriteLog, program_cells

# Epochs are numbered in a byte.
EPOCHS_MAX = 255


class CrossbarMatrix:
    """A matrix (out, in) written to differential pairs of cells; per-cell arrays have shape (slices, 2, in, out).

    Created erased (all cells at g_min, stuck cells at their stuck value); `write` programs it. The properties
    `pairs`, `noise`, `row_siemens` and `effective` are what reads use, at the present time; a rewrite updates them
    in place where cells changed.
    """

    def __init__(self, chip: Chip, shape: tuple[int, int], rng: np.random.Generator, scale: np.ndarray | None = None):
        self.chip = chip
        self.layout = Layout.of(chip, shape)
        self.levels = level_siemens(chip)
        self.scale = scale
        self._rng = rng
        self._spread_seed, self._relaxation_seed, self._drift_seed = (randoms.draw_seed(rng) for _ in range(3))
        cells = self.layout.cell_shape
        self.stuck = draw_faults(chip, cells, rng)
        self.integers = np.zeros((self.layout.inputs, self.layout.outputs), integer_type(self.layout))
        self.level = np.zeros(cells, np.uint8)
        erased = np.where(self.stuck == pulse_kernel.STUCK_HIGH, self.levels[-1], self.levels[0])
        self.programmed = erased.astype(np.float32)
        self.writes = np.zeros(cells, np.uint16)
        self.deployed: np.ndarray | None = None  # bool: the cells that the first write pulsed
        self.epoch = np.zeros(cells, np.uint8)  # which of `epoch_seconds` a cell was last written in
        self.epoch_seconds = [0.0]
        self.clock_seconds = 0.0
        self._cache: dict[str, np.ndarray] = {}

    def clone(self, rng: np.random.Generator) -> "CrossbarMatrix":
        """The same cells in the same state, to be written on its own with pulses drawn from `rng`."""
        twin = copy.copy(self)
        twin._rng = rng
        for name in ("integers", "level", "programmed", "writes", "epoch"):
            setattr(twin, name, getattr(self, name).copy())
        twin.epoch_seconds = list(self.epoch_seconds)
        twin._cache = {}
        return twin

    # --- writing
    # -------------------------------------------------------------------------------------------------------------

    def write(self, weight: np.ndarray, refresh: bool = False) -> WriteLog:
        """Program the matrix (out, in) and return the log of every cell's pulses, periphery included.

        The first write fixes the scale (unless given) and programs every cell from its erased state. A later write
        starts from the present conductance, aged as it is: cells whose target level is unchanged cost one verify
        read and no pulse; with `refresh` they too are brought back into tolerance if they have left it. Wear counts
        the cells that were pulsed.
        """
        weight = np.asarray(weight, np.float32)
        if self.scale is None:
            self.scale = fit_scale(weight, self.layout, self.chip.array.scale, error_variance(self.chip, self.layout))
        wanted = integers(weight, self.scale, self.layout)
        first = self.deployed is None
        everything = first or refresh
        at: tuple[Any, ...] = (slice(None), slice(None)) if everything else np.nonzero(wanted != self.integers)
        level = to_levels(wanted[at], self.layout)  # (slices, 2, in, out) or (slices, 2, n)
        cells = (slice(None), slice(None), *at)
        index = np.arange(self.layout.cells, dtype=np.uint32).reshape(self.layout.cell_shape)[cells]
        stuck = self.stuck[cells]
        present = self.programmed[cells] if first else self._aged(index, cells)
        # Looked up before anything changes: the cells that stay are verified at the conductance they have.
        mean = 0.0 if everything else float(self.row_siemens.sum()) / self.layout.cells
        written, log = program_cells(
            self.levels[level], self.chip.cell, self._rng, present,
            stuck=stuck, index=index, spread_seed=self._spread_seed, line_farads=line_farads(self.chip),
        )  # fmt: skip
        pulsed = log.pulses > 0
        # A cell that was not pulsed keeps its programmed value and its place on the relaxation curve.
        self.programmed[cells] = np.where(pulsed, written, self.programmed[cells]).astype(np.float32)
        self.writes[cells] += pulsed & (self.writes[cells] < np.iinfo(np.uint16).max)
        self.level[cells] = level
        self.integers = wanted
        self.epoch[cells] = np.where(pulsed, self._present_epoch(), self.epoch[cells])
        log = self._whole(log, at, index.size, mean)
        if first:
            self.deployed = self.writes > 0
        if everything:
            self._cache.clear()
        else:
            self._update(index, at, present)
        return log

    def _whole(self, log: WriteLog, at: tuple, cells: int, mean: float) -> WriteLog:
        """The log of the written cells, extended to the whole matrix: verify reads of the others, conversions, and
        time.

        Time: the cells of a word line (all slices, both of a pair) go together, `write_cells_in_parallel` at a time, in
        `write_arrays_in_parallel` arrays at once; a group lasts as long as its slowest cell.
        """
        chip, layout = self.chip, self.layout
        p, cell = chip.periphery, chip.cell
        others = layout.cells - cells
        verify_joules = log.verify_joules
        if others:
            verify_joules += others * (cell.read_voltage_volts or 0.0) ** 2 * (cell.read_seconds or 0.0) * mean
        verifies = log.verifies + others
        converters = verifies * (p.adc_energy_joules or 0.0)
        slowest = np.zeros((layout.inputs, layout.outputs), np.uint16)
        slowest[at] = log.pulses.max((0, 1)) if log.pulses.size else 0
        times = write_times(chip)
        group = max(1, times.cells_together // (2 * layout.slices))
        turns = -(-2 * layout.slices // times.cells_together)  # slices that need more columns than are driven at once
        starts = np.arange(0, layout.outputs, group)
        pulse_turns = int(np.maximum.reduceat(slowest, starts, axis=1).sum(dtype=np.int64)) * turns
        verify_turns = pulse_turns + layout.inputs * len(starts) * turns  # one look at each group before its pulses
        seconds = (pulse_turns * times.pulse_seconds + verify_turns * times.verify_seconds) / times.arrays
        return dataclasses.replace(
            log,
            verify_joules=verify_joules,
            converter_joules=converters,
            energy_joules=log.cell_joules + log.line_joules + verify_joules + converters,
            verifies=verifies,
            time_seconds=float(seconds),
            pulse_turns=pulse_turns,
            verify_turns=verify_turns,
        )

    def writes_since_deployment(self) -> np.ndarray:
        """How often each cell was written after the first write of the matrix, (slices, 2, in, out)."""
        return self.writes - (0 if self.deployed is None else self.deployed)

    # --- time
    # ----------------------------------------------------------------------------------------------------------------

    def set_time(self, seconds: float) -> None:
        """Set the clock (seconds since the chip was deployed); cells age from the time of their last write."""
        if seconds < self.epoch_seconds[-1]:
            raise ValueError(
                f"the clock cannot go back to {seconds} s: cells were written at {self.epoch_seconds[-1]} s"
            )
        if seconds != self.clock_seconds:
            self.clock_seconds = seconds
            self._cache.clear()

    def _present_epoch(self) -> int:
        """The number of the present reading of the clock among the times of writing."""
        if self.deployed is None:
            self.epoch_seconds = [self.clock_seconds]
        elif self.epoch_seconds[-1] != self.clock_seconds:
            if len(self.epoch_seconds) == EPOCHS_MAX:
                # Merge the two oldest epochs: those cells are judged a little older than they are.
                self.epoch[self.epoch > 0] -= 1
                del self.epoch_seconds[1]
            self.epoch_seconds.append(self.clock_seconds)
        return len(self.epoch_seconds) - 1

    def _aged(self, index: np.ndarray, cells: tuple) -> np.ndarray:
        """Conductance of some cells at the present time; `cells` selects them in every per-cell array."""
        cell = self.chip.cell
        fresh = fresh_seconds(cell)
        states = [aging(cell, self.levels, max(self.clock_seconds - then, fresh)) for then in self.epoch_seconds]
        out = np.empty(index.shape, np.float32)
        rows = (-1, index.shape[-1] or 1)
        tables = [self.programmed, self.level, self.epoch, self.stuck, self.writes]
        arguments: list[np.ndarray] = [
            np.ascontiguousarray(a).reshape(rows) for a in (index, *(t[cells] for t in tables))
        ]
        age_rows: Callable[..., None] = kernels.age_rows
        age_rows(
            *arguments,
            np.stack([s.spread_siemens for s in states]), states[0].exponent_mean, states[0].exponent_sigma,
            np.array([s.log_time for s in states]), self._relaxation_seed, self._drift_seed, out.reshape(rows),
        )  # fmt: skip
        return out

    def conductance_siemens(self) -> np.ndarray:
        """Conductance of every cell at the present time, (slices, 2, in, out) float32, without read noise."""
        index = np.arange(self.layout.cells, dtype=np.uint32).reshape(self.layout.cell_shape)
        return self._aged(index, (slice(None),) * 4)

    # --- what reads use
    # ------------------------------------------------------------------------------------------------------

    @property
    def pairs(self) -> np.ndarray:
        """(slices, in, out) float32: (G+ - G-) / (g_max - g_min) now."""
        return self._cached("pairs")

    @property
    def noise(self) -> np.ndarray:
        """(slices, in, out) float32: read-noise variance of a pair over (g_max - g_min)^2; size 0 without read
        noise. Rounded to 8 bits.
        """
        return from_bfloat16(self.noise_bits)

    @property
    def noise_bits(self) -> np.ndarray:
        """(slices, in, out) uint16: `noise` as bfloat16 bits, the form it is kept in."""
        return self._cached("noise_bits")

    @property
    def row_siemens(self) -> np.ndarray:
        """(in,) float64: summed conductance on each word line, for the energy of a read."""
        return self._cached("row_siemens")

    @property
    def effective(self) -> np.ndarray:
        """The matrix (out, in) float32 that the cells hold now, without converters and read noise."""
        return self._cached("effective")

    @property
    def gains(self) -> np.ndarray:
        """(slices, row_tiles, out) float32: the weight that a full-scale pair stands for."""
        assert self.scale is not None, "written before it is read"
        return (slice_gain(self.layout)[:, None, None] * self.scale[None]).astype(np.float32)

    def _cached(self, name: str) -> np.ndarray:
        if name not in self._cache:
            g = self.conductance_siemens()
            pairs = (g[:, 0] - g[:, 1]) / self._window
            self._cache = {
                "pairs": pairs,
                "noise_bits": self._variance(g)
                if self.chip.cell.read_noise_relative
                else np.empty((0, 0, 0), np.uint16),
                "row_siemens": g.sum((0, 1, 3), dtype=np.float64),
                "effective": np.ascontiguousarray(
                    self._weights(pairs, *np.ogrid[: self.layout.inputs, : self.layout.outputs]).T
                ),
            }
        return self._cache[name]

    @property
    def _window(self) -> np.float32:
        return np.float32(self.chip.cell.g_max_siemens - self.chip.cell.g_min_siemens)

    def _variance(self, g: np.ndarray) -> np.ndarray:
        """Read-noise variance of pairs, as bfloat16 bits."""
        relative = np.float32(self.chip.cell.read_noise_relative or 0.0) / self._window
        return to_bfloat16((g[:, 0] ** 2 + g[:, 1] ** 2) * (relative * relative))

    def _weights(self, pairs: np.ndarray, inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """Weights of pairs (slices, ...) that sit at word lines `inputs` and outputs `outputs`."""
        return (pairs * self.gains[:, inputs // self.layout.rows, outputs]).sum(0)

    def _update(self, index: np.ndarray, at: tuple[Any, ...], before: np.ndarray) -> None:
        """Bring the cache up to date where the weights `at` were written; `before` (slices, 2, n) is what their
        cells held.
        """
        cache = self._cache
        g = self._aged(index, (slice(None), slice(None), *at))
        pairs = (g[:, 0] - g[:, 1]) / self._window
        cache["pairs"][:, *at] = pairs
        if cache["noise_bits"].size:
            cache["noise_bits"][:, *at] = self._variance(g)
        np.add.at(cache["row_siemens"], at[0], (g - before).sum((0, 1), dtype=np.float64))
        cache["effective"][at[1], at[0]] = self._weights(pairs, *at)


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """The bits (uint16) of the bfloat16 numbers nearest to float32 values; half of an 8-bit step up for ties."""
    return ((np.ascontiguousarray(values, np.float32).view(np.uint32) + np.uint32(0x8000)) >> np.uint32(16)).astype(
        np.uint16
    )


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """The float32 values of bfloat16 bits (uint16)."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def draw_faults(chip: Chip, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Independent stuck-at faults, once per array: uint8 map of pulse_kernel.HEALTHY, STUCK_LOW, STUCK_HIGH."""
    low, high = chip.cell.stuck_low_fraction or 0.0, chip.cell.stuck_high_fraction or 0.0
    stuck = np.zeros(shape, np.uint8)
    if low or high:
        draw = rng.random(shape, dtype=np.float32)
        stuck[draw < low] = pulse_kernel.STUCK_LOW
        stuck[draw >= 1.0 - high] = pulse_kernel.STUCK_HIGH
    return stuck
