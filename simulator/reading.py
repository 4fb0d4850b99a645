"""A read: inputs through the DAC, sums of the bit lines with fresh noise, through the ADC, and the digital sum.

Two fidelities. `fast` applies an input as one analog level; the noise of a read is drawn once. `bitserial` applies the
digits of an input one after another, as the DAC does, each with noise and conversion of its own, and adds the codes,
shifted. With exact converters and without noise both give the same. Where the products allow it, `fast` reads of chips
with plain converters multiply whole numbers (`fixed_point`).

The read noise of a bit line is drawn as one number, with the variance of all its cells together, sum of x^2 sigma^2:
the same in distribution as a draw for each cell.
"""

import math
from typing import NamedTuple

import numpy as np

from ..devices import Chip
from . import read_kernels
from .aligned import empty
from .arrays import CrossbarMatrix
from .converters import best_range, code_max, drive_load
from .counting import digit_bits, input_cycles
from .effects import Acting
from .fixed_point import MOST_ADC_BITS, MOST_CODE, FixedPoint
from .products import FEW, Products
from .randoms import derived_seed
from .threads import in_parts

# A part of a read: at most so many partial sums and so many vectors, at least so many vectors (a product unpacks its
# weights once, and to wake another thread takes a tenth of a millisecond), and otherwise two: a thread more has work
# when there are vectors enough.
AT_ONCE, MOST_VECTORS, LEAST_VECTORS, PARTS = 1 << 21, 512, 128, 2

NO_BITS = np.empty((0, 0, 0), np.uint16)


class Ranges(NamedTuple):
    """What converters are set to: dac, the input of full drive; adc (slices,), the largest sum of each slice, in units
    of full drive times (g_max - g_min).
    """

    dac: float
    adc: np.ndarray


class Reader:
    """Reads matrices of one chip; owns the scratch memory and the seed of the noise."""

    def __init__(self, chip: Chip, fidelity: str, seed: np.uint64):
        self.chip = chip
        self.serial = fidelity == "bitserial" and input_cycles(chip) > 1
        self.products = Products()
        self.top = code_max(chip.array.input_bits)
        self._load = drive_load(chip.array.input_bits, digit_bits(chip), chip.periphery.dac_coding)
        self._digits = input_cycles(chip) if self.serial else 1
        base = float(2 ** digit_bits(chip))
        full = (base - 1.0) / self.top if self.serial else 1.0
        self._worth = np.array([full * base**d for d in range(self._digits)], np.float32)
        self._seed, self._reads = seed, 0
        self._memory: dict[tuple[str, int], np.ndarray] = {}

    def read(self, matrix: CrossbarMatrix, x: np.ndarray, ranges: Ranges) -> tuple[np.ndarray, float]:
        """x (vectors, in) float32 -> (vectors, out) float32, and the siemens-cycles that the drive of all vectors
        conducts.
        """
        layout, bits = matrix.layout, self.chip.periphery.adc_bits
        top = np.float32(code_max(bits) if bits else 0)
        steps = ranges.adc / top if bits else np.zeros_like(ranges.adc)
        lsb = np.repeat(steps, layout.row_tiles).astype(np.float32)
        gains = matrix.gains.reshape(-1, layout.outputs) * np.float32(ranges.dac)
        converters, reference, noisy = matrix.mismatch, matrix.reference, matrix.noise_bits.size > 0
        out, activity = np.empty((len(x), layout.outputs), np.float32), np.empty(len(x))
        self._reads += 1
        seed = derived_seed(self._seed, self._reads)
        each = layout.slices * layout.row_tiles * self._digits * layout.sensed
        # The cut depends on the read only, not on who does it: a product may round a vector as its company is.
        parts = PARTS if self.products.parts else 1
        most = MOST_VECTORS if self.products.parts else len(x)
        step = max(LEAST_VECTORS, min(AT_ONCE // each, most, -(-len(x) // parts)))

        errors = (converters.adc, converters.adc_curves, converters.adc_curve_of)
        fixed = matrix.fixed_point if self._whole(matrix, len(x)) else None

        def part(number: int, worker: int) -> None:
            some = slice(number * step, min((number + 1) * step, len(x)))
            if fixed is not None:
                sums, squares = self._whole_sums(matrix, fixed, x[some], ranges.dac, activity[some], worker)
                own, squared = fixed.steps / np.float32(self.top), fixed.noise_steps / np.float32(self.top**2)
                read_kernels.convert_whole(
                    sums, squares, own, squared, gains, lsb, top, seed, some.start, reference, errors, out[some]
                )
                return
            codes, squares = self.drive(matrix, x[some], ranges.dac, noisy, activity[some], worker)
            sums, variances = self._sums(matrix, codes, squares, worker)
            for acting in matrix.adding:
                self._add(acting, matrix, x[some], ranges.dac, codes, sums, worker)
                activity[some] += acting.activity(matrix, x[some], ranges.dac)
            read_kernels.convert_rows(
                sums, variances, gains, lsb, top, seed, some.start, self._worth, reference, errors, out[some]
            )

        parts = -(-len(x) // step)
        if parts == 1 or not self.products.parts:
            for number in range(parts):
                part(number, 0)
        else:
            in_parts(part, parts)
        return out, float(activity.sum())

    def _whole(self, matrix: CrossbarMatrix, vectors: int) -> bool:
        """Whether a read is done in whole numbers: those of inputs that are codes as they are, for sums that are
        rounded more coarsely anyway.
        """
        plain = not self.serial and self.top <= MOST_CODE and not matrix.mismatch.code_levels.size
        return (
            self.products.whole and plain and 0 < (self.chip.periphery.adc_bits or 0) <= MOST_ADC_BITS
            and not matrix.adding and vectors > FEW
        )  # fmt: skip

    def _whole_sums(
        self, matrix: CrossbarMatrix, fixed: FixedPoint, x: np.ndarray, full_scale: float, activity: np.ndarray,
        worker: int,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """Sums (chunks, vectors, 2 sensed) and variances (chunks, 2, vectors, sensed) int32 of the inputs x, as
        `read_kernels.convert_whole` takes them; the siemens-cycles of each vector go to `activity`.
        """
        layout, vectors = matrix.layout, len(x)
        chunks = layout.slices * layout.row_tiles
        codes = self._scratch("whole codes", worker, x.shape, np.int8)
        squares = self._scratch("whole squares", worker, (2, *x.shape) if fixed.noise.size else (0, 0, 0), np.int8)
        read_kernels.drive_whole(
            x, full_scale, self.top, self._load, matrix.row_siemens, codes, squares, activity
        )  # fmt: skip
        sums = self._scratch("whole sums", worker, (chunks, vectors, 2 * layout.sensed), np.int32)
        self.products.whole_sums(codes, fixed.values, layout.rows, sums)
        shape = (chunks, 2, vectors, layout.sensed) if squares.size else (0, 0, 0, 0)
        variances = self._scratch("whole variances", worker, shape, np.int32)
        if squares.size:
            flat = variances.reshape(chunks, 2 * vectors, layout.sensed)
            self.products.whole_sums(squares.reshape(2 * vectors, -1), fixed.noise, layout.rows, flat)
        return sums, variances

    def drive(
        self,
        matrix: CrossbarMatrix,
        x: np.ndarray,
        full_scale: float,
        noisy: bool,
        activity: np.ndarray,
        worker: int = 0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """What the DACs apply, (digits, vectors, in) over full drive, and its squares (size 0 unless `noisy`); the
        siemens-cycles that each vector conducts go to `activity`.
        """
        codes = self._scratch("codes", worker, (self._digits, *x.shape))
        squares = self._scratch("squares", worker, codes.shape if noisy else (0, 0, 0))
        none = np.empty((0, 0), np.float32)
        if not self.serial:
            read_kernels.drive_rows(
                x, full_scale, self.top, self._load, matrix.row_siemens, matrix.mismatch.code_levels, codes[0],
                squares[0] if noisy else none, activity,
            )  # fmt: skip
            return codes, squares
        whole = self._scratch("whole", worker, x.shape)
        read_kernels.drive_rows(x, full_scale, self.top, self._load, matrix.row_siemens, none, whole, none, activity)
        read_kernels.split_digits(whole, self.top, digit_bits(self.chip), matrix.mismatch.digit_levels, codes)
        if noisy:
            np.multiply(codes, codes, out=squares)
        return codes, squares

    def _sums(
        self, matrix: CrossbarMatrix, codes: np.ndarray, squares: np.ndarray, worker: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Sums and their variances (chunks, digits * vectors, sensed) of drives (digits, vectors, in)."""
        layout = matrix.layout
        rows = codes.shape[0] * codes.shape[1]
        shape = (layout.slices * layout.row_tiles, rows, layout.sensed)
        sums = self._scratch("sums", worker, shape)
        self.products.sums(codes.reshape(rows, -1), matrix, matrix.pairs, sums)
        variances = self._scratch("variances", worker, shape if squares.size else (0, 0, 0))
        if squares.size:
            self.products.variances(squares.reshape(rows, -1), matrix, variances)
        return sums, variances

    def _add(
        self, acting: Acting, matrix: CrossbarMatrix, x: np.ndarray, full_scale: float, codes: np.ndarray,
        sums: np.ndarray, worker: int = 0,
    ) -> None:  # fmt: skip
        """Add to the sums of inputs x what an effect adds, as products of its own."""
        factors, more = self._scratch("factors", worker, codes.shape), self._scratch("more", worker, sums.shape)
        for kept in acting.products(matrix, x, full_scale, codes if self.serial else None, factors):
            self.products.sums(factors.reshape(sums.shape[1], -1), matrix, kept, more)
            sums += more

    def cycles(self, x: np.ndarray, full_scale: float) -> np.ndarray:
        """For how long inputs x (vectors, in) drive each word line, (in,) float64, in reads at full voltage."""
        code = np.minimum(np.rint(np.abs(x) * (np.float32(self.top) / np.float32(full_scale))), self.top).astype(int)
        return self._load[code].sum(0, dtype=np.float64)

    def find_ranges(self, matrix: CrossbarMatrix, x: np.ndarray) -> Ranges:
        """The ranges that suit inputs like x (vectors, in)."""
        dac = best_range(x, self.chip.array.input_bits)
        codes, squares = self.drive(matrix, x, dac, False, np.empty(len(x)))
        sums, _ = self._sums(matrix, codes, squares)
        for acting in matrix.adding:
            self._add(acting, matrix, x, dac, codes, sums)
        bits = self.chip.periphery.adc_bits
        per_slice = sums.reshape(matrix.layout.slices, -1)
        return Ranges(dac, np.array([best_range(part, bits) if bits else 0.0 for part in per_slice]))

    def _scratch(self, what: str, worker: int, shape: tuple[int, ...], kind: type = np.float32) -> np.ndarray:
        """Uninitialised memory that is used again by the next read: fresh pages cost more than the arithmetic."""
        size, name = math.prod(shape), (what, worker)
        if name not in self._memory or self._memory[name].size < size or self._memory[name].dtype != kind:
            self._memory[name] = empty((size,), kind)
        return self._memory[name][:size].reshape(shape)
