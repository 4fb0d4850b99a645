"""The cells of one matrix: what they were written to, what they are now, which are stuck, and how worn they are.

Kept small: two numbers for most cells, a float32 and its share of an integer. The level of a cell follows from the
integer of its weight; stuck cells, and those that a write left as they were, are short lists; counters of rewrites, and
times of writing that differ, exist only once something was rewritten. A cell's number is its place in (slices,
polarities, inputs, sensed).
"""

import copy
import dataclasses

import numpy as np

from ..devices import Chip
from . import faults, kernels, randoms
from .counting import line_farads
from .effects import Acting
from .mapping import Layout, integer_type, level_siemens, to_levels
from .pulse_kernel import HEALTHY, STUCK_HIGH, WORN_OUT
from .read_noise import ReadNoise, read_noise
from .retention import aging, relaxes
from .writing import WriteLog, program_cells, tolerance_siemens

# Epochs are numbered in a byte.
EPOCHS_MAX = 255
ENDURANCE, SPARES = 2, 3  # families of random numbers
At = tuple[np.ndarray, np.ndarray]  # word lines and outputs of some weights


class Cells:
    """The cells of a matrix; erased at first (all at g_min, stuck cells at their stuck value)."""

    def __init__(self, chip: Chip, layout: Layout, rng: np.random.Generator):
        self.chip, self.layout = chip, layout
        self.levels = level_siemens(chip)
        # Verify reads take as long as others do in this chip.
        self._verified = dataclasses.replace(chip.cell, read_seconds=chip.integration_seconds)
        self._rng = rng
        self._spread_seed, self._relaxation_seed, self._drift_seed = (randoms.draw_seed(rng) for _ in range(3))
        stuck = faults.draw_faults(chip, layout.cell_shape, rng)
        self._faulty = np.flatnonzero(stuck).astype(np.uint32)
        self._fault = stuck.reshape(-1)[self._faulty]
        self.integers = np.zeros((layout.inputs, layout.outputs), integer_type(layout))
        erased = np.full(layout.cells, self.levels[0], np.float32)
        erased[self._faulty[self._fault == STUCK_HIGH]] = self.levels[-1]
        self.programmed = erased.reshape(layout.cell_shape)
        # Which spare group of its array holds an output, (row_tiles, sensed) int16, -1 for none.
        self.spares: np.ndarray | None = None
        # Cells that verify found inside the tolerance of another level and left alone, by number, and the level that
        # they were last pulsed for: they go on ageing by that one.
        self._left = np.empty(0, np.uint32)
        self._left_level = np.empty(0, np.uint8)
        self._pulsed_first: np.ndarray | None = None  # bits: the cells that the first write pulsed
        self._rewrites: np.ndarray | None = None
        self._epoch: np.ndarray | None = None  # which of `epoch_seconds` a cell was last written in
        self.epoch_seconds = [0.0]
        self.clock_seconds = 0.0
        self.acting: tuple[Acting, ...] = ()
        # How long each word line was driven so far, (in,), and had been when a cell was last written: see `driven`.
        self.driven: np.ndarray | None = None
        self._driven_before: np.ndarray | None = None

    def seed(self, family: int) -> np.uint64:
        """The seed of one more family of random numbers of these cells."""
        return randoms.derived_seed(self._spread_seed, family)

    def clone(self, rng: np.random.Generator) -> "Cells":
        """The same cells in the same state, to be written on their own with pulses drawn from `rng`."""
        twin = copy.copy(self)
        twin._rng = rng
        for name in ("integers", "programmed", "_rewrites", "_epoch", "_driven_before"):
            value = getattr(self, name)
            setattr(twin, name, None if value is None else value.copy())
        twin.epoch_seconds = list(self.epoch_seconds)
        return twin

    # --- writing
    # -------------------------------------------------------------------------------------------------------------

    @property
    def nbytes(self) -> int:
        """Memory of the cells."""
        kept = (
            self.integers,
            self.programmed,
            self._faulty,
            self._fault,
            self._left,
            self._left_level,
            self._pulsed_first,
            self._rewrites,
            self._epoch,
            self._driven_before,
        )
        return sum(a.nbytes for a in kept if a is not None)

    @property
    def deployed(self) -> bool:
        """Whether the cells were written at all."""
        return self._pulsed_first is not None

    def write(self, wanted: np.ndarray, at: At | None) -> tuple[WriteLog, np.ndarray]:
        """Program the cells of integers `wanted` (in, out), all or those `at` some weights, from what they are now.

        Returns the log, of cells (slices, polarities, ...), and the conductance they had before.
        """
        level = self._levels_of(wanted, at)
        index = self._index(at)
        aged_by = self._pulsed_levels(at) if self.deployed else level
        before = self.present(at) if self.deployed else self._take(self.programmed, index)
        if self.deployed:
            self._wear_out(index, before)
        written, log = program_cells(
            self.levels[level], self._verified, self._rng, before, stuck=self._stuck_of(index, level.shape),
            index=self._identity(index), spread_seed=self._spread_seed, line_farads=line_farads(self.chip),
        )  # fmt: skip
        pulsed = log.pulses > 0
        # A cell that was not pulsed keeps its programmed value and its place on the relaxation curve.
        flat = self.programmed.reshape(-1)
        if index is None:
            np.copyto(self.programmed, written, where=pulsed, casting="unsafe")
        else:
            flat[index[pulsed]] = written[pulsed]
        self._leave(index, pulsed, level, aged_by)
        self._note(index, pulsed)
        self.integers = wanted
        return log, before

    def _leave(self, index: np.ndarray | None, pulsed: np.ndarray, level: np.ndarray, aged_by: np.ndarray) -> None:
        """Note which of the written cells go on ageing by another level than the one that they are to have."""
        left = ~pulsed & (aged_by != level)
        if not (self._left.size or left.any()):
            return
        if index is None:
            self._left, self._left_level = np.flatnonzero(left).astype(np.uint32), aged_by[left]
            return
        others = ~np.isin(self._left, index)
        numbers = np.concatenate([self._left[others], index[left]])
        order = np.argsort(numbers)
        self._left = numbers[order]
        self._left_level = np.concatenate([self._left_level[others], aged_by[left]])[order]

    def move_to_spares(self, failed: np.ndarray) -> tuple[WriteLog, At, np.ndarray] | None:
        """Write the outputs with most `failed` cells (slices, polarities, inputs, sensed) of each array to its spare
        columns, and let those with fewer failed cells stay there. After the first write of a matrix.

        Returns the log of the spare cells (slices, polarities, n), their weights, and which of these were given up (the
        spare ones, where they are no better); None where there is nothing to do.
        """
        layout, groups = self.layout, faults.spare_groups(self.chip, self.layout)
        if not groups:
            return None
        starts = np.arange(0, layout.inputs, layout.rows)
        bad = np.add.reduceat(failed.sum((0, 1), dtype=np.int32), starts, axis=0)
        chosen = faults.choose_columns(bad, layout, groups)
        if (chosen < 0).all():
            return None
        every_tile = np.arange(layout.inputs) // layout.rows
        rows, columns = np.nonzero((chosen >= 0)[every_tile])
        at = rows, columns
        standby = faults.draw_faults(
            self.chip, (*layout.cell_shape[:2], layout.inputs, layout.column_tiles * groups),
            np.random.default_rng(int(self.seed(SPARES))),
        )  # fmt: skip
        group = layout.array_of_output()[columns] * groups + chosen[every_tile[rows], columns]
        stuck = standby[:, :, rows, group]
        erased = np.where(stuck == STUCK_HIGH, self.levels[-1], self.levels[0])
        index = self._index(at)
        assert index is not None
        written, log = program_cells(
            self.levels[self._levels_of(self.integers, at)], self._verified, self._rng, erased, stuck=stuck,
            index=index + np.uint32(layout.cells), spread_seed=self._spread_seed, line_farads=line_farads(self.chip),
        )  # fmt: skip
        left = np.zeros(bad.shape, np.int32)
        np.add.at(left, (every_tile[rows], columns), log.failed.sum((0, 1), dtype=np.int32))
        chosen[left >= bad] = -1
        self.spares = chosen if (chosen >= 0).any() else None
        stays = chosen[every_tile[rows], columns] >= 0
        self._take_over(index[..., stays], written[..., stays], stuck[..., stays], log.pulses[..., stays] > 0)
        return log, at, ~stays

    def _take_over(self, index: np.ndarray, written: np.ndarray, stuck: np.ndarray, pulsed: np.ndarray) -> None:
        """Put cells of spare columns in the place of those with the numbers `index`."""
        self.programmed.reshape(-1)[index] = written
        bits = np.unpackbits(self._pulsed_first, count=self.layout.cells)  # type: ignore[arg-type]
        bits[index] = pulsed
        self._pulsed_first = np.packbits(bits)
        fault = self.stuck
        fault.reshape(-1)[index] = stuck
        self._faulty = np.flatnonzero(fault).astype(np.uint32)
        self._fault = fault.reshape(-1)[self._faulty]

    def _identity(self, index: np.ndarray | None) -> np.ndarray | None:
        """The numbers that the random properties of cells go by: cells of spare columns have others than those in whose
        place they are.
        """
        if self.spares is None:
            return index
        layout = self.layout
        every = np.arange(layout.cells, dtype=np.uint32).reshape(layout.cell_shape) if index is None else index
        weight = every % np.uint32(layout.inputs * layout.sensed)
        moved = self.spares[weight // np.uint32(layout.sensed * layout.rows), weight % np.uint32(layout.sensed)] >= 0
        return np.where(moved, every + np.uint32(layout.cells), every)

    def _note(self, index: np.ndarray | None, pulsed: np.ndarray) -> None:
        """Count the writes of the cells that were pulsed, and note when it was."""
        if self._pulsed_first is None:
            self._present_epoch()
            self._pulsed_first = np.packbits(pulsed)
            return
        touched = np.flatnonzero(pulsed) if index is None else index[pulsed]
        if not touched.size:
            return
        now = self._present_epoch()
        if self._rewrites is None:
            self._rewrites = np.zeros(self.layout.cell_shape, np.uint8)
        counts = self._rewrites.reshape(-1)
        if counts[touched].max() == np.iinfo(counts.dtype).max:
            self._rewrites = self._rewrites.astype(np.uint16 if counts.itemsize == 1 else np.uint32)
            counts = self._rewrites.reshape(-1)
        counts[touched] += 1
        if self.driven is not None:
            if self._driven_before is None:
                self._driven_before = np.zeros(self.layout.cell_shape, np.float32)
            row = touched // np.uint32(self.layout.sensed) % np.uint32(self.layout.inputs)
            self._driven_before.reshape(-1)[touched] = self.driven[row]
        if now > 0:
            if self._epoch is None:
                self._epoch = np.zeros(self.layout.cell_shape, np.uint8)
            self._epoch.reshape(-1)[touched] = now

    def _wear_out(self, index: np.ndarray | None, present: np.ndarray) -> None:
        """Cells that had all the writes they survive stay as they are."""
        cell = self.chip.cell
        if self._rewrites is None or cell.endurance_spread is None:
            return
        number = np.arange(self.layout.cells, dtype=np.uint32) if index is None else index
        identity = self._identity(number)
        assert identity is not None
        limit = faults.endurance(self.chip, self.seed(ENDURANCE), identity.reshape(-1))
        if limit is None:
            return
        had = self.writes.reshape(-1)[number.reshape(-1)]
        dead = had >= limit
        if self._faulty.size:
            dead &= self._stuck_of(number.reshape(-1), (number.size,)) == HEALTHY
        if dead.any():
            new = number.reshape(-1)[dead]
            self.programmed.reshape(-1)[new] = present.reshape(-1)[dead]
            both = np.concatenate([self._faulty, new])
            order = np.argsort(both)
            kinds = np.concatenate([self._fault, np.full(new.size, WORN_OUT, np.uint8)])
            self._faulty, self._fault = both[order], kinds[order]

    @property
    def stuck(self) -> np.ndarray:
        """Map (slices, polarities, inputs, sensed) uint8 of HEALTHY, STUCK_LOW, STUCK_HIGH and WORN_OUT."""
        stuck = np.zeros(self.layout.cell_shape, np.uint8)
        stuck.reshape(-1)[self._faulty] = self._fault
        return stuck

    @property
    def rewrites(self) -> np.ndarray:
        """How often each cell was written after the first write of the matrix, (slices, polarities, inputs, sensed)."""
        return np.zeros(self.layout.cell_shape, np.uint8) if self._rewrites is None else self._rewrites

    @property
    def writes(self) -> np.ndarray:
        """How often each cell was written, the first write of the matrix included."""
        if self._pulsed_first is None:
            return self.rewrites
        first = np.unpackbits(self._pulsed_first, count=self.layout.cells).reshape(self.layout.cell_shape)
        return self.rewrites.astype(np.uint32) + first

    # --- time
    # ----------------------------------------------------------------------------------------------------------------

    def set_time(self, seconds: float) -> None:
        """Set the clock (seconds since the chip was deployed); cells age from the time of their last write."""
        if seconds < self.epoch_seconds[-1]:
            raise ValueError(
                f"the clock cannot go back to {seconds} s: cells were written at {self.epoch_seconds[-1]} s"
            )
        self.clock_seconds = seconds

    def _present_epoch(self) -> int:
        """The number of the present reading of the clock among the times of writing."""
        if not self.deployed:
            self.epoch_seconds = [self.clock_seconds]
        elif self.epoch_seconds[-1] != self.clock_seconds:
            if len(self.epoch_seconds) == EPOCHS_MAX:
                # Cells age by the logarithm of time: the two epochs that are nearest in it become one, the older.
                ages = np.log1p(self.clock_seconds - np.array(self.epoch_seconds))
                kept = int(np.argmin(ages[:-1] - ages[1:]))
                if self._epoch is not None:
                    self._epoch[self._epoch > kept] -= 1
                del self.epoch_seconds[kept + 1]
            self.epoch_seconds.append(self.clock_seconds)
        return len(self.epoch_seconds) - 1

    def _ages(self) -> list[float]:
        return [self.clock_seconds - then for then in self.epoch_seconds]

    def present(self, at: At | None = None) -> np.ndarray:
        """Conductance at the present time, without read noise, of all cells (slices, polarities, inputs, sensed), or of
        those of some weights (slices, polarities, n): float32.
        """
        cell, index = self.chip.cell, self._index(at)
        level = self._pulsed_levels(at)
        states = [aging(cell, self.levels, age) for age in self._ages()]
        reach = tolerance_siemens(cell, self.levels) * (1.0 + 1e-6)
        tables = np.array(
            [[self.levels, reach, s.shift_siemens, s.spread_siemens, s.exponent_mean, s.exponent_sigma] for s in states]
        )
        none, identity = np.empty(0, np.uint8), self._identity(index)
        rewrites, epoch = (
            none if table is None else self._take(table, index).reshape(-1) for table in (self._rewrites, self._epoch)
        )
        out = np.empty(level.shape, np.float32)
        kernels.age_cells(
            none.astype(np.uint32) if identity is None else identity.reshape(-1),
            self._take(self.programmed, index).reshape(-1), level.reshape(-1), epoch,
            self._stuck_of(index, level.shape).reshape(-1), rewrites.astype(np.uint16),
            self._relaxation_seed, self._drift_seed, np.ascontiguousarray(tables.swapaxes(0, 1)),
            np.array([s.log_time for s in states]), relaxes(cell), out.reshape(-1),
        )  # fmt: skip
        for acting in self.acting:
            out = acting.present(out, self, at)
        return out

    def healthy(self, at: At | None) -> np.ndarray | bool:
        """Which cells are not stuck, of all or of some weights; True: none is."""
        index = self._index(at)
        stuck = self._stuck_of(index, self.layout.cell_shape if index is None else index.shape)
        return stuck == HEALTHY if stuck.size else True

    def driven_cycles(self, at: At | None) -> np.ndarray:
        """For how long cells were driven since their last write, in reads at full voltage: of all, (slices, polarities,
        inputs, sensed), or of those of some weights; or of a shape that numpy brings to it.
        """
        driven = np.zeros(self.layout.inputs) if self.driven is None else self.driven
        so_far = driven[:, None] if at is None else driven[at[0]]
        if self._driven_before is None:
            return so_far
        # A chip may have written what a fork of it reads, after reads that the fork knows nothing of.
        return np.maximum(so_far - self._take(self._driven_before, self._index(at)), 0.0)

    def noise(self) -> list[ReadNoise]:
        """The read noise of every level at the present time, for each epoch."""
        return [read_noise(self.chip.cell, self.levels, age) for age in self._ages()]

    # --- which cell is which
    # ------------------------------------------------------------------------------------------------------------

    def level_and_epoch(self, at: At | None) -> tuple[np.ndarray, np.ndarray | int]:
        """The level that cells were last pulsed for, and the epoch of it: of all, or of those of some weights."""
        epoch = 0 if self._epoch is None else self._take(self._epoch, self._index(at))
        return self._pulsed_levels(at), epoch

    @property
    def target_siemens(self) -> np.ndarray:
        """What every cell was to be written to."""
        return self.levels[self._levels_of(self.integers, None)]

    def _pulsed_levels(self, at: At | None) -> np.ndarray:
        """The levels that the cells of all weights, or of some, were last pulsed for: that of the weight, unless verify
        found the cell good for it as it was.
        """
        level, index = self._levels_of(self.integers, at), self._index(at)
        if not self._left.size:
            return level
        if index is None:
            level.reshape(-1)[self._left] = self._left_level
            return level
        place = np.minimum(np.searchsorted(self._left, index), self._left.size - 1)
        return np.where(self._left[place] == index, self._left_level[place], level)

    def _levels_of(self, integers: np.ndarray, at: At | None) -> np.ndarray:
        """Levels (slices, polarities, inputs, sensed), or (slices, polarities, n) of some weights; uint8. References
        are weights of zero.
        """
        if self.layout.references:
            integers = np.pad(integers, ((0, 0), (0, self.layout.references)))
        return to_levels(integers if at is None else integers[at], self.layout)

    def _index(self, at: At | None) -> np.ndarray | None:
        """The numbers of the cells of some weights, (slices, polarities, n) uint32; None for all."""
        if at is None:
            return None
        layout = self.layout
        weight = at[0].astype(np.uint32) * np.uint32(layout.sensed) + at[1].astype(np.uint32)
        group = np.arange(layout.cells_per_weight, dtype=np.uint32) * np.uint32(layout.inputs * layout.sensed)
        return group.reshape(layout.slices, layout.polarities, 1) + weight

    @staticmethod
    def _take(table: np.ndarray, index: np.ndarray | None) -> np.ndarray:
        return table if index is None else table.reshape(-1)[index]

    def _stuck_of(self, index: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
        """The faults of cells, in a shape; of size 0 if there is none in the matrix."""
        if not self._faulty.size:
            return np.empty(0, np.uint8)
        if index is None:
            return self.stuck
        place = np.minimum(np.searchsorted(self._faulty, index), self._faulty.size - 1)
        return np.where(self._faulty[place] == index, self._fault[place], HEALTHY).astype(np.uint8).reshape(shape)
