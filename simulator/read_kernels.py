"""Numba kernels of a read: the drive of the word lines, sums for a few vectors, and the conversion of the sums.

Each has a plain-numpy twin in `reference.py`. They run on the thread that calls them and let others run meanwhile; a
large read calls them from several threads (see `threads`).
"""

import math

import numpy as np
from numba import njit

from .randoms import BLOCK, GOLDEN, fill_normals, mix


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def drive_rows(x, full_scale, top, load, row_siemens, levels, codes, squares, activity):
    """Convert the inputs (DAC) and tally what they drive.

    x (vectors, inputs) float32; codes = clip(round(x / full_scale * top), +-top) / top, in [-1, 1]; squares = codes^2
    (skipped when it has zero size). levels (inputs, top + 1) float32: what the driver of an input makes of a code of
    each magnitude, over full drive (of size 0: code / top). load (top + 1,) float32: what a code of that magnitude
    conducts, in full-voltage cycles (see `drive_load`); activity (vectors,) float64 gets the sum over inputs of load *
    row_siemens.
    """
    for b in range(len(x)):
        activity[b] = _drive(x[b], full_scale, top, load, row_siemens, levels, codes[b], squares, b)


@njit(error_model="numpy", fastmath=True)
def _drive(x, full_scale, top, load, row_siemens, levels, codes, squares, b):
    inputs = len(x)
    steps = np.float32(top)
    scale = steps / np.float32(full_scale)
    back = np.float32(1.0) / steps
    for i in range(inputs):
        codes[i] = min(max(np.rint(x[i] * scale), -steps), steps)
    total = np.float64(0.0)
    for i in range(inputs):
        total += load[int(abs(codes[i]))] * row_siemens[i]
    if levels.size == 0:
        for i in range(inputs):
            codes[i] *= back
    else:
        for i in range(inputs):
            codes[i] = math.copysign(levels[i, int(abs(codes[i]))], codes[i])
    if squares.size > 0:
        for i in range(inputs):
            squares[b, i] = codes[i] * codes[i]
    return total


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def drive_whole(x, full_scale, top, load, row_siemens, codes, squares, activity):
    """The same for products of whole numbers: codes (vectors, inputs) int8 = clip(round(x / full_scale * top), +-top).

    squares (2, vectors, inputs) int8, skipped when it has zero size: codes^2 as 128 high + low, the high numbers first.
    """
    inputs = x.shape[1]
    steps = np.float32(top)
    scale = steps / np.float32(full_scale)
    whole = np.empty(inputs, np.int32)
    for b in range(len(x)):
        for i in range(inputs):
            whole[i] = np.int32(min(max(np.rint(x[b, i] * scale), -steps), steps))
        total = np.float64(0.0)
        for i in range(inputs):
            total += load[abs(whole[i])] * row_siemens[i]
        activity[b] = total
        for i in range(inputs):
            codes[b, i] = whole[i]
        if squares.size > 0:
            for i in range(inputs):
                square = whole[i] * whole[i]
                squares[0, b, i] = square >> 7
                squares[1, b, i] = square & 127


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def sum_few(codes, weights, rows, out):
    """Sums of a few vectors: codes (vectors, in) times weights (slices, in, sensed), float32, for each slice and stack
    of `rows` word lines, into out (slices * row_tiles, vectors, sensed).
    """
    vectors, inputs = codes.shape
    slices, _, sensed = weights.shape
    tiles = -(-inputs // rows)
    for s in range(slices):
        for tile in range(tiles):
            for b in range(vectors):
                total = out[s * tiles + tile, b]
                total[:] = np.float32(0.0)
                first, last = tile * rows, min((tile + 1) * rows, inputs)
                while first + 4 <= last:
                    a0, a1, a2, a3 = codes[b, first], codes[b, first + 1], codes[b, first + 2], codes[b, first + 3]
                    w = weights[s, first : first + 4]
                    for j in range(sensed):
                        total[j] += (a0 * w[0, j] + a1 * w[1, j]) + (a2 * w[2, j] + a3 * w[3, j])
                    first += 4
                for i in range(first, last):
                    a0 = codes[b, i]
                    for j in range(sensed):
                        total[j] += a0 * weights[s, i, j]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def sum_few_bits(codes, bits, rows, out):
    """The same with weights as bfloat16 bits (uint16)."""
    vectors, inputs = codes.shape
    slices, _, sensed = bits.shape
    tiles = -(-inputs // rows)
    wide = np.empty(sensed, np.uint32)
    values = wide.view(np.float32)
    for s in range(slices):
        for tile in range(tiles):
            for b in range(vectors):
                out[s * tiles + tile, b, :] = np.float32(0.0)
            for i in range(tile * rows, min((tile + 1) * rows, inputs)):
                for j in range(sensed):
                    wide[j] = np.uint32(bits[s, i, j]) << np.uint32(16)
                for b in range(vectors):
                    total = out[s * tiles + tile, b]
                    for j in range(sensed):
                        total[j] += codes[b, i] * values[j]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def widen(bits, out):
    """float32 values of bfloat16 bits, both (rows, columns)."""
    as_bits = out.view(np.uint32)
    for i in range(len(bits)):
        _widen_row(bits[i], as_bits[i])


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def convert_rows(partial, variances, gains, lsb, top, seed, first, digits, reference, errors, out):
    """Add read noise to the partial sums, convert them (ADC), and add the chunks with their gains.

    partial (chunks, digits * vectors, sensed) float32. variances: the same shape, or of zero size (no read noise).
    gains (chunks, outputs), lsb (chunks,) float32; digits (digits,) float32: the worth of each input digit. code =
    clip(round((partial + sqrt(variance) z) / lsb), +-top), value = code * lsb; a chunk with lsb = 0 is not rounded.
    reference (outputs,) int32: the sensed column that an output is taken against (of size 0: none). errors: what
    converters have, of size 0 where they have none: (2, chunks, sensed) float32, gain and offset in codes; (curves,
    2 top + 1) float32, what is added to each code; (chunks, sensed) int32, the curve of each. out (vectors, outputs) =
    sum of digit * gain * (value - value of the reference).
    The normal number of (vector, digit, chunk, column) depends on the seed, `first` + vector, and the rest of that
    index only.
    """
    sensed = partial.shape[2]
    scratch = (
        np.empty(sensed, np.float32), np.empty(sensed, np.float32),
        np.empty(BLOCK, np.float32), np.empty(BLOCK // 2, np.uint64), np.empty(BLOCK + 1, np.int32),
    )  # fmt: skip
    for b in range(len(out)):
        _convert(partial, variances, gains, lsb, top, seed, first, digits, reference, errors, out, b, scratch)


@njit(error_model="numpy", fastmath=True)
def _convert(partial, variances, gains, lsb, top, seed, first, digits, reference, errors, out, b, scratch):
    chunks, rows, sensed = partial.shape
    noisy = variances.size > 0
    z, deviation, centred, words, tails = scratch
    total = out[b]
    total[:] = np.float32(0.0)
    for d in range(len(digits)):
        row = d * (rows // len(digits)) + b
        row_seed = mix(seed + GOLDEN * np.uint64((first + b) * len(digits) + d))
        for c in range(chunks):
            if noisy:
                _fill(row_seed, c * (sensed + sensed % 2), z, words, centred, tails)
                for j in range(sensed):
                    deviation[j] = math.sqrt(variances[c, row, j])
            _finish(partial[c, row], noisy, deviation, z, c, lsb, top, digits[d], gains, reference, errors, total)


@njit(error_model="numpy", fastmath=True)
def _finish(sums, noisy, deviation, z, c, lsb, top, digit, gains, reference, errors, total):
    """Noise, conversion and gain of the sums of one vector in one chunk."""
    adc = errors[0]
    plain = adc.size == 0 and reference.size == 0
    if noisy and plain and lsb[c] > 0:
        _noise_round_add(sums, deviation, z, lsb[c], top, digit, gains[c], total)
        return
    worth = digit * lsb[c] if lsb[c] > 0 else digit
    inverse = np.float32(1.0) / lsb[c] if lsb[c] > 0 else np.float32(0.0)
    if noisy:
        for j in range(len(z)):
            z[j] = sums[j] + z[j] * deviation[j]
    else:
        for j in range(len(z)):
            z[j] = sums[j]
    if plain:
        _round_and_add(z, inverse, top, worth, gains[c], total)
        return
    if adc.size == 0:
        _round(z, inverse, top, z)
    else:
        _round_unequal(z, inverse, top, errors, c, z)
    _add(z, reference, worth, gains[c], total)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def convert_whole(sums, squares, steps, noise_steps, gains, lsb, top, seed, first, reference, errors, out):
    """The same for products of whole numbers (`fixed_point`).

    sums (chunks, rows, 2 sensed) int32: of the high numbers, then of the low ones, in `steps` (chunks,). squares
    (chunks, 2, rows, sensed) int32: variances by the high part of the squared codes, then by the low one, in
    `noise_steps` (chunks, sensed); of zero size without read noise.
    """
    chunks, sensed = len(sums), sums.shape[2] // 2
    noisy, digit = squares.size > 0, np.float32(1.0)
    row, z, deviation = np.empty(sensed, np.float32), np.empty(sensed, np.float32), np.empty(sensed, np.float32)
    words, centred, tails = np.empty(BLOCK // 2, np.uint64), np.empty(BLOCK, np.float32), np.empty(BLOCK + 1, np.int32)
    for b in range(len(out)):
        total = out[b]
        total[:] = np.float32(0.0)
        row_seed = mix(seed + GOLDEN * np.uint64(first + b))
        for c in range(chunks):
            _joined(sums[c, b, :sensed], sums[c, b, sensed:], steps[c], row)
            if noisy:
                _fill(row_seed, c * (sensed + sensed % 2), z, words, centred, tails)
                _roots(squares[c, 0, b], squares[c, 1, b], noise_steps[c], deviation)
            _finish(row, noisy, deviation, z, c, lsb, top, digit, gains, reference, errors, total)


@njit(error_model="numpy", fastmath=True)
def _joined(high, low, step, out):
    for j in range(len(out)):
        out[j] = (np.float32(128.0) * np.float32(high[j]) + np.float32(low[j])) * step


@njit(error_model="numpy", fastmath=True)
def _roots(high, low, steps, out):
    for j in range(len(out)):
        out[j] = math.sqrt((np.float32(128.0) * np.float32(high[j]) + np.float32(low[j])) * steps[j])


@njit(error_model="numpy", fastmath=True)
def _fill(seed, first, z, words, centred, tails):
    for start in range(0, len(z), BLOCK):
        fill_normals(seed, first + start, z[start : min(start + BLOCK, len(z))], words, centred, tails)


@njit(error_model="numpy", fastmath=True)
def _add(codes, reference, worth, gains, total):
    if reference.size == 0:
        for j in range(len(total)):
            total[j] += worth * gains[j] * codes[j]
    else:
        for j in range(len(total)):
            total[j] += worth * gains[j] * (codes[j] - codes[reference[j]])


@njit(error_model="numpy", fastmath=True)
def _widen_row(bits, wide):
    """The bits of float32 numbers from those of bfloat16 numbers."""
    for j in range(len(bits)):
        wide[j] = np.uint32(bits[j]) << np.uint32(16)


@njit(error_model="numpy", fastmath=True)
def _noise_round_add(sums, deviation, z, lsb, top, digit, gains, total):
    """All in one loop, for converters that are alike and have steps: the most frequent case."""
    worth, inverse = digit * lsb, np.float32(1.0) / lsb
    for j in range(len(total)):
        code = np.rint((sums[j] + z[j] * deviation[j]) * inverse)
        total[j] += worth * gains[j] * min(max(code, -top), top)


@njit(error_model="numpy", fastmath=True)
def _round_and_add(sums, inverse, top, worth, gains, total):
    if inverse > 0:
        for j in range(len(total)):
            total[j] += worth * gains[j] * min(max(np.rint(sums[j] * inverse), -top), top)
    else:
        for j in range(len(total)):
            total[j] += worth * gains[j] * sums[j]


@njit(error_model="numpy", fastmath=True)
def _round(sums, inverse, top, codes):
    for j in range(len(codes)):
        codes[j] = min(max(np.rint(sums[j] * inverse), -top), top) if inverse > 0 else sums[j]


@njit(error_model="numpy", fastmath=True)
def _round_unequal(sums, inverse, top, errors, chunk, codes):
    """Codes of converters that differ; without steps (inverse = 0) they are exact."""
    adc, curves, curve_of = errors
    if inverse == 0:
        codes[:] = sums
        return
    for j in range(len(codes)):
        ideal = sums[j] * inverse * adc[0, chunk, j] + adc[1, chunk, j]
        if curves.size > 0:
            ideal += curves[curve_of[chunk, j], int(min(max(np.rint(ideal), -top), top) + top)]
        codes[j] = min(max(np.rint(ideal), -top), top)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def split_digits(whole, top, bits, levels, codes):
    """The digits of inputs: whole (vectors, in) float32, codes over `top`, into codes (digits, vectors, in) float32,
    each over full drive and with the sign of the input. levels (in, 2^bits): what a driver makes of each digit (of size
    0: digit / (2^bits - 1)).
    """
    digits, vectors, inputs = codes.shape
    largest = (1 << bits) - 1
    back = np.float32(1.0) / np.float32(largest)
    for b in range(vectors):
        for d in range(digits):
            for i in range(inputs):
                code = int(np.rint(whole[b, i] * np.float32(top)))
                digit = (abs(code) >> (d * bits)) & largest
                value = np.float32(digit) * back if levels.size == 0 else levels[i, digit]
                codes[d, b, i] = value if code >= 0 else -value
