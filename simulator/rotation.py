"""Rotation of weights and inputs by Walsh-Hadamard matrices, a choice of the mapping (`array.rotation`).

With H orthonormal, W x = (W H) (H^T x): the cells hold W H, the converters apply H^T x, and nothing changes but for
rounding. Rotated rows and inputs are mixtures of many values: an outlier is spread over its block, the range that
levels and converters have to cover shrinks, and so does their rounding (Ashkboos et al., QuaRot, NeurIPS 2024; Tseng
et al., QuIP#, ICML 2024; HALO rotates the same way for low-precision training). Simulated, 384 inputs, 4-bit cells,
nothing but rounding: with 2 % of normally distributed weights and six of the inputs 20 times as large, the relative
error of the weights falls from 21 % to 5 %, that of products from 22 % to 7 %. Weights without outliers gain nothing
and lose nothing (6 %).

none: no rotation.
hadamard: blocks of the Walsh-Hadamard matrix in natural order over sqrt(n), of the largest power of two that divides
    the length; a length that is odd is not rotated.
random_hadamard: the same after random signs of the inputs, fixed for a length; without them constant rows would become
    outliers.

A transform of n numbers is n log2(block) additions in the digital unit. They are counted for every vector that is read,
forward and transposed, and for every row that is written: matrices that share their inputs could share the transform,
which would save some. The factor 1/sqrt(block) goes with the scales and costs nothing, as do signs.
"""

from functools import lru_cache

import numpy as np
from numba import njit

from ..devices import Chip

SIGNS = 0x51675  # seed of the signs


def block_of(length: int) -> int:
    """The largest power of two that divides a length."""
    return length & -length


def additions(chip: Chip, length: int) -> float:
    """Digital additions of the transform of one vector on a chip; 0 without rotation."""
    return 0.0 if chip.array.rotation == "none" else float(length * (block_of(length).bit_length() - 1))


def rotated(chip: Chip, rows: np.ndarray) -> np.ndarray:
    """Rows (n, length) as they are written to cells, or applied to them: float32, `rows` itself without rotation."""
    if chip.array.rotation == "none":
        return rows
    values = np.array(rows, np.float32, order="C")
    if chip.array.rotation == "random_hadamard":
        values *= signs(values.shape[1])
    transform(values, block_of(values.shape[1]))
    return values


def unrotated(chip: Chip, rows: np.ndarray) -> np.ndarray:
    """The inverse of `rotated`."""
    if chip.array.rotation == "none":
        return rows
    values = np.array(rows, np.float32, order="C")
    transform(values, block_of(values.shape[1]))
    if chip.array.rotation == "random_hadamard":
        values *= signs(values.shape[1])
    return values


@lru_cache(maxsize=64)
def signs(length: int) -> np.ndarray:
    """(length,) float32 of 1 and -1: the same for all matrices with inputs of this length."""
    return np.random.default_rng([SIGNS, length]).choice(np.array([1.0, -1.0], np.float32), length)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def transform(rows, block):
    """Multiply every block of the rows (n, length) float32 with the orthonormal Walsh-Hadamard matrix, in place."""
    length = rows.shape[1]
    factor = np.float32(1.0 / np.sqrt(block))
    for r in range(len(rows)):
        row = rows[r]
        half = 1
        while half < block:
            for start in range(0, length, 2 * half):
                for i in range(start, start + half):
                    a, b = row[i], row[i + half]
                    row[i], row[i + half] = a + b, a - b
            half *= 2
        for i in range(length):
            row[i] *= factor
