"""Numba kernels: conductance at a given age, and the error of a converter.

Each has a plain-numpy twin in `reference.py`; the tests assert that the two agree. Loops run over rows in parallel;
sums are kept per row and added in order afterwards, so the result does not depend on the number of threads.
"""

import math

import numpy as np
from numba import njit, prange

from .pulse_kernel import HEALTHY
from .randoms import BLOCK, GOLDEN, normal, normals_of, start


@njit(parallel=True, cache=True, error_model="numpy", fastmath=True)
def age_cells(index, programmed, level, epoch, stuck, rewrites, seed, exponent_seed, tables, log_time, relaxes, out):
    """Conductance of cells some time after they were written; see `retention` for the laws.

    All arrays (cells,): `programmed`, `out` float32; `index` uint32, a cell's number in its matrix (of size 0: its
    place); `level` uint8; `epoch` uint8, in which write it got it, `rewrites` uint16, how often it got another (of size
    0: none since the first); `stuck` uint8 (of size 0: none is). tables (6, epochs, levels): target, reach (of the
    verify), shift, spread, mean of the exponent, and its sigma; log_time (epochs,). `relaxes`: whether shift and spread
    are known. Stuck cells do not move.
    """
    blocks = -(-len(out) // BLOCK)
    for block in prange(blocks):
        first = block * BLOCK
        last = min(first + BLOCK, len(out))
        _age_block(
            first, last, index, programmed, level, epoch, stuck, rewrites, seed, exponent_seed, tables, log_time,
            relaxes, out,
        )  # fmt: skip


@njit(error_model="numpy", fastmath=True)
def _age_block(
    first, last, index, programmed, level, epoch, stuck, rewrites, seed, exponent_seed, tables, log_time, relaxes, out
):
    state, chosen = np.empty(BLOCK, np.uint64), np.empty(BLOCK + 1, np.int32)
    z, centred = np.zeros(BLOCK), np.empty(BLOCK)
    n = last - first
    spreads = relaxes and tables[3].max() > 0.0
    drifts = log_time.max() > 0.0
    if spreads:
        for t in range(n):
            number = np.uint64(first + t) if index.size == 0 else np.uint64(index[first + t])
            turn = np.uint64(1) if rewrites.size == 0 else np.uint64(rewrites[first + t]) + np.uint64(1)
            state[t] = start(seed, number) + GOLDEN * turn
        normals_of(state, np.uint64(0), n, z, 0, centred, chosen)
    for t in range(n):
        j = first + t
        g = float(programmed[j])
        if relaxes and (stuck.size == 0 or stuck[j] == HEALTHY):
            e = 0 if epoch.size == 0 else epoch[j]
            target = tables[0, e, level[j]]
            if abs(g - target) <= tables[1, e, level[j]]:
                g = target
            g = max(0.0, g + tables[2, e, level[j]] + tables[3, e, level[j]] * z[t])
        out[j] = g
    if drifts:
        for t in range(n):
            number = np.uint64(first + t) if index.size == 0 else np.uint64(index[first + t])
            state[t] = start(exponent_seed, number)
        normals_of(state, np.uint64(0), n, z, 0, centred, chosen)
        for t in range(n):
            j = first + t
            if stuck.size == 0 or stuck[j] == HEALTHY:
                e = 0 if epoch.size == 0 else epoch[j]
                nu = abs(tables[4, e, level[j]] + tables[5, e, level[j]] * z[t])
                out[j] *= math.exp(-log_time[e] * nu)


@njit(cache=True)
def cell_normals(seed, index, out):
    """The normal number of stream (seed, index) of every cell; all (cells,)."""
    for j in range(len(out)):
        out[j] = normal(start(seed, np.uint64(index[j])))


@njit(cache=True, error_model="numpy", fastmath=True)
def rounding_errors(values, steps, code_max):
    """Mean squared error of values (n,) float32 rounded to multiples of each step, clipped at +-code_max steps."""
    errors = np.empty(len(steps))
    top = np.float32(code_max)
    for k in range(len(steps)):
        step = np.float32(steps[k])
        scale = np.float32(1.0) / step
        total = np.float32(0.0)
        for i in range(len(values)):
            error = min(max(np.rint(values[i] * scale), -top), top) * step - values[i]
            total += error * error
        errors[k] = total / len(values)
    return errors


@njit(parallel=True, cache=True, error_model="numpy", fastmath=True)
def clipping_errors(weight, scale, rows, shares, variance, out):
    """Expected squared error of weights whose scale is cut to a share, summed over the word lines of each array.

    weight (outputs, inputs) float32; scale (row_tiles, outputs) float32; rows: word lines of an array; shares (shares,)
    float32; variance (2 top + 1,) float32: expected squared error of the cells of each integer from -top, in units of
    the scale squared. out (shares, row_tiles, outputs) float64, in units of the uncut scale squared.
    """
    top = np.float32((len(variance) - 1) // 2)
    back = np.float32(1.0) / top
    for o in prange(len(weight)):
        for tile in range(len(scale)):
            first, last = tile * rows, min((tile + 1) * rows, weight.shape[1])
            for k in range(len(shares)):
                factor = top / (scale[tile, o] * shares[k])
                total = np.float32(0.0)
                for i in range(first, last):
                    value = weight[o, i] * factor
                    q = min(max(np.rint(value), -top), top)
                    error = (value - q) * back
                    total += error * error + variance[int(q + top)]
                out[k, tile, o] = float(total) * float(shares[k]) ** 2
