"""A chip with matrices in its crossbars: program, read, write again, let time pass; every event is counted."""

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from ..devices import Chip
from ..errors import UsageError, unknown_name
from . import kernels, randoms
from .accounting import EventCounts
from .arrays import CrossbarMatrix
from .converters import best_range, code_max, drive_load
from .counting import digit_bits, input_cycles, read_events, write_events
from .products import Products
from .writing import WriteLog, require_programmable

FIDELITIES = ("ideal", "fast")
# Vectors kept per matrix while calibrating: enough for a quantile, small enough to hold for every matrix.
CALIBRATION_VECTORS = 96


class ProgrammedModel:
    """Matrices (out, in) programmed on one chip.

    write_log: the log of the one-time programming. `counts`: every event of reading and rewriting since (see
    `EventCounts`). `fidelity` "fast": converters, read noise and everything the cells do, inputs applied as analog
    levels; "ideal": reads are exact products with the original weights (for comparisons), events are still counted.
    """

    def __init__(self, chip: Chip, rng: np.random.Generator, fidelity: str = "fast"):
        if fidelity not in FIDELITIES:
            raise UsageError(unknown_name("fidelity", fidelity, FIDELITIES))
        require_programmable(chip.cell)
        self.chip, self.fidelity = chip, fidelity
        self._rng = rng
        self._matrices: dict[str, CrossbarMatrix] = {}
        self._ideal: dict[str, np.ndarray] = {}
        self._ranges: dict[str, tuple[float, np.ndarray]] = {}
        self._samples: dict[str, list[np.ndarray]] | None = None
        self._logs: list[WriteLog] = []
        self._log: WriteLog | None = None
        self._read_seed = randoms.draw_seed(rng)
        self._reads = 0
        self.clock_seconds = 0.0
        self.counts = EventCounts()
        self._activity_per_read: dict[str, float] = {}
        self.products = Products()  # `autograd.ChipReader` puts torch's faster ones here
        self._memory: dict[str, np.ndarray] = {}
        self._load = drive_load(chip.array.input_bits, digit_bits(chip))

    # --- writing
    # -------------------------------------------------------------------------------------------------------------

    @property
    def write_log(self) -> WriteLog:
        """The one-time programming of every matrix, as one log (per-cell arrays joined end to end)."""
        if self._log is None:
            self._log = WriteLog.total(self._logs)
        return self._log

    def add(self, name: str, weight: np.ndarray, scale: np.ndarray | None = None) -> WriteLog:
        """Program one more matrix (out, in) into erased arrays; `scale` (row_tiles, out) fixes the weight range,
        else it is taken from the weight. Raises UsageError for a name in use, for shapes that are no matrix and for
        values that are not finite.
        """
        if name in self._matrices:
            raise UsageError(f"{name!r} is on the chip already; use rewrite() to change it")
        array = np.asarray(weight)
        matrix = CrossbarMatrix(self.chip, array.shape, self._rng.spawn(1)[0], scale)
        matrix.set_time(self.clock_seconds)
        log = matrix.write(array)
        self._matrices[name] = matrix
        if self.fidelity == "ideal":
            self._ideal[name] = np.ascontiguousarray(array, np.float32)
        self._logs.append(log)
        self._log = None
        return log

    def rewrite(self, name: str, weight: np.ndarray, refresh: bool = False) -> WriteLog:
        """Write a matrix again over what is there. Counted in `counts`.

        Only cells whose target level changed get pulses; with `refresh` also those that have left their tolerance
        since.
        """
        matrix = self.matrix(name)
        if np.shape(weight) != (matrix.layout.outputs, matrix.layout.inputs):
            raise UsageError(
                f"{name!r} is {matrix.layout.outputs} x {matrix.layout.inputs}; got shape {np.shape(weight)}"
            )
        log = matrix.write(weight, refresh)
        if self.fidelity == "ideal":
            self._ideal[name] = np.ascontiguousarray(weight, np.float32)
        self.count_write(log)
        return log

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
        """The arrays of one matrix; UsageError with the nearest name if there is none."""
        if name not in self._matrices:
            raise UsageError(unknown_name("matrix", name, self._matrices))
        return self._matrices[name]

    def effective_weight(self, name: str) -> np.ndarray:
        """The matrix (out, in) float32 that the cells hold at the present time, without converters and read noise."""
        return self.held(name).copy()

    def held(self, name: str) -> np.ndarray:
        """Like `effective_weight`, without the copy: changes when the matrix is rewritten, and is not to be changed."""
        matrix = self.matrix(name)
        return self._ideal[name] if self.fidelity == "ideal" else matrix.effective

    def set_time(self, seconds: float) -> None:
        """Set the chip's clock: seconds since deployment. Cells relax and drift from the time of their last write."""
        self.clock_seconds = seconds
        for matrix in self._matrices.values():
            matrix.set_time(seconds)

    def fork(self, rng: np.random.Generator, own: tuple[str, ...] = ()) -> "ProgrammedModel":
        """The same chip for one experiment: shares the cells of every matrix but those named in `own`, which are
        copied so that they may be rewritten. Events, read noise and matrices added later belong to the fork alone."""
        twin = copy.copy(self)
        twin._rng = rng
        twin._matrices = {n: m.clone(rng.spawn(1)[0]) if n in own else m for n, m in self._matrices.items()}
        twin._ideal, twin._ranges = dict(self._ideal), dict(self._ranges)
        twin._activity_per_read = dict(self._activity_per_read)
        twin._logs = list(self._logs)
        twin._read_seed, twin._reads = randoms.draw_seed(rng), 0
        twin.counts = EventCounts()
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
        vectors = np.ascontiguousarray(np.atleast_2d(x), dtype=np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != matrix.layout.inputs:
            raise UsageError(f"{name!r} takes vectors of length {matrix.layout.inputs}; got shape {np.shape(x)}")
        # The sum of the numbers tells at once; only a sum too large for a float needs the second look.
        if not (np.isfinite(vectors.sum()) or np.isfinite(vectors).all()):
            raise UsageError(f"the inputs of {name!r} hold NaN or infinite values; a converter cannot apply them")
        if self._samples is not None:
            kept = sum(len(s) for s in self._samples.setdefault(name, []))
            step = max(1, len(vectors) // CALIBRATION_VECTORS)
            if kept < CALIBRATION_VECTORS:
                self._samples[name].append(vectors[::step][: CALIBRATION_VECTORS - kept].copy())
            y = self.products.multiply(vectors, self.held(name).T)
        else:
            ranges = self._ranges.get(name) or self._find_ranges(matrix, vectors[:CALIBRATION_VECTORS])
            if vectors.any():  # zeros calibrate nothing
                self._ranges[name] = ranges
            y = self._read(name, matrix, vectors, ranges)
        return y[0] if np.ndim(x) == 1 else y

    def _read(self, name: str, matrix: CrossbarMatrix, x: np.ndarray, ranges: tuple[float, np.ndarray]) -> np.ndarray:
        layout, array, periphery = matrix.layout, self.chip.array, self.chip.periphery
        full_scale, adc_range = ranges
        noisy = self.fidelity == "fast" and matrix.noise_bits.size > 0
        codes = self._scratch("codes", x.shape)
        squares = self._scratch("squares", x.shape if noisy else (0, 0))
        activity = np.empty(len(x))
        kernels.drive_rows(
            x, full_scale, code_max(array.input_bits), self._load, matrix.row_siemens, codes, squares, activity
        )
        self._count_reads(name, matrix, len(x), float(activity.sum()))
        if self.fidelity == "ideal":
            return self.products.multiply(x, self._ideal[name].T)
        chunks = layout.slices * layout.row_tiles
        shape = (chunks, len(x), layout.outputs)
        partial, variance = (
            self._scratch("partial", shape),
            self._scratch("variance", shape if noisy else (0, 0, 0)),
        )
        self.products.sums(codes, matrix, partial)
        if noisy:
            self.products.variances(squares, matrix, variance)
        gains = matrix.gains.reshape(chunks, layout.outputs) * np.float32(full_scale)
        bits = periphery.adc_bits
        top = code_max(bits) if bits else 0
        lsb = np.repeat(adc_range / top if top else np.zeros_like(adc_range), layout.row_tiles).astype(np.float32)
        out = np.empty((len(x), layout.outputs), np.float32)
        self._reads += 1
        seed = randoms.draw_seed(np.random.default_rng([int(self._read_seed), self._reads]))
        kernels.convert_rows(partial, variance, gains, lsb, np.float32(top), seed, out)
        return out

    def _scratch(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Uninitialised float32 memory that is used again by the next read: fresh pages cost more than the
        arithmetic.
        """
        size = math.prod(shape)
        if name not in self._memory or self._memory[name].size < size:
            self._memory[name] = np.empty(size, np.float32)
        return self._memory[name][:size].reshape(shape)

    def input_cycles(self) -> int:
        """Array cycles of one read: input digits applied one after another by a DAC narrower than the input."""
        return input_cycles(self.chip)

    def _count_reads(self, name: str, matrix: CrossbarMatrix, vectors: int, activity_siemens: float) -> None:
        cell, layout = self.chip.cell, matrix.layout
        joules = activity_siemens * (cell.read_voltage_volts or 0.0) ** 2 * self._conduct_seconds()
        self._activity_per_read[name] = joules / max(1, vectors)
        self.counts.add(read_events(self.chip, layout, self.input_cycles()), vectors)
        self.counts.cell_read_joules += joules

    def _conduct_seconds(self) -> float:
        """How long the cells conduct in one array cycle."""
        return self.chip.cell.read_seconds or 0.0

    def count_transposed(self, name: str, vectors: int) -> None:
        """Charge `vectors` products with the transposed matrix (backward pass): outputs are driven, inputs sensed.

        The arithmetic of the backward pass is done by the caller with `effective_weight` (straight-through); the
        cells are charged what a forward read of this matrix costs on average.
        """
        matrix = self.matrix(name)
        self.counts.add(read_events(self.chip, matrix.layout, self.input_cycles(), transposed=True), vectors)
        self.counts.cell_read_joules += self._activity_per_read.get(name, 0.0) * vectors

    @contextmanager
    def calibrating(self) -> Iterator[None]:
        """Inside, reads are exact products with the effective weights and their inputs are kept; on leaving, the DAC
        and ADC ranges of every matrix that was read are set from them. Nothing is counted."""
        self._samples = {}
        try:
            yield
            samples = self._samples
        finally:
            self._samples = None
        for name, kept in samples.items():
            self._ranges[name] = self._find_ranges(self.matrix(name), np.concatenate(kept))

    def _find_ranges(self, matrix: CrossbarMatrix, x: np.ndarray) -> tuple[float, np.ndarray]:
        """(DAC range in input units, ADC range of each slice in units of full drive times (g_max - g_min))."""
        top = code_max(self.chip.array.input_bits)
        full_scale = best_range(x, self.chip.array.input_bits)
        codes = np.clip(np.rint(x / full_scale * top), -top, top).astype(np.float32) / np.float32(top)
        adc = np.ones(matrix.layout.slices)
        tiles = matrix.layout.row_tiles
        sums = np.empty((matrix.layout.slices * tiles, len(x), matrix.layout.outputs), np.float32)
        self.products.sums(codes, matrix, sums)
        for s in range(matrix.layout.slices):
            adc[s] = best_range(sums[s * tiles : (s + 1) * tiles], self.chip.periphery.adc_bits or 8)
        return full_scale, adc


def program(
    chip: Chip, weights: Mapping[str, np.ndarray], rng: np.random.Generator, fidelity: str = "fast", on_matrix=None
) -> ProgrammedModel:
    """Program named matrices (out, in) on a chip, pulse by pulse; returns the programmed model.

    Same generator, same cells, whatever the number of threads. `on_matrix(name, log)` is called after each (progress).
    Raises UsageError for weights that cannot be mapped and for chips that lack a number programming needs.
    """
    model = ProgrammedModel(chip, rng, fidelity)
    for name, weight in weights.items():
        log = model.add(name, weight)
        if on_matrix is not None:
            on_matrix(name, log)
    return model
