"""One matrix in crossbar arrays: written to cells, and as what reads use at the present time."""

import copy
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

import numpy as np

from ..devices import Chip
from ..errors import UsageError
from . import turns
from .aligned import aligned, copied
from .bfloat16 import from_bfloat16
from .cells import At, Cells
from .effects import Acting, Held, acting_on
from .effects.protocol import Kept
from .fixed_point import FixedPoint, fixed_point
from .ir_drop import ArrayWires, Place, sensed_of, word_lines
from .mapping import Layout, Some, checked_scale, integers, meant, scale_for, slice_gain
from .mismatch import Mismatch
from .spares import with_spares
from .writing import WriteLog

FIXED = tuple(f"fixed {field}" for field in FixedPoint._fields)  # in the cache
MISMATCH = 1  # a family of random numbers of a matrix
NO_BITS = np.empty((0, 0, 0), np.uint16)
TIMES_KEPT, BYTES_KEPT = 6, 1 << 24  # most earlier readings of the clock whose effective conductances are kept


class Sums(Acting):
    """pairs (slices, in, sensed) float32: what a column adds per full drive, over (g_max - g_min): G+ - G-, or G.
    row_siemens (in,) float64: summed conductance on each word line.
    """

    def columns(self, held: Held) -> Kept:
        return {"pairs": held.differences(held.seen)}

    def lines(self, held: Held) -> Kept:
        return {"row_siemens": held.seen}


class CrossbarMatrix:
    """A matrix (out, in) in cells; per-cell arrays have shape (slices, polarities, in, sensed), see `mapping.Layout`.

    Created erased; `write` programs it. The properties `pairs`, `noise_bits` and `row_siemens` are what reads use, at
    the present time; a rewrite updates them in place where cells changed. With wires (`array.wires`) they are those of
    the effective conductances; a rewrite updates the arrays in which a cell changed.
    """

    def __init__(
        self, chip: Chip, shape: tuple[int, int], rng: np.random.Generator, scale: np.ndarray | None = None,
        wires: bool = True,
    ):  # fmt: skip
        self.chip = chip
        self.wires = ArrayWires.of(chip) if wires else None
        self.layout = Layout.of(chip, shape)
        self._made_by = copy.deepcopy(rng)
        self.scale = None if scale is None else checked_scale(scale, self.layout)
        self._cells: Cells | None = Cells(chip, self.layout, rng)
        self._frozen_seconds = 0.0
        self.mismatch = Mismatch(chip, self.layout, self._cells.seed(MISMATCH))
        self.acting = (Sums(), *acting_on(chip, self.mismatch))
        self.adding = tuple(acting for acting in self.acting if acting.adds)
        self.counts = any(acting.counts for acting in self.acting)
        self._cells.acting = self.acting
        self._cache: dict[str, np.ndarray] = {}
        self._at_times: dict[float, dict[str, np.ndarray]] = {}
        # Of `compensation`: what its reads gave first, what was found since the last write, by time, and the factor
        # (out,) of the present.
        self.baseline: Any = None
        self.looks: dict[float, Any] = {}
        self.drift_factor: np.ndarray | None = None

    def erased(self) -> "CrossbarMatrix":
        """The same cells before anything was written to them: their faults and their own ways are the same."""
        layout, rng = self.layout, copy.deepcopy(self._made_by)
        return CrossbarMatrix(self.chip, (layout.outputs, layout.inputs), rng, wires=self.wires is not None)

    def clone(self, rng: np.random.Generator) -> "CrossbarMatrix":
        """The same cells in the same state, to be written on its own with pulses drawn from `rng`."""
        twin = copy.copy(self)
        twin._cells = self.cells.clone(rng)
        # Without wires they are computed sooner than copied.
        twin._cache = {name: copied(values) for name, values in self._cache.items()} if self.wires else {}
        twin._at_times, twin.looks = {}, dict(self.looks)
        return twin

    @property
    def cells(self) -> Cells:
        """The cells; UsageError for what `frozen` gave."""
        if self._cells is None:
            raise UsageError("only what reads need was kept of this matrix (freeze_reading): its cells cannot be "
                             "looked at, written or aged any more")  # fmt: skip
        return self._cells

    @property
    def clock_seconds(self) -> float:
        """The time that the cells are at, or were when the rest was frozen."""
        return self._frozen_seconds if self._cells is None else self._cells.clock_seconds

    # --- writing
    # -------------------------------------------------------------------------------------------------------------

    def write(self, weight: np.ndarray, refresh: bool = False, only: Some | None = None) -> WriteLog:
        """Program the matrix (out, in) and return the log of every cell's pulses, periphery included.

        The first write fixes the scale (unless given) and programs every cell from its erased state; where all weights
        that share a scale are zero it is 0, and a later write fixes it. A later write starts from the present
        conductance, aged as it is. Cells of weights that are unchanged stay as they are: they are not even looked at,
        or looked at once in vain where `write.unchanged` says so; with `refresh` they too are brought back into
        tolerance if they have left it. Wear counts the cells that were pulsed.

        `only`: some of the outputs or inputs, of a later write: the others are neither written nor looked at, whatever
        `weight` has there.
        """
        cells = self.cells
        weight = np.asarray(weight, np.float32)
        if weight.shape != (self.layout.outputs, self.layout.inputs):
            raise UsageError(f"the matrix is {self.layout.outputs} x {self.layout.inputs}; got shape {weight.shape}")
        self.scale = scale_for(self.chip, self.layout, weight, self.scale)
        self.__dict__.pop("_weight_gains", None)
        wanted = integers(weight, self.scale, self.layout)
        old = None if self.baseline is None else meant(self.integers, self.scale, self.layout)
        first, unchanged = not cells.deployed, self.chip.periphery.write_unchanged
        refresh = refresh or unchanged == "refresh"
        if only is not None:
            chosen = np.zeros(wanted.shape, bool)
            chosen[(slice(None), only.numbers) if only.axis == 0 else only.numbers] = True
            wanted = np.where(chosen, wanted, cells.integers)
        everything = (refresh and only is None) or first
        at = None if everything else changed(wanted, cells.integers)
        if refresh and only is not None:
            rows, outputs = np.nonzero(chosen)
            at = rows, outputs
        # Looked up before anything changes: cells that stay are verified at the conductance they have.
        mean = 0.0 if everything or unchanged != "verify" else float(self.row_siemens.sum()) / self.layout.cells
        log, before = cells.write(wanted, at)
        log = turns.whole_log(log, chip=self.chip, layout=self.layout, at=at, mean_siemens=mean, only=only)
        if first:
            log = with_spares(log, cells)
        self._at_times.clear()
        self._follow(old, refresh and log.cells_pulsed > 0)
        if at is None:
            self._cache = {}
        elif at[0].size and self._cache:  # else the next read computes everything
            self._derive(at, before)
        return log

    def _follow(self, old: np.ndarray | None, anew: bool) -> None:
        """Bring the first results of drift compensation up to date, or let go of them; `old`: the weights before."""
        if old is None or anew or self.scale is None:
            self.baseline, self.drift_factor = None, None
            self.looks.clear()
        elif (difference := meant(self.integers, self.scale, self.layout) - old).any():
            self.baseline = self.baseline.rewritten(self, difference)
            self.looks.clear()

    # --- looking
    # -------------------------------------------------------------------------------------------------------------

    @property
    def integers(self) -> np.ndarray:
        """The integers of the weights, (in, out)."""
        return self.cells.integers

    @property
    def writes(self) -> np.ndarray:
        """How often each cell was written, (slices, polarities, in, sensed)."""
        return self.cells.writes

    @property
    def stuck(self) -> np.ndarray:
        """Which cells do not work, and how: see `Cells.stuck`."""
        return self.cells.stuck

    def writes_since_deployment(self) -> np.ndarray:
        """How often each cell was written after the first write of the matrix, (slices, polarities, in, sensed)."""
        return self.cells.rewrites

    def target_siemens(self) -> np.ndarray:
        """What every cell was to be written to, (slices, polarities, in, sensed)."""
        return self.cells.target_siemens

    def conductance_siemens(self) -> np.ndarray:
        """Conductance of every cell at the present time, (slices, polarities, in, sensed) float32.

        Without read noise.
        """
        return self.cells.present()

    def set_time(self, seconds: float) -> None:
        """Set the clock (seconds since the chip was deployed); cells age from the time of their last write."""
        if self._cells is None or seconds != self._cells.clock_seconds:
            before = self.cells.clock_seconds
            self.cells.set_time(seconds)
            if self.wires and self._cache:
                self._at_times[before] = self._cache
                while len(self._at_times) > TIMES_KEPT or _bytes_of(self._at_times.values()) > BYTES_KEPT:
                    del self._at_times[next(iter(self._at_times))]
            self._cache = self._at_times.pop(seconds, {})

    def set_driven(self, cycles: np.ndarray) -> None:
        """Set how long each word line was driven so far, (in,) in reads at full voltage, for effects that count it.

        What is frozen stays as it is.
        """
        if self._cells is None or self._cells.driven is cycles:
            return
        before, self._cells.driven = self._cells.driven, cycles
        if cycles.any() if before is None else not np.array_equal(before, cycles):
            self._cache, self._at_times = {}, {}
            self.looks.clear()

    def prepare(self, on_arrays: Callable[[int], None] | None = None) -> None:
        """Compute what reads use at the present time, unless it is known; `on_arrays` is called now and then with the
        number of arrays whose wires are done since the last call.
        """
        if not self._cache:
            self._derive(on_arrays=on_arrays)

    @property
    def unsolved(self) -> bool:
        """Whether there are wires, and what reads see behind them at the present time is not known yet."""
        return self.wires is not None and not self._cache

    def frozen(self) -> "CrossbarMatrix":
        """What reads need at the present time, and nothing else; a matrix that goes on being used looks anew."""
        self.prepare()
        twin = copy.copy(self)
        twin._cells, twin._frozen_seconds, twin._at_times = None, self.clock_seconds, {}
        twin.baseline, twin.looks = None, {}
        self._cache = {}  # a write changes it in place
        return twin

    @property
    def nbytes(self) -> int:
        """Memory of the matrix."""
        own = [] if self.baseline is None else [self.baseline.mean, self.baseline.squares]
        own += [self.scale, *(look.factor for look in self.looks.values())]
        own += [*(a for cache in (self._cache, *self._at_times.values()) for a in cache.values())]
        return sum(a.nbytes for a in own if a is not None) + (self._cells.nbytes if self._cells else 0)

    # --- what reads use
    # ------------------------------------------------------------------------------------------------------

    @property
    def pairs(self) -> np.ndarray:
        """(slices, in, sensed) float32: what a column adds per full drive, over (g_max - g_min): G+ - G-, or G."""
        return self.kept("pairs")

    @property
    def noise_bits(self) -> np.ndarray:
        """(slices, in, sensed) uint16: read-noise variance of `pairs` as bfloat16 bits; size 0 without read noise."""
        self.prepare()
        return self._cache.get("noise_bits", NO_BITS)

    @property
    def noise(self) -> np.ndarray:
        """(slices, in, sensed) float32: read-noise variance of `pairs`, rounded to 8 bits."""
        return aligned(from_bfloat16(self.noise_bits))

    @property
    def fixed_point(self) -> FixedPoint:
        """`pairs` and `noise_bits` as whole numbers."""
        if FIXED[0] not in self._cache:
            self._cache |= dict(zip(FIXED, fixed_point(self.pairs, self.noise_bits, self.layout.rows), strict=True))
        return FixedPoint(*(self._cache[name] for name in FIXED))

    @property
    def row_siemens(self) -> np.ndarray:
        """(in,) float64: summed conductance on each word line, for the energy of a read."""
        return self.kept("row_siemens")

    @property
    def gains(self) -> np.ndarray:
        """(slices, row_tiles, out) float32: what the result of a full-scale digit is multiplied by."""
        return self._weight_gains if self.drift_factor is None else self._weight_gains * self.drift_factor

    @cached_property
    def _weight_gains(self) -> np.ndarray:
        """(slices, row_tiles, out) float32: the weight that a full-scale digit stands for."""
        assert self.scale is not None, "written before it is read"
        return (slice_gain(self.layout)[:, None, None] * self.scale[None]).astype(np.float32)

    @cached_property
    def reference(self) -> np.ndarray:
        """(out,) int32: which sensed column each output is taken against; size 0 for differential pairs."""
        layout = self.layout
        if not layout.references:
            return np.empty(0, np.int32)
        return (layout.outputs + layout.array_of_output()[: layout.outputs]).astype(np.int32)

    @property
    def effective(self) -> np.ndarray:
        """The matrix (out, in) float32 that the cells hold now, without converters and read noise. Computed anew."""
        held = np.zeros((self.layout.inputs, self.layout.outputs), np.float32)
        for s, rows, gain in self._pieces():
            held[rows] += self._digits(s, rows) * gain
        return np.ascontiguousarray(held.T)

    def product(self, x: np.ndarray, multiply: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
        """x (vectors, in) times what the cells hold: (vectors, out), without converters and read noise."""
        parts = [multiply(x[:, rows], self._digits(s, rows)) * gain for s, rows, gain in self._pieces()]
        return sum(parts[1:], parts[0])

    def transposed_product(self, y: np.ndarray, multiply: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
        """y (vectors, out) times the transposed of what the cells hold: (vectors, in)."""
        out = np.zeros((len(y), self.layout.inputs), np.float32)
        for s, rows, gain in self._pieces():
            out[:, rows] += multiply(y * gain, self._digits(s, rows).T)
        return out

    def _pieces(self) -> list[tuple[int, slice, np.ndarray]]:
        """(slice, word lines, gain (out,)) of what shares gains: whole slices, or the stacks of arrays of each."""
        gains, rows = self.gains, self.layout.rows
        if (gains == gains[:, :1]).all():
            return [(s, slice(0, self.layout.inputs), gains[s, 0]) for s in range(self.layout.slices)]
        return [
            (s, slice(tile * rows, min((tile + 1) * rows, self.layout.inputs)), gains[s, tile])
            for s in range(self.layout.slices)
            for tile in range(self.layout.row_tiles)
        ]

    def _digits(self, s: int, rows: slice) -> np.ndarray:
        """(rows, out): the signed digits of a slice, over levels - 1."""
        pairs = self.pairs[s, rows]
        return pairs if not self.layout.references else pairs[:, : self.layout.outputs] - pairs[:, self.reference]

    def kept(self, name: str) -> np.ndarray:
        """What an effect keeps of the cells for reads at the present time, by its name; KeyError where none does."""
        self.prepare()
        return self._cache[name]

    def _derive(
        self, at: At | None = None, before: np.ndarray | None = None, on_arrays: Callable[[int], None] | None = None
    ) -> None:
        """Compute what reads use at the present time, of all cells; or bring it up to date where the weights `at` were
        written, `before` (slices, polarities, n) being what their cells held.

        Behind wires a cell is seen differently when its neighbours change: the arrays of the weights are done anew.
        """
        for name in FIXED:
            self._cache.pop(name, None)
        touched = None if at is None or self.wires is None else self._arrays_of(at)
        now = self._held(at if self.wires is None else None, touched, on_arrays)
        parts = [(now, (...,) if at is None else (..., *at))]
        if touched is not None:
            parts = [(now.part(where), where) for where in (self._place_of(array) for array in touched)]
        for acting in self.acting:
            for held, where in parts:
                for name, values in acting.columns(held).items():
                    if name in self._cache:
                        self._cache[name][where] = values
                    else:
                        self._cache[name] = aligned(values)
            if touched is not None:
                self._sum_arrays(acting, dict(zip(touched, parts, strict=True)))
            elif at is not None and before is not None:
                self._sum_changes(acting, at[0], now, Held(self.cells, at, before, before))
            else:
                self._sum_all(acting, now)

    def _held(
        self, at: At | None, only: set[Place] | None = None, on_arrays: Callable[[int], None] | None = None
    ) -> Held:
        """The cells of all weights, or of some, at the present time, and what is seen of them behind the wires."""
        g = seen = self.cells.present(at)
        if self.wires is not None:
            seen = self.wires.behind(g, self.layout, self.cells.spares, only=only, on_arrays=on_arrays)
        return Held(self.cells, at, g, seen)

    def _sum_all(self, acting: Acting, held: Held) -> None:
        """Sums of word lines; with wires those of each array, too."""
        for name, values in acting.lines(held).items():
            self._cache[name] = _line_sums(values)
            if self.wires is not None:
                arrays = [sensed_of(self.layout, array) for array in range(self.layout.column_tiles)]
                self._cache[f"{name} by array"] = np.stack([_line_sums(values[..., sensed]) for sensed in arrays])

    def _sum_arrays(self, acting: Acting, parts: dict[Place, tuple[Held, tuple[Any, ...]]]) -> None:
        """Sums of word lines after some arrays changed."""
        for (_, array), (held, where) in parts.items():
            for name, values in acting.lines(held).items():
                self._cache[f"{name} by array"][array, ..., where[1]] = _line_sums(values)
        for name in acting.lines(held):
            self._cache[name][...] = self._cache[f"{name} by array"].sum(0)

    def _sum_changes(self, acting: Acting, rows: np.ndarray, now: Held, then: Held) -> None:
        """Sums of word lines after weights on `rows` changed."""
        before = acting.lines(then)
        for name, values in acting.lines(now).items():
            more = (values - before[name]).sum((-3, -2), dtype=np.float64)
            inputs = self.layout.inputs
            for line, change in zip(self._cache[name].reshape(-1, inputs), more.reshape(-1, len(rows)), strict=True):
                np.add.at(line, rows, change)

    def _arrays_of(self, at: At) -> set[Place]:
        """The arrays in which weights lie."""
        tile, array = at[0] // self.layout.rows, at[1] // self.layout.outputs_per_array
        return set(zip(tile.tolist(), array.tolist(), strict=True))

    def _place_of(self, place: Place) -> tuple[Any, ...]:
        """Where the cells of an array are among those of the matrix."""
        return ..., word_lines(self.layout, place[0]), sensed_of(self.layout, place[1])


def _line_sums(siemens: np.ndarray) -> np.ndarray:
    """(..., in) float64: sums over each word line of (..., slices, polarities, in, sensed)."""
    return siemens.sum((-4, -3, -1), dtype=np.float64)


def _bytes_of(caches: Iterable[dict[str, np.ndarray]]) -> int:
    return sum(values.nbytes for cache in caches for values in cache.values())


def changed(new: np.ndarray, old: np.ndarray) -> At:
    """Word lines and outputs of the weights that differ."""
    rows, outputs = np.nonzero(new != old)
    return rows, outputs
