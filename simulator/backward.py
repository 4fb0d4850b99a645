"""A transposed read as it is charged: gradients through the DACs, the cells, read noise, the ADCs (`array.backward`).

The columns of an array are driven, both cells of a pair with opposite signs, and its rows are sensed, one slice of a
weight after another; what several arrays sense for a row is converted apart and added digitally.

1. Every number of a gradient is multiplied by the weight that a full cell of its output stands for, and rounded to a
   code of the DACs. Their range is the largest number of the token, or one for all tokens of the batch, that which
   rounds and cuts them with the least mean squared error (`backward_range`). To find it costs nothing here.
2. The sum of a row gets read noise with the variance of its cells together, sum of code² sigma², and is converted.
   ADC ranges are set from the first gradients behind each calibration of the forward ones, and not charged either.
3. The codes of all slices and arrays are added, times the range.

Converters of the transposed side are all alike, an input is one voltage, and currents are proportional to voltages: the
effects that act on single converters, on digits or on the cells' curve are those of forward reads alone. Wires act as
in forward reads.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numba import njit

from ..devices import Chip
from . import read_kernels
from .arrays import CrossbarMatrix
from .converters import LEAST, best_range, code_max
from .mapping import slice_gain
from .randoms import derived_seed

SAMPLE = 96  # vectors that ADC ranges are set from
NOISE = 1 << 40  # a family of seeds that no forward read has
NO_ERRORS = np.empty((0, 0, 0), np.float32), np.empty((0, 0), np.float32), np.empty((0, 0), np.int32)
NO_REFERENCE = np.empty(0, np.int32)

Multiply = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Piece(NamedTuple):
    """Word lines whose outputs share scales, and the weight (out,) that a full cell of each output stands for."""

    rows: slice
    scale: np.ndarray


class BackwardReader:
    """Reads transposed matrices of one chip."""

    def __init__(self, chip: Chip, seed: np.uint64) -> None:
        self.chip, self._seed, self._reads = chip, derived_seed(seed, NOISE), 0
        self._adc: dict[str, np.ndarray] = {}

    def forget_ranges(self) -> None:
        """Set the ADC ranges anew, from the next gradients."""
        self._adc = {}

    def read(self, name: str, matrix: CrossbarMatrix, y: np.ndarray, multiply: Multiply) -> np.ndarray:
        """y (vectors, out) float32 through the transposed matrix: (vectors, in) float32."""
        out = np.empty((len(y), matrix.layout.inputs), np.float32)
        self._reads += 1
        for number, piece in enumerate(pieces(matrix)):
            seed = derived_seed(self._seed, (self._reads << 16) + number)
            out[:, piece.rows] = self._piece(f"{name} {number}", matrix, piece, y, seed, multiply)
        return out

    def _piece(
        self, name: str, matrix: CrossbarMatrix, piece: Piece, y: np.ndarray, seed: np.uint64, multiply: Multiply
    ) -> np.ndarray:
        array = self.chip.array
        codes, squares, full = np.empty_like(y), np.empty_like(y), np.empty(len(y), np.float32)
        together = best_range(y * piece.scale, array.input_bits) if array.backward_range == "batch" else 0.0
        drive_back(y, piece.scale, code_max(array.input_bits), together, codes, squares, full)
        sums = np.stack([multiply(codes[:, of], cells) for of, cells in parts(matrix, piece, matrix.pairs)])
        if name not in self._adc:
            self._adc[name] = self._ranges(matrix, sums)
        bits = self.chip.periphery.adc_bits
        adc_top = np.float32(code_max(bits) if bits else 0)
        each = len(sums) // matrix.layout.slices
        lsb = np.repeat(self._adc[name] / adc_top if bits else self._adc[name], each).astype(np.float32)
        variances = np.empty((0, 0, 0), np.float32)
        if matrix.noise_bits.size:
            noise = matrix.noise
            variances = np.stack([multiply(squares[:, of], v) for of, v in parts(matrix, piece, noise, noise=True)])
        gains = np.repeat(slice_gain(matrix.layout), each)[:, None].repeat(sums.shape[2], 1).astype(np.float32)
        found = np.empty(sums.shape[1:], np.float32)
        read_kernels.convert_rows(
            sums, variances, gains, lsb, adc_top, seed, 0, np.ones(1, np.float32), NO_REFERENCE, NO_ERRORS, found
        )
        found *= full[:, None]
        return found

    def _ranges(self, matrix: CrossbarMatrix, sums: np.ndarray) -> np.ndarray:
        """The ADC range of each slice (slices,) for sums (slices * column tiles, vectors, rows) like these."""
        bits, few = self.chip.periphery.adc_bits, sums[:, :: max(1, sums.shape[1] // SAMPLE)]
        by_slice = few.reshape(matrix.layout.slices, -1)
        return np.array([best_range(part, bits) if bits else 0.0 for part in by_slice])


def pieces(matrix: CrossbarMatrix) -> list[Piece]:
    """What of a matrix is driven alike: all of it, or each stack of arrays where these have scales of their own."""
    layout = matrix.layout
    scales = matrix.gains[0] / np.float32(slice_gain(layout)[0])
    if (scales == scales[:1]).all():
        return [Piece(slice(0, layout.inputs), scales[0])]
    rows = [slice(t * layout.rows, min((t + 1) * layout.rows, layout.inputs)) for t in range(layout.row_tiles)]
    return [Piece(where, scale) for where, scale in zip(rows, scales, strict=True)]


def parts(
    matrix: CrossbarMatrix, piece: Piece, held: np.ndarray, noise: bool = False
) -> Iterator[tuple[slice, np.ndarray]]:
    """(outputs, cells (outputs, rows)) of every array column of every slice, in the order of conversion; `held`: what
    columns add (slices, in, sensed), or the variances of that. An output is taken against its reference.
    """
    layout = matrix.layout
    for s in range(layout.slices):
        for first in range(0, layout.outputs, layout.outputs_per_array):
            of = slice(first, min(first + layout.outputs_per_array, layout.outputs))
            cells = held[s, piece.rows, of]
            if layout.references:
                beside = held[s, piece.rows, matrix.reference[first], None]
                cells = cells + beside if noise else cells - beside
            yield of, cells.T


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def drive_back(y, scale, top, together, codes, squares, full):
    """Codes of gradients y (vectors, out) times `scale` (out,), over full drive, and their squares; full (vectors,):
    what full drive stands for: `together`, or where that is 0 the largest number of the vector.
    """
    steps = np.float32(top)
    back = np.float32(1.0) / steps
    for b in range(len(y)):
        peak = np.float32(together)
        for j in range(y.shape[1]):
            codes[b, j] = y[b, j] * scale[j]
        if peak == 0:
            for j in range(y.shape[1]):
                peak = max(peak, abs(codes[b, j]))
        full[b] = peak if peak > np.float32(LEAST) else np.float32(1.0)
        inverse = steps / full[b]
        for j in range(y.shape[1]):
            codes[b, j] = min(max(np.rint(codes[b, j] * inverse), -steps), steps) * back
            squares[b, j] = codes[b, j] * codes[b, j]
