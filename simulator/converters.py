"""DAC and ADC ranges, calibrated from data.

Both are symmetric uniform quantisers with 2^(bits-1) - 1 steps on each side of zero. The range is the clipping point
with the least mean squared error on a sample, searched over a grid of fractions of the largest value: a few outliers
should not cost every other value a bit.
"""

import math

import numpy as np

from ..devices import Chip
from . import kernels

LEAST, MOST = 1e-30, 1e30  # of ranges: what is smaller counts as 0, and with both no float32 over- or underflows
FRACTIONS = np.linspace(1.0, 0.1, 19)
_SAMPLE = 8192


def code_max(bits: int) -> int:
    """The largest code of a signed converter with `bits` bits (one of them the sign)."""
    return max(1, 2 ** (bits - 1) - 1)


def best_range(values: np.ndarray, bits: int) -> float:
    """The symmetric range that quantises `values` (any shape) to `bits` bits with the least mean squared error.

    Returns 1.0 for values that are all zero, or below `LEAST`. At most about 8,192 values, evenly taken, are looked at.
    """
    flat = np.asarray(values, dtype=np.float32).ravel()
    peak = largest(flat)
    if peak <= LEAST:
        return 1.0
    # An odd stride does not fall in step with the rows of a matrix. Powers of two change no digit of a number, and keep
    # the squares of the errors from over- and underflowing.
    _, exponent = math.frexp(peak)
    sample = np.ldexp(flat[:: max(1, flat.size // _SAMPLE) | 1], -exponent)
    steps = math.ldexp(peak, -exponent) * FRACTIONS / code_max(bits)
    return peak * float(FRACTIONS[int(np.argmin(kernels.rounding_errors(sample, steps, code_max(bits))))])


def largest(values: np.ndarray) -> float:
    """The largest magnitude among values of any shape; 0 for none."""
    return float(max(values.max(), -values.min())) if values.size else 0.0


def drive_load(bits: int, digit_bits: int, coding: str = "voltage") -> np.ndarray:
    """What an input code of each magnitude conducts, (code_max + 1,) float32, in reads at full voltage.

    A DAC of `digit_bits` magnitude bits applies the code's base-2^digit_bits digits one after another, each as the
    voltage digit / (2^digit_bits - 1) of the full one; power goes with its square. A DAC as wide as the input
    applies code / code_max once. `coding` "pulses": each digit is so many pulses of full voltage.
    """
    top = code_max(bits)
    code, largest = np.arange(top + 1), 2**digit_bits - 1
    if largest >= top:
        return (code if coding == "pulses" else (code / top) ** 2).astype(np.float32)
    total = np.zeros(top + 1)
    while code.any():
        digit = code & largest
        total += digit if coding == "pulses" else (digit / largest) ** 2
        code = code >> digit_bits
    return total.astype(np.float32)


def digit_bits(chip: Chip) -> int:
    """Magnitude bits of an input that one DAC cycle applies (the sign is the polarity of the drive)."""
    return max(1, chip.periphery.dac_bits or chip.array.input_bits)


def input_cycles(chip: Chip) -> int:
    """Array cycles of one read: input digits applied one after another by a DAC narrower than the input."""
    return max(1, -(-(chip.array.input_bits - 1) // digit_bits(chip)))


def most_pulses(chip: Chip) -> int:
    """Pulses of the longest digit, one after another (`dac.coding` pulses); 1 where a digit is one voltage."""
    if chip.periphery.dac_coding != "pulses":
        return 1
    return min(2 ** digit_bits(chip) - 1, code_max(chip.array.input_bits))
