"""The kernels once more, in plain numpy: meant to be read, and the living definition of what the numba kernels compute.

Same arguments, same random streams, same results up to the last bits of floating point; slow. Used by the tests.
"""

import numpy as np

from . import randoms
from .pulse_kernel import (
    ACCESS_JOULES,
    BLOCK,
    CELL_JOULES,
    HEALTHY,
    LINE_JOULES,
    PATH,
    RESETS,
    REVERSALS,
    SETS,
    TALLY,
    VERIFIES,
    VERIFY_JOULES,
)  # fmt: skip


def _mix(z: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        z = (z ^ (z >> np.uint64(30))) * randoms.MIX1
        z = (z ^ (z >> np.uint64(27))) * randoms.MIX2
        return z ^ (z >> np.uint64(31))


def stream_start(seed: np.uint64, index: np.ndarray) -> np.ndarray:
    """First states of the streams `index` (any shape) of the family `seed`."""
    with np.errstate(over="ignore"):
        return _mix(seed + randoms.GOLDEN * (index.astype(np.uint64) + np.uint64(1)))


def quantile(q: np.ndarray) -> np.ndarray:
    """Standard normal quantile at probability q + 1/2, elementwise."""
    q = np.asarray(q, float)
    r = randoms.CENTRE**2 - q * q
    centre = q * np.polyval(randoms.P, r) / np.polyval(randoms.Q, r)
    return np.where(np.abs(q) <= randoms.CENTRE, centre, _tail(q))


def _tail(q: np.ndarray) -> np.ndarray:
    t = np.sqrt(-np.log(0.5 - np.abs(q)))
    near = np.polyval(randoms.C, t - 1.6) / np.polyval(randoms.D, t - 1.6)
    far = np.polyval(randoms.E, t - 5.0) / np.polyval(randoms.F, t - 5.0)
    return np.sign(q) * np.where(t <= 5.0, near, far)


def normals(state: np.ndarray) -> np.ndarray:
    """Standard normals from the words of the given states."""
    return quantile((_mix(state) >> np.uint64(11)).astype(float) * randoms.UNIT + 0.5 * randoms.UNIT - 0.5)


def program_blocks(
    index, conductance, target, stuck, pulses, sets, failed, busy_seconds, tally, spread_seed, pulse_seed, p
) -> None:
    """Program-and-verify, all cells at once: one loop turn is one verify and, where needed, one pulse."""
    index = index if index.size else np.arange(len(target))
    stuck = stuck if stuck.size else np.zeros(len(target), np.uint8)
    g, goal = conductance.astype(float), target.astype(float)
    reach = p.tolerance + p.tolerance_relative * goal
    factor = np.exp(p.spread_sigma * normals(stream_start(spread_seed, index)))
    state = stream_start(pulse_seed, index)
    polarity, k = np.zeros(g.shape, int), np.zeros(g.shape, int)
    ups, downs, verifies = np.zeros(g.shape, int), np.zeros(g.shape, int), np.ones(g.shape, int)
    cell, access, line, reversals = (np.zeros(g.shape) for _ in range(4))
    verify = p.read_volts**2 * g * p.read_seconds
    while True:
        active = (np.abs(g - goal) > reach) & (ups + downs < p.pulses_max)
        if not active.any():
            break
        now = np.where(g < goal, 1, -1)
        turned = active & (now != polarity)
        reversals += turned & (polarity != 0)
        k = np.where(turned, 0, k)
        polarity = np.where(active, now, polarity)
        up = now > 0
        z = normals(state)
        with np.errstate(over="ignore"):
            state = state + randoms.GOLDEN
        mean = np.where(up, p.up_step + p.up_slope * (g - p.low), p.down_step + p.down_slope * (g - p.low))
        step = factor * mean * (1.0 + p.growth * k) * np.maximum(0.0, 1.0 + p.cycle_sigma * z)
        moved = np.clip(g + now * step + p.noise * z, p.floor, p.ceiling)
        before, g = g, np.where(active & (stuck == HEALTHY), moved, g)
        volts = np.where(up, p.set_volts + k * p.set_step_volts, p.reset_volts + k * p.reset_step_volts)
        seconds, fixed = np.where(up, p.set_seconds, p.reset_seconds), np.where(up, p.set_joules, p.reset_joules)
        (own, lost), (own_after, lost_after) = (_powers(volts, one, p) for one in (before, g))
        cell += np.where(active, np.where(fixed >= 0.0, fixed, 0.5 * (own + own_after) * seconds), 0.0)
        access += np.where(active & (fixed < 0.0), 0.5 * (lost + lost_after) * seconds, 0.0)
        line += np.where(active, p.line_farads * volts**2, 0.0)
        verify += np.where(active, p.read_volts**2 * g * p.read_seconds, 0.0)
        ups += active & up
        downs += active & ~up
        verifies += active
        k += active
    conductance[...], pulses[...], sets[...], failed[...] = g, ups + downs, ups, np.abs(g - goal) > reach
    busy_seconds[...] = ups * p.set_seconds + downs * p.reset_seconds + verifies * p.read_seconds
    columns = {
        CELL_JOULES: cell, ACCESS_JOULES: access, LINE_JOULES: line, VERIFY_JOULES: verify, VERIFIES: verifies,
        REVERSALS: reversals, SETS: ups, RESETS: downs,
    }  # fmt: skip
    starts = np.arange(0, len(g), BLOCK)
    tally[...] = np.stack([np.add.reduceat(columns[c], starts) for c in range(TALLY)], 1)


def _powers(volts: np.ndarray, g: np.ndarray, p) -> tuple[np.ndarray, np.ndarray]:
    """Watts in cells (any shape) and in what is in series with them, while `volts` drive them."""
    current = volts * g
    in_access = current**2 * p.access_ohms
    # With the voltage across both, g is the conductance of both.
    return volts * current - (in_access if p.across == PATH else 0.0), in_access


def age_cells(
    index, programmed, level, epoch, stuck, rewrites, seed, exponent_seed, tables, log_time, relaxes, out
) -> None:
    """Relaxation, then drift; see `kernels.age_cells`."""
    cells = len(out)
    index = index if index.size else np.arange(cells)
    epoch, rewrites, stuck = (a if a.size else np.zeros(cells, np.uint8) for a in (epoch, rewrites, stuck))
    target, reach, shift, spread, mean, sigma = (table[epoch, level] for table in tables)
    with np.errstate(over="ignore"):
        state = stream_start(seed, index) + randoms.GOLDEN * (rewrites.astype(np.uint64) + np.uint64(1))
    g = programmed.astype(float)
    if relaxes:
        kept = np.where(np.abs(g - target) <= reach, target, g)
        g = np.maximum(0.0, kept + shift + spread * normals(state))
    nu = np.abs(mean + sigma * normals(stream_start(exponent_seed, index)))
    out[...] = np.where(stuck == HEALTHY, g * np.exp(-log_time[epoch] * nu), programmed)


def read_quantile(q: np.ndarray) -> np.ndarray:
    """Standard normal quantile at probability q + 1/2 as reads have it."""
    r = randoms.READ_CENTRE**2 - q * q
    centre = q * np.polyval(randoms.READ_P, r) / np.polyval(randoms.READ_Q, r)
    return np.where(np.abs(q) <= randoms.READ_CENTRE, centre, _tail(q))


def read_normals(seed: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Standard normals of the numbers (any shape) of seeds: a word makes two, of its low and of its high half."""
    with np.errstate(over="ignore"):
        words = _mix(seed + randoms.GOLDEN * (number.astype(np.uint64) >> np.uint64(1)))
    half = np.where(number % 2 == 0, words & np.uint64(0xFFFFFFFF), words >> np.uint64(32))
    return read_quantile((half.astype(np.uint32).view(np.int32).astype(float) + 0.5) * 2.0**-32)


def convert_rows(partial, variances, gains, lsb, top, seed, first, digits, reference, errors, out) -> None:
    """Read noise, conversion and the sum over chunks; see `read_kernels.convert_rows`."""
    chunks, _, sensed = partial.shape
    vectors, outputs = out.shape
    sums = partial.astype(float).reshape(chunks, len(digits), -1, sensed)[:, :, :vectors]
    adc, curves, curve_of = errors
    if variances.size:
        row = (first + np.arange(vectors))[None] * len(digits) + np.arange(len(digits))[:, None]
        with np.errstate(over="ignore"):
            seeds = _mix(seed + randoms.GOLDEN * row.astype(np.uint64))
        number = np.arange(chunks)[:, None] * (sensed + sensed % 2) + np.arange(sensed)
        z = read_normals(seeds[None, :, :, None], number[:, None, None, :])
        sums = sums + np.sqrt(variances.reshape(chunks, len(digits), -1, sensed)[:, :, :vectors]) * z
    step = lsb[:, None, None, None].astype(float)
    ideal = sums / np.where(step > 0, step, 1.0)
    if adc.size:
        ideal = ideal * adc[0][:, None, None] + adc[1][:, None, None]
        if curves.size:
            code = np.clip(np.rint(ideal), -top, top).astype(int) + int(top)
            ideal = ideal + curves[curve_of[:, None, None, :], code]
    values = np.where(step > 0, np.clip(np.rint(ideal), -top, top) * step, sums)
    held = values[..., reference] if reference.size else 0.0
    out[...] = (digits[:, None, None] * gains[:, None, None] * (values[..., :outputs] - held)).sum((0, 1))


def convert_whole(sums, squares, steps, noise_steps, gains, lsb, top, seed, first, reference, errors, out) -> None:
    """See `read_kernels.convert_whole`."""
    sensed = sums.shape[2] // 2
    partial = (128.0 * sums[..., :sensed] + sums[..., sensed:]) * steps[:, None, None]
    variances = np.empty((0, 0, 0))
    if squares.size:
        variances = (128.0 * squares[:, 0] + squares[:, 1]) * noise_steps[:, None]
    convert_rows(partial, variances, gains, lsb, top, seed, first, np.ones(1), reference, errors, out)


def transform(rows, block) -> None:
    """See `rotation.transform`."""
    if not rows.size:
        return
    matrix = np.ones((1, 1))
    while len(matrix) < block:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    rows[...] = (rows.reshape(-1, block).astype(float) @ matrix / np.sqrt(block)).reshape(rows.shape)


def drive_rows(x, full_scale, top, load, row_siemens, levels, codes, squares, activity) -> None:
    """The input converters and what they drive; see `read_kernels.drive_rows`."""
    code = np.clip(np.rint(x * (np.float32(top) / np.float32(full_scale))), -top, top)
    size = np.abs(code).astype(int)
    exact = code * (np.float32(1.0) / np.float32(top))
    codes[...] = np.copysign(levels[np.arange(x.shape[1]), size], code) if levels.size else exact
    if squares.size:
        squares[...] = codes * codes
    activity[...] = load[size].astype(float) @ row_siemens


def drive_whole(x, full_scale, top, load, row_siemens, codes, squares, activity) -> None:
    """See `read_kernels.drive_whole`."""
    codes[...] = np.clip(np.rint(x * (np.float32(top) / np.float32(full_scale))), -top, top)
    if squares.size:
        squares[0], squares[1] = np.divmod(codes.astype(int) ** 2, 128)
    activity[...] = load[np.abs(codes)].astype(float) @ row_siemens


def bend_cells(siemens, low, step, shapes, out) -> None:
    """Bends of cells from a table of shapes; see `iv_curve.bend_cells`."""
    knots = low + step * np.arange(shapes.shape[1])
    out[...] = [siemens * np.interp(siemens, knots, shape) for shape in shapes]


def _signed_codes(x, full_scale, top) -> np.ndarray:
    """Codes of inputs, counted from 0 for -top."""
    return (np.clip(np.rint(x * (np.float32(top) / np.float32(full_scale))), -top, top) + top).astype(int)


def bend_rows(x, full_scale, top, table, out) -> None:
    """Factors of inputs; vectors that are not there are zero. See `iv_read.bend_rows`."""
    code = np.full(out.shape, top)
    code[: len(x)] = _signed_codes(x, full_scale, top)
    out[...] = table[np.arange(out.shape[1]) if len(table) > 1 else 0, code]


def load_rows(x, full_scale, top, energies, row_bends, total) -> None:
    """What the bends conduct; see `iv_read.load_rows`."""
    total[...] = (energies[:, _signed_codes(x, full_scale, top)] * row_bends[:, None]).sum((0, 2))


def rounding_errors(values, steps, code_max) -> np.ndarray:
    """Error of a quantiser at several step sizes; see `kernels.rounding_errors`."""
    rounded = np.clip(np.rint(values[None] / steps[:, None]), -code_max, code_max) * steps[:, None]
    return ((rounded - values) ** 2).mean(1)


def drive_back(y, scale, top, together, codes, squares, full) -> None:
    """The converters that drive gradients; see `backward.drive_back`."""
    scaled = y * scale
    full[...] = together if together else np.abs(scaled).max(1)
    full[full <= 1e-30] = 1.0
    codes[...] = np.clip(np.rint(scaled * (np.float32(top) / full[:, None])), -top, top) / np.float32(top)
    squares[...] = codes * codes


def transposed_read(y, cells, variance, scale, worth, widths, input_bits, adc_bits, adc, normals, together=0.0):
    """A transposed read of y (vectors, out), one array after another: (vectors, in) float64.

    cells, variance (slices, in, out): what a pair adds at full drive, and the variance of its read noise; scale (out,):
    the weight of a full cell; worth, adc (slices,): of each slice, and the largest sum its converters take; widths:
    outputs of the arrays beside each other; normals (slices * arrays, vectors, in).
    """
    top, adc_top = 2 ** (input_bits - 1) - 1, 2 ** (adc_bits - 1) - 1
    codes, squares, full = np.empty(y.shape), np.empty(y.shape), np.empty(len(y))
    drive_back(y, scale, top, together, codes, squares, full)
    out, number = np.zeros((len(y), cells.shape[1])), 0
    for s, levels in enumerate(cells):
        for first, last in zip(np.r_[0, np.cumsum(widths)[:-1]], np.cumsum(widths), strict=True):
            of = slice(first, last)
            sums = codes[:, of] @ levels[:, of].T
            sums = sums + np.sqrt(squares[:, of] @ variance[s][:, of].T) * normals[number]
            step = adc[s] / adc_top
            out += worth[s] * np.clip(np.rint(sums / step), -adc_top, adc_top) * step
            number += 1
    return out * full[:, None]
