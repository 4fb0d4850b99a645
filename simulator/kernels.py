"""Numba kernels: conductance at a given age, and the read periphery.

Each has a plain-numpy twin in `reference.py`; the tests assert that the two agree. Loops run over rows in parallel;
sums are kept per row and added in order afterwards, so the result does not depend on the number of threads.
"""

import math

import numpy as np
from numba import njit, prange

from .pulse_kernel import HEALTHY
from .randoms import BLOCK, GOLDEN, fill_normals, mix, normal, start


@njit(parallel=True, cache=True)
def age_rows(
    index,
    programmed,
    level,
    epoch,
    stuck,
    writes,
    spread,
    exponent_mean,
    exponent_sigma,
    log_time,
    seed,
    exponent_seed,
    out,
):
    """Conductance after relaxation and drift: out = max(0, G + spread z) * exp(-log_time * max(0, nu)).

    `programmed`, `out` (rows, cells) float32; `index` uint32, a cell's number in its matrix; `level` and `epoch` uint8:
    what a cell holds and in which write it got it; `writes` uint16 counts the writes of a cell and renews its z.
    Tables: spread (epochs, levels), exponent_mean and exponent_sigma (levels,), log_time (epochs,). Stuck cells do not
    move.
    """
    rows, cells = programmed.shape
    for i in prange(rows):
        for j in range(cells):
            g = float(programmed[i, j])
            if stuck[i, j] == HEALTHY:
                cell = np.uint64(index[i, j])
                n = level[i, j]
                e = epoch[i, j]
                if spread[e, n] > 0.0:
                    g = max(0.0, g + spread[e, n] * normal(start(seed, cell) + GOLDEN * np.uint64(writes[i, j])))
                if log_time[e] > 0.0:
                    nu = exponent_mean[n]
                    if exponent_sigma[n] > 0.0:
                        nu = max(0.0, nu + exponent_sigma[n] * normal(start(exponent_seed, cell)))
                    g *= math.exp(-log_time[e] * nu)
            out[i, j] = g


@njit(parallel=True, cache=True, error_model="numpy", fastmath=True)
def convert_rows(partial, variance, gains, lsb, code_max, seed, out):
    """Add read noise to the partial sums, convert them (ADC), and add the chunks with their gains.

    partial, variance (chunks, vectors, outputs) float32; variance may have zero size (no read noise); gains (chunks,
    outputs) and lsb (chunks,) float32. code = clip(round((partial + sqrt(variance) z) / lsb), +-code_max); out
    (vectors, outputs) = sum of gain * code * lsb. A chunk with lsb = 0 is not rounded. The normal number of (vector,
    chunk, output) depends on the seed and that index only.
    """
    chunks, vectors, outputs = partial.shape
    noisy = variance.size > 0
    for b in prange(vectors):
        z = np.empty(BLOCK, np.float32)
        centred = np.empty(BLOCK, np.float32)
        tails = np.empty(BLOCK, np.int32)
        row_seed = mix(seed + GOLDEN * np.uint64(b))
        for first in range(0, outputs, BLOCK):
            last = min(first + BLOCK, outputs)
            total = out[b, first:last]
            total[:] = np.float32(0.0)
            for c in range(chunks):
                counter = np.uint64(c * outputs + first)
                if noisy:
                    fill_normals(row_seed, counter, z[: last - first], centred, tails)
                    _noisy_sums(partial[c, b, first:last], variance[c, b, first:last], z)
                else:
                    z[: last - first] = partial[c, b, first:last]
                _convert_and_add(z, gains[c, first:last], lsb[c], code_max, total)


@njit(error_model="numpy", fastmath=True)
def _noisy_sums(partial, variance, z):
    for j in range(len(partial)):
        z[j] = partial[j] + z[j] * np.float32(math.sqrt(variance[j]))


@njit(error_model="numpy", fastmath=True)
def _convert_and_add(z, gains, step, code_max, total):
    if step > 0:
        scale = np.float32(1.0) / step
        for j in range(len(total)):
            total[j] += gains[j] * (min(max(np.rint(z[j] * scale), -code_max), code_max) * step)
    else:
        for j in range(len(total)):
            total[j] += gains[j] * z[j]


@njit(parallel=True, cache=True, error_model="numpy", fastmath=True)
def drive_rows(x, full_scale, top, load, row_siemens, codes, squares, activity):
    """Convert the inputs (DAC) and tally what they drive.

    x (vectors, inputs) float32; codes = clip(round(x / full_scale * top), +-top) / top, in [-1, 1]; squares =
    codes^2 (skipped when it has zero size). load (top + 1,) float32: what a code of that magnitude conducts, in
    full-voltage cycles (see `drive_load`); activity (vectors,) float64 gets the sum over inputs of load * row_siemens.
    """
    vectors, inputs = x.shape
    want = squares.size > 0
    steps = np.float32(top)
    scale = steps / np.float32(full_scale)
    back = np.float32(1.0) / steps
    for b in prange(vectors):
        for i in range(inputs):
            codes[b, i] = min(max(np.rint(x[b, i] * scale), -steps), steps)
        total = np.float64(0.0)
        for i in range(inputs):
            total += load[int(abs(codes[b, i]))] * row_siemens[i]
        for i in range(inputs):
            codes[b, i] *= back
        if want:
            for i in range(inputs):
                squares[b, i] = codes[b, i] * codes[b, i]
        activity[b] = total


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
