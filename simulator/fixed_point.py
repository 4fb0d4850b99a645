"""What reads multiply, as whole numbers: sums that are exact, the same on every processor, and faster than float32.

Inputs are codes of the DACs, whole numbers of 8 bits anyway. What a column adds (`CrossbarMatrix.pairs`) is rounded to
one of 2 x 16256 steps, of 1/16256 of the largest of its slice, and held as two numbers of 8 bits, 128 high + low. The
variance of the read noise is rounded to one of 127 steps of the largest that its column has in its array, and what
rounding took from a cell is given to the next, so that the variances of a column keep their sum; squares of codes are
exact, 128 high + low again. The products of 8-bit numbers are summed in 32 bits.

Rounding moves a cell by 0.003 % of the largest at most. Cells are programmed to within some percent.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from .aligned import empty

LOW = 128  # steps of the high number
LARGEST = 127 * LOW
NOISE_LARGEST = 127
MOST_CODE = 127  # of an input, so that it and its square fit
MOST_ADC_BITS = 12  # a step of finer converters is not large beside what rounding the conductances moves a sum by


class FixedPoint(NamedTuple):
    """values (slices, in, 2 sensed) int8: the high numbers of all columns, then the low ones; steps (slices *
    row_tiles,) float32: what 1 stands for. noise (slices, in, sensed) int8, and noise_steps (slices * row_tiles,
    sensed) float32: the same of the variances; of size 0 without read noise.
    """

    values: np.ndarray
    steps: np.ndarray
    noise: np.ndarray
    noise_steps: np.ndarray


def fixed_point(pairs: np.ndarray, noise_bits: np.ndarray, rows: int) -> FixedPoint:
    """Of what columns add, (slices, in, sensed) float32, and its variances, bfloat16 bits (uint16) of the same shape or
    of size 0, in arrays of so many rows.
    """
    slices, inputs, sensed = pairs.shape
    tiles = -(-inputs // rows)
    values, steps = empty((slices, inputs, 2 * sensed), np.int8), np.empty(slices * tiles, np.float32)
    for s in range(slices):
        step = np.float32(np.abs(pairs[s]).max() / LARGEST)
        steps[s * tiles : (s + 1) * tiles] = step
        _split(pairs[s], np.float32(1.0 / step) if step > 0 else np.float32(0.0), values[s])
    if not noise_bits.size:
        return FixedPoint(values, steps, np.empty((0, 0, 0), np.int8), np.empty((0, 0), np.float32))
    noise, noise_steps = empty(pairs.shape, np.int8), np.empty((slices * tiles, sensed), np.float32)
    _round_noise(noise_bits, rows, noise, noise_steps)
    return FixedPoint(values, steps, noise, noise_steps)


@njit(nogil=True, cache=True, error_model="numpy")
def _split(pairs, inverse, values):
    inputs, sensed = pairs.shape
    for i in range(inputs):
        for j in range(sensed):
            whole = int(np.rint(pairs[i, j] * inverse))
            high = (whole + LOW // 2) >> 7
            values[i, j] = high
            values[i, sensed + j] = whole - LOW * high


@njit(nogil=True, cache=True, error_model="numpy")
def _round_noise(bits, rows, noise, steps):
    slices, inputs, sensed = bits.shape
    tiles = -(-inputs // rows)
    wide = np.empty(sensed, np.uint32)
    values = wide.view(np.float32)
    inverse = np.empty(sensed, np.float32)
    for s in range(slices):
        for tile in range(tiles):
            first, last = tile * rows, min((tile + 1) * rows, inputs)
            largest = np.zeros(sensed, np.uint16)  # bits of positive numbers are in the order of the numbers
            for i in range(first, last):
                for j in range(sensed):
                    largest[j] = max(largest[j], bits[s, i, j])
            for j in range(sensed):
                wide[j] = np.uint32(largest[j]) << np.uint32(16)
            for j in range(sensed):
                steps[s * tiles + tile, j] = values[j] / np.float32(NOISE_LARGEST)
                inverse[j] = np.float32(NOISE_LARGEST) / values[j] if values[j] > 0 else np.float32(0.0)
            carried = np.zeros(sensed, np.float32)
            for i in range(first, last):
                for j in range(sensed):
                    wide[j] = np.uint32(bits[s, i, j]) << np.uint32(16)
                for j in range(sensed):
                    wanted = values[j] * inverse[j] + carried[j]
                    whole = min(max(np.rint(wanted), np.float32(0.0)), np.float32(NOISE_LARGEST))
                    carried[j] = wanted - whole
                    noise[s, i, j] = int(whole)
