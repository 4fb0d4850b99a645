"""Arrays that begin at a multiple of 64 bytes.

Where an array begins can decide how a product library sums (Intel says so of MKL: results may change from run to run
where operands are not aligned), and where numpy puts an array depends on all that the process did before. What goes
into products is therefore aligned: equal numbers, equal sums.
"""

import math

import numpy as np

BOUNDARY_BYTES = 64


def empty(shape: tuple[int, ...], kind: type | np.dtype = np.float32) -> np.ndarray:
    """An uninitialised array of that shape and type that begins at a multiple of 64 bytes."""
    kind = np.dtype(kind)
    size = math.prod(shape) * kind.itemsize
    memory = np.empty(size + BOUNDARY_BYTES, np.uint8)
    first = -memory.ctypes.data % BOUNDARY_BYTES
    return memory[first : first + size].view(kind).reshape(shape)


def aligned(array: np.ndarray) -> np.ndarray:
    """The array itself if it is aligned and C-contiguous, else a copy that is."""
    return array if array.ctypes.data % BOUNDARY_BYTES == 0 and array.flags.c_contiguous else copied(array)


def copied(array: np.ndarray) -> np.ndarray:
    """An aligned, C-contiguous copy."""
    copy = empty(array.shape, array.dtype)
    copy[...] = array
    return copy
