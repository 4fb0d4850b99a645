"""A chip with matrices in its crossbars: program, read, write again, let time pass; every event is counted."""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from ..devices import Chip
from ..display import Shown
from ..errors import UsageError, unknown_name
from . import compensation, converters, randoms, rotation
from .accounting import EventCounts
from .arguments import (
    checked_weight,
    real_numbers,
    require_chip,
    require_count,
    require_generator,
    require_own,
    require_time,
    require_weights,
)
from .arrays import CrossbarMatrix
from .backward import BackwardReader
from .counting import input_cycles, read_events, write_events
from .driven import Driven
from .mapping import Some
from .products import Products
from .reading import Ranges, Reader
from .writing import WriteLog, WriteSum, require_programmable

FIDELITIES = ("ideal", "fast", "bitserial")
# Vectors kept per matrix while calibrating: enough for a quantile, small enough to hold for every matrix.
CALIBRATION_VECTORS = 96


class ProgrammedModel(Shown):
    """Matrices (out, in) programmed on one chip.

    write_log: the log of the one-time programming. `counts`: every event of reading and rewriting since (see
    `EventCounts`). `fidelity` "fast": converters, read noise and everything the cells do, inputs applied as analog
    levels; "bitserial": the digits of an input one after another, as the DAC applies them, each with noise and
    conversion of its own; "ideal": reads are exact products with the original weights (for comparisons), events are
    still counted.
    """

    def __init__(self, chip: Chip, rng: np.random.Generator, fidelity: str = "fast"):
        if fidelity not in FIDELITIES:
            raise UsageError(unknown_name("fidelity", fidelity, FIDELITIES))
        require_chip(chip)
        require_generator(rng)
        require_programmable(chip.cell)
        self.chip, self.fidelity = chip, fidelity
        self._rng = rng
        self._matrices: dict[str, CrossbarMatrix] = {}
        self._shared: frozenset[str] = frozenset()  # the matrices of a fork that belong to another chip
        self._ideal: dict[str, np.ndarray] = {}
        self._ranges: dict[str, Ranges] = {}
        self._events: dict[str, EventCounts] = {}  # of one read of each matrix
        self._first_looks: dict[str, float | None] = {}  # when drift compensation first looked at each matrix
        self._samples: dict[str, list[np.ndarray]] | None = None
        self._written = WriteSum()
        self._driven = Driven()
        self._reader = Reader(chip, fidelity, seed := randoms.draw_seed(rng))
        self._backward = BackwardReader(chip, seed)
        self.exact_backward = False  # True: gradients are exact even where the chip's `array.backward` is analog
        self.clock_seconds = 0.0
        self.counts = EventCounts()
        self._activity_per_read: dict[str, float] = {}

    def _facts(self) -> dict[str, object]:
        weights = sum(matrix.layout.outputs * matrix.layout.inputs for matrix in self._matrices.values())
        return {"chip": self.chip.name, "matrices": len(self._matrices), "weights": weights,
                "fidelity": self.fidelity, "age_seconds": self.clock_seconds, "reads": self.counts.reads}  # fmt: skip

    # --- writing
    # -------------------------------------------------------------------------------------------------------------

    @property
    def write_log(self) -> WriteLog:
        """The one-time programming of every matrix, as one log; its cells are sorted by pulses."""
        return self._written.log()

    @property
    def products(self) -> Products:
        """What multiplies matrices in a read; `autograd.ChipReader` puts torch's faster products here."""
        return self._reader.products

    @products.setter
    def products(self, products: Products) -> None:
        self._reader.products = products

    def add(self, name: str, weight: np.ndarray, scale: np.ndarray | None = None) -> WriteLog:
        """Program one more matrix (out, in) into erased arrays; `scale` (row_tiles, out) fixes the weight range,
        else it is taken from the weight. Raises UsageError for a name in use, for shapes that are no matrix and for
        values that are not finite.
        """
        if name in self._matrices:
            raise UsageError(f"{name!r} is on the chip already; use rewrite() to change it")
        array = checked_weight(name, weight)
        matrix = CrossbarMatrix(self.chip, array.shape, self._rng.spawn(1)[0], scale, wires=self.fidelity != "ideal")
        matrix.set_time(self.clock_seconds)
        log = self._with_rotation(matrix.write(self.as_written(array)), matrix)
        self._matrices[name] = matrix
        if self.fidelity == "ideal":
            self._ideal[name] = np.ascontiguousarray(array, np.float32)
        self._written.add(log)
        return log

    def reprogram(self, name: str, weight: np.ndarray) -> WriteLog:
        """Let the chip have been programmed with another matrix (out, in) in the place of one that it holds: the same
        cells, from erased, get these weights and a range of their own.

        What a fork shares stays as it is. The log stands for that of the former matrix; it is not counted, and not in
        `write_log`. Raises UsageError as `rewrite` does.
        """
        array, matrix = self._of_shape(name, weight), self.matrix(name).erased()
        matrix.set_time(self.clock_seconds)
        log = self._with_rotation(matrix.write(self.as_written(array)), matrix)
        self._matrices[name], self._shared = matrix, self._shared - {name}
        for kept in (self._ranges, self._first_looks, self._activity_per_read):
            kept.pop(name, None)
        self._driven.forget(name)
        self._backward.forget_ranges()
        if self.fidelity == "ideal":
            self._ideal[name] = np.ascontiguousarray(array, np.float32)
        return log

    def rewrite(self, name: str, weight: np.ndarray, refresh: bool = False, only: Some | None = None) -> WriteLog:
        """Write a matrix again over what is there. Counted in `counts`.

        Only cells whose target level changed get pulses; with `refresh` also those that have left their tolerance
        since. `only`: some of the outputs or inputs are written; the others are not even looked at, and `weight` holds
        there what it held before. Rotated inputs are mixed: all of them are written then. Raises UsageError for a
        matrix that a fork shares: fork with its name in `own`.
        """
        if name in self._shared:
            raise UsageError(
                f"{name!r} belongs to the chip that this one is a fork of, and a write would change it there, too: "
                f"fork with own=({name!r},)"
            )
        matrix, array = self.matrix(name), self._of_shape(name, weight)
        self._driven.look(name, matrix)
        part = None if only is not None and only.axis and rotation.additions(self.chip, array.shape[1]) else only
        rows = len(part.numbers) if part is not None and part.axis == 0 else None
        log = self._with_rotation(matrix.write(self.as_written(array), refresh, part), matrix, rows)
        if self.fidelity == "ideal":
            self._ideal[name] = np.ascontiguousarray(array, np.float32)
        self.count_write(log)
        if self._compensates:
            self.counts.add(compensation.after_write(matrix, log, self.fidelity))
        return log

    def _of_shape(self, name: str, weight: np.ndarray) -> np.ndarray:
        """Weights for the place of a matrix; UsageError where they are none."""
        layout, array = self.matrix(name).layout, checked_weight(name, weight)
        if array.shape != (layout.outputs, layout.inputs):
            raise UsageError(f"{name!r} is {layout.outputs} x {layout.inputs}; got shape {array.shape}")
        return array

    def as_written(self, weight: np.ndarray) -> np.ndarray:
        """A matrix (out, in) as its cells are to hold it: rotated, if the chip's mapping says so."""
        return rotation.rotated(self.chip, np.asarray(weight, np.float32))

    def _with_rotation(self, log: WriteLog, matrix: CrossbarMatrix, rows: int | None = None) -> WriteLog:
        """The log with the additions that rotate so many rows of a matrix, None for all."""
        adds = (matrix.layout.outputs if rows is None else rows) * rotation.additions(self.chip, matrix.layout.inputs)
        if not adds:
            return log
        p = self.chip.periphery
        return dataclasses.replace(
            log,
            digital_adds=adds,
            energy_joules=log.energy_joules + adds * p.digital_add_energy_joules,
            time_seconds=log.time_seconds + adds / p.digital_macs_per_second,
        )

    def count_write(self, log: WriteLog) -> None:
        """Charge a write to `counts`."""
        self.counts.add(write_events(log))

    def cell_writes(self, name: str) -> np.integer:
        """Writes (cells that got pulses, summed over rewrites) since the one-time programming; 0 when nothing was
        rewritten.
        """
        return self.matrix(name).writes_since_deployment().sum(dtype=np.int64)

    # --- looking
    # -------------------------------------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._matrices)

    def __contains__(self, name: object) -> bool:
        return name in self._matrices

    def matrix(self, name: str) -> CrossbarMatrix:
        """The arrays of one matrix, at the time of this chip; UsageError with the nearest name if there is none."""
        if not (isinstance(name, str) and name in self._matrices):
            raise UsageError(unknown_name("matrix", name, self._matrices))
        matrix = self._matrices[name]
        self._driven.bring(name, matrix)
        if matrix.clock_seconds != self.clock_seconds:
            self._age(name, matrix)
        return matrix

    def _age(self, name: str, matrix: CrossbarMatrix) -> None:
        """Bring a matrix, which a fork may have brought to another time, to that of this chip."""
        written = matrix.cells.epoch_seconds[-1]
        if written > self.clock_seconds:
            raise UsageError(
                f"{name!r} was written at {written:g} s, through the chip that this one is a fork of; the clock here "
                f"shows {self.clock_seconds:g} s: set_time() to that or later, or fork with {name!r} in `own`"
            )
        if self._compensates:
            compensation.set_time(matrix, self.clock_seconds, self.fidelity)
        else:
            matrix.set_time(self.clock_seconds)

    @property
    def _compensates(self) -> bool:
        return compensation.compensates(self.chip) and self.fidelity != "ideal"

    def effective_weight(self, name: str) -> np.ndarray:
        """The matrix (out, in) float32 that the cells hold at the present time, without converters and read noise: the
        caller's own.
        """
        matrix = self.matrix(name)
        if self.fidelity == "ideal":
            return self._ideal[name].copy()
        return rotation.unrotated(self.chip, matrix.effective)

    def transposed_product(self, name: str, y: np.ndarray) -> np.ndarray:
        """y (vectors, out) through the transposed matrix: (vectors, in) float32; not counted. Exact, or a read with
        everything that reads have, as the chip's `array.backward` says.
        """
        matrix = self.matrix(name)
        y = np.ascontiguousarray(real_numbers(y, f"what goes through {name!r} from behind"), np.float32)
        if y.ndim != 2 or y.shape[1] != matrix.layout.outputs:
            raise UsageError(
                f"{name!r} takes vectors (vectors, {matrix.layout.outputs}) from behind; got shape {y.shape}"
            )
        if not (np.isfinite(y.sum()) or np.isfinite(y).all()):
            raise UsageError(f"what goes through {name!r} from behind holds NaN or infinite values")
        if self.fidelity == "ideal":
            return self.products.multiply(y, self._ideal[name])
        if self.chip.array.backward == "analog" and not self.exact_backward and len(y):
            found = self._backward.read(name, matrix, y, self.products.multiply)
        else:
            found = matrix.transposed_product(y, self.products.multiply)
        return rotation.unrotated(self.chip, found)

    @property
    def unsolved_arrays(self) -> int:
        """Arrays whose wires have to be solved before they are read at the present time; 0 where lines are ideal."""
        return sum(matrix.layout.arrays for matrix in self._matrices.values() if matrix.unsolved)

    def prepare(self, on_arrays: Callable[[int], None] | None = None) -> None:
        """Compute what reads need at the present time, which is otherwise done at the first read of each matrix: worth
        it with `array.wires`, which takes a few milliseconds an array. `on_arrays(n)` is called now and then: n more
        arrays are done.
        """
        for name in self._matrices:
            self.matrix(name).prepare(on_arrays)

    def freeze_reading(self) -> None:
        """Keep what reads need at the present time, and let go of the cells: about half of the memory. After that the
        chip can be read and forked; matrices may be added, but those that are there neither rewritten nor aged. Forks
        made before keep the cells that they share.
        """
        for name in self._matrices:
            self._matrices[name] = self.matrix(name).frozen()

    @property
    def nbytes(self) -> int:
        """Memory that the matrices take, in bytes."""
        own = sum(matrix.nbytes for matrix in self._matrices.values())
        return own + sum(weight.nbytes for weight in self._ideal.values())

    def set_time(self, seconds: float) -> None:
        """Set the chip's clock: seconds since deployment. Cells relax and drift from the time of their last write.

        A chip and its forks have a clock each; a matrix that they share is brought to the time of the one that uses it,
        which takes a moment each time they take turns. With `array.drift_compensation` every matrix whose clock moves
        is looked at (`compensation`), which is counted: for each chip and fork as if there were no other. Raises
        UsageError for a time that is negative or not finite, or before the last write.
        """
        last = max((matrix.cells.epoch_seconds[-1] for matrix in self._matrices.values()), default=0.0)
        require_time(seconds, last)
        passed, self.clock_seconds = seconds != self.clock_seconds, seconds
        for name, matrix in self._matrices.items():
            self._driven.look(name, matrix)
            self._age(name, matrix)
            if passed and self._compensates:
                self.counts.add(compensation.events_of_time(matrix, self._first_looks.get(name)))
                self._first_looks[name] = matrix.baseline and matrix.baseline.seconds

    def fork(self, rng: np.random.Generator, own: tuple[str, ...] = ()) -> "ProgrammedModel":
        """The same chip for one experiment: shares the cells of every matrix but those named in `own`, which are
        copied so that they may be rewritten. Events, read noise, matrices added later and the clock belong to the fork
        alone. Raises UsageError for names in `own` that are not on the chip."""
        require_generator(rng)
        require_own(own, self._matrices)
        twin = copy.copy(self)
        twin._rng = rng
        twin._matrices = {n: m.clone(rng.spawn(1)[0]) if n in own else m for n, m in self._matrices.items()}
        twin._shared = frozenset(self._matrices).difference(own)
        twin._ideal, twin._ranges = dict(self._ideal), dict(self._ranges)
        twin._first_looks = dict(self._first_looks)
        twin._activity_per_read, twin._events = dict(self._activity_per_read), dict(self._events)
        twin._written, twin._driven = self._written.copy(), self._driven.copy()
        twin._reader = Reader(self.chip, self.fidelity, seed := randoms.draw_seed(rng))
        twin._backward = BackwardReader(self.chip, seed)
        twin._reader.products = self.products
        twin.counts, twin._samples = EventCounts(), None
        return twin

    # --- reading
    # -------------------------------------------------------------------------------------------------------------

    def matvec(self, name: str, x: np.ndarray) -> np.ndarray:
        """Read a matrix through the crossbar: x (in,) or (vectors, in) -> (out,) or (vectors, out), float32.

        Inputs go through the DAC, every row tile's bit-line currents get fresh read noise and go through the ADC,
        partial results are scaled and added digitally. Ranges come from `calibrating()`; without it the first call's
        inputs calibrate. Raises UsageError for an unknown name or inputs of another length.
        """
        matrix = self.matrix(name)
        given = real_numbers(x, f"the input of {name!r}")
        vectors = np.ascontiguousarray(np.atleast_2d(given), dtype=np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != matrix.layout.inputs:
            raise UsageError(f"{name!r} takes vectors of length {matrix.layout.inputs}; got shape {np.shape(x)}")
        # The sum of the numbers tells at once; only a sum too large for a float needs the second look.
        if not (np.isfinite(vectors.sum()) or np.isfinite(vectors).all()):
            raise UsageError(f"the inputs of {name!r} hold NaN or infinite values; a converter cannot apply them")
        if not len(vectors):
            return np.empty((0, matrix.layout.outputs), np.float32)
        y = self._read(name, matrix, vectors) if self._samples is None else self._sample(name, matrix, vectors)
        return y[0] if given.ndim == 1 else y

    def _sample(self, name: str, matrix: CrossbarMatrix, x: np.ndarray) -> np.ndarray:
        """An exact product; some of its inputs are kept."""
        assert self._samples is not None
        step = max(1, len(x) // CALIBRATION_VECTORS)
        applied = rotation.rotated(self.chip, x)
        kept = self._samples.setdefault(name, [])
        if len(kept) < CALIBRATION_VECTORS:
            kept.append(applied[::step][:CALIBRATION_VECTORS].copy())
        if self.fidelity == "ideal":
            return self.products.multiply(x, self._ideal[name].T)
        return matrix.product(applied, self.products.multiply)

    def _read(self, name: str, matrix: CrossbarMatrix, x: np.ndarray) -> np.ndarray:
        ranges, applied = self._ranges.get(name), rotation.rotated(self.chip, x)
        if ranges is None:
            ranges = self._calibrate(name, matrix, applied[:CALIBRATION_VECTORS])
        if self.fidelity == "ideal":
            per_vector = np.empty(len(x))
            self._reader.drive(matrix, applied, ranges.dac, False, per_vector)
            for acting in matrix.adding:
                per_vector += acting.activity(matrix, applied, ranges.dac)
            activity = float(per_vector.sum())
            y = self.products.multiply(x, self._ideal[name].T)
        else:
            y, activity = self._reader.read(matrix, applied, ranges)
            if matrix.counts:
                self._driven.add(name, matrix, self._reader.cycles(applied, ranges.dac), len(x))
        self._count_reads(name, matrix, len(x), activity)
        return y

    def _calibrate(self, name: str, matrix: CrossbarMatrix, applied: np.ndarray) -> Ranges:
        """Converter ranges for inputs like these (vectors, in), which are kept unless the inputs are all zero: zeros
        calibrate nothing.
        """
        peak = converters.largest(applied)
        if peak > converters.MOST:
            raise UsageError(f"the inputs of {name!r} go up to {peak:g}; converters can be set to {converters.MOST:g}")
        ranges = self._reader.find_ranges(matrix, applied)
        if peak > converters.LEAST:
            self._ranges[name] = ranges
        return ranges

    def input_cycles(self) -> int:
        """Array cycles of one read: input digits applied one after another by a DAC narrower than the input."""
        return input_cycles(self.chip)

    def _count_reads(self, name: str, matrix: CrossbarMatrix, vectors: int, activity_siemens: float) -> None:
        cell, layout = self.chip.cell, matrix.layout
        joules = activity_siemens * (cell.read_voltage_volts or 0.0) ** 2 * self._conduct_seconds()
        self._activity_per_read[name] = joules / max(1, vectors)
        if name not in self._events:
            self._events[name] = read_events(self.chip, layout, self.input_cycles())
        self.counts.add(self._events[name], vectors)
        self.counts.cell_read_joules += joules

    def _conduct_seconds(self) -> float:
        """How long the cells conduct in one array cycle."""
        return self.chip.integration_seconds

    def count_transposed(self, name: str, vectors: int) -> None:
        """Charge `vectors` products with the transposed matrix (backward pass): outputs are driven, inputs sensed.

        The arithmetic of the backward pass is `transposed_product`; the cells are charged what a forward read of this
        matrix costs on average.
        """
        matrix = self.matrix(name)
        require_count(vectors, "vectors")
        self.counts.add(read_events(self.chip, matrix.layout, self.input_cycles(), transposed=True), vectors)
        self.counts.cell_read_joules += self._activity_per_read.get(name, 0.0) * vectors
        self._driven.add_average(name, matrix, vectors)

    @contextmanager
    def calibrating(self) -> Iterator[None]:
        """Inside, reads are exact products with the effective weights and their inputs are kept; on leaving, the DAC
        and ADC ranges of every matrix that was read are set from them. Nothing is counted. Forks do not take part.
        Raises UsageError inside another `calibrating()` of the same chip."""
        if self._samples is not None:
            raise UsageError("calibrating() inside calibrating(): one at a time sets the ranges of a chip")
        self._samples = {}
        try:
            yield
            samples = self._samples
        finally:
            self._samples = None
            self._backward.forget_ranges()
        for name, kept in samples.items():
            # A matrix that is read several times, with different inputs each time, is set for all of them.
            share = -(-CALIBRATION_VECTORS // len(kept))
            few = [one[:: max(1, len(one) // share)][:share] for one in kept]
            self._calibrate(name, self.matrix(name), np.concatenate(few))


def program(
    chip: Chip, weights: Mapping[str, np.ndarray], rng: np.random.Generator, fidelity: str = "fast", on_matrix=None
) -> ProgrammedModel:
    """Program named matrices (out, in) on a chip, pulse by pulse; returns the programmed model.

    Same generator, same cells, whatever the number of threads. `on_matrix(name, log)` is called after each (progress).
    Raises UsageError for weights that cannot be mapped and for chips that lack a number programming needs.
    """
    model = ProgrammedModel(chip, rng, fidelity)
    require_weights(weights)
    for name, weight in weights.items():
        log = model.add(name, weight)
        if on_matrix is not None:
            on_matrix(name, log)
    return model
