"""The numba kernels: pulses of program-and-verify, conductance at a given age, and the read periphery.

Each has a plain-numpy twin in `reference.py`; the tests assert that the two agree. Loops run over rows in parallel;
sums are kept per row and added in order afterwards, so the result does not depend on the number of threads.
"""

import math

import numpy as np
from numba import njit, prange

from .randoms import BLOCK, GOLDEN, fill_normals, mix, normal, start

HEALTHY, STUCK_LOW, STUCK_HIGH = 0, 1, 2
# Columns of the per-row tally of `program_rows`.
CELL_JOULES, LINE_JOULES, VERIFY_JOULES, PULSES, VERIFIES, REVERSALS = range(6)
TALLY = 6


@njit(parallel=True, cache=True)
def program_rows(
    index, conductance, target, stuck, set_pulses, reset_pulses, busy_seconds, tally, spread_seed, pulse_seed,
    tolerance, pulses_max, step_siemens, step_growth, cycle_sigma, spread_sigma,
    set_volts, set_step_volts, set_seconds, set_joules, reset_volts, reset_step_volts, reset_seconds, reset_joules,
    read_volts, read_seconds, line_farads,
):  # fmt: skip
    """Program-and-verify of every cell of `conductance` (rows, cells), in place; see `writing.program_cells` for the
    model.

    All arrays (rows, cells); `index` uint32 is a cell's number in its matrix (its random streams); `stuck` uint8;
    pulses uint16; `tally` (rows, TALLY). `set_joules`/`reset_joules` below zero mean: take V^2 G t instead. A cell's
    step factor comes from stream (spread_seed, cell), its pulse noise from (pulse_seed, cell).
    """
    rows, cells = conductance.shape
    for i in prange(rows):
        cell_joules = 0.0
        line_joules = 0.0
        verify_joules = 0.0
        pulses_row = 0
        verifies_row = 0
        reversals = 0
        for j in range(cells):
            g = float(conductance[i, j])
            goal = float(target[i, j])
            ups = 0
            downs = 0
            verifies = 1
            verify_joules += read_volts * read_volts * g * read_seconds
            if abs(g - goal) > tolerance:
                factor = step_siemens * math.exp(spread_sigma * normal(start(spread_seed, np.uint64(index[i, j]))))
                state = start(pulse_seed, np.uint64(index[i, j]))
                polarity = 0
                k = 0
                while abs(g - goal) > tolerance and ups + downs < pulses_max:
                    now = 1 if g < goal else -1
                    if now != polarity:
                        reversals += polarity != 0
                        polarity = now
                        k = 0
                    before = g
                    if stuck[i, j] == HEALTHY:
                        step = factor * (1.0 + step_growth * k) * max(0.0, 1.0 + cycle_sigma * normal(state))
                        state += GOLDEN
                        g = max(0.0, g + now * step)
                    mean = 0.5 * (before + g)
                    if now > 0:
                        volts = set_volts + k * set_step_volts
                        cell_joules += set_joules if set_joules >= 0.0 else volts * volts * mean * set_seconds
                        ups += 1
                    else:
                        volts = reset_volts + k * reset_step_volts
                        cell_joules += reset_joules if reset_joules >= 0.0 else volts * volts * mean * reset_seconds
                        downs += 1
                    line_joules += line_farads * volts * volts
                    verify_joules += read_volts * read_volts * g * read_seconds
                    verifies += 1
                    k += 1
            conductance[i, j] = g
            set_pulses[i, j] = ups
            reset_pulses[i, j] = downs
            busy_seconds[i, j] = ups * set_seconds + downs * reset_seconds + verifies * read_seconds
            pulses_row += ups + downs
            verifies_row += verifies
        tally[i, CELL_JOULES] = cell_joules
        tally[i, LINE_JOULES] = line_joules
        tally[i, VERIFY_JOULES] = verify_joules
        tally[i, PULSES] = pulses_row
        tally[i, VERIFIES] = verifies_row
        tally[i, REVERSALS] = reversals


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

    `programmed`, `out` (rows, cells) float32; `index` as in `program_rows`; `level` and `epoch` uint8: what a cell
    holds and in which write it got it; `writes` uint16 counts the writes of a cell and renews its z. Tables: spread
    (epochs, levels), exponent_mean and exponent_sigma (levels,), log_time (epochs,). Stuck cells do not move.
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
