"""Inputs of cells with an I-V curve: what their bends (`iv_curve`) are multiplied with in a read.

A cell adds A (v² - v) + B (v³ - v) to g v at the drive v of its word line. Both terms are a factor of the cell times a
factor of the drive: one more product of matrices each, exact, with the bends in the place of the conductances. The
drive depends on how an input is applied:

- by a DAC as wide as the input, as one voltage: v is any step, and both products are needed;
- digit by digit (a narrower DAC): `bitserial` has the v of every digit; `fast` adds what the digits of a code make,
  each times its worth. A digit of one bit is 0 or the read voltage, at which verify reads the cells: for inputs of one
  sign nothing is left, and for the other only A, as v² - v = 2 at v = -1;
- as pulses (`dac.coding`): the same, whatever the bits of a digit, as many times as it has pulses.

Products whose drives are all zero are left out.

The cells then conduct v times their current: `energies` is what that adds to v² g, in reads at full voltage.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numba import njit

from ..devices import Chip
from .converters import code_max, digit_bits, input_cycles
from .iv_curve import POWERS


@dataclass(frozen=True)
class BentDrive:
    """tables (2, 1 or inputs, 2 top + 1) float32: the factors of each code from -top on in one `fast` read; energies
    (2, 2 top + 1): reads at full voltage that the bends conduct for; serial: which of the two products digits need;
    pulses: whether digits are pulses.
    """

    top: int
    pulses: bool
    tables: np.ndarray
    energies: np.ndarray
    serial: tuple[int, ...]

    @staticmethod
    def of(chip: Chip, digit_levels: np.ndarray) -> "BentDrive":
        """The drives of a chip; digit_levels (inputs, digits): what each row driver makes of a digit, of size 0 where
        all are exact.
        """
        top, cycles = code_max(chip.array.input_bits), input_cycles(chip)
        base, pulses = 2 ** digit_bits(chip), chip.periphery.dac_coding == "pulses"
        last = top if cycles == 1 else base - 1
        exact = np.arange(last + 1)[None] / last
        levels = digit_levels.astype(float) if digit_levels.size else exact
        code = np.arange(-top, top + 1)
        tables = np.zeros((len(POWERS), len(levels), len(code)))
        energies = np.zeros((len(POWERS), len(code)))
        for d in range(cycles):
            digit = np.abs(code) if cycles == 1 else np.abs(code) // base**d % base
            worth = base**d * last / top if cycles > 1 else 1.0
            v, plain = np.sign(code) * levels[:, digit], np.sign(code) * exact[0, digit]
            for k, power in enumerate(POWERS):
                if pulses:
                    tables[k] += worth * (np.abs(v) * np.sign(code) ** power - v)
                    energies[k] += digit * (np.sign(code) ** (power + 1) - np.sign(code) ** 2)
                else:
                    tables[k] += worth * (v**power - v)
                    energies[k] += plain * (plain**power - plain)
        bent = [not pulses and (np.abs(levels**power - levels) > 0).any() for power in POWERS]
        needed = tuple(k for k, power in enumerate(POWERS) if bent[k] or power % 2 == 0)
        return BentDrive(top, pulses, tables.astype(np.float32), energies, needed)

    @cached_property
    def analog(self) -> tuple[int, ...]:
        """Which of the products a `fast` read needs."""
        return tuple(k for k in range(len(POWERS)) if self.tables[k].any())

    @cached_property
    def kept(self) -> tuple[int, ...]:
        """Which of the products any read needs, and cells are kept for."""
        return tuple(sorted({*self.analog, *self.serial}))

    def of_inputs(self, x: np.ndarray, full_scale: float, which: int, out: np.ndarray) -> None:
        """The factors of product `which` for inputs x (vectors, in) in a `fast` read, into out (vectors, in)."""
        bend_rows(x, full_scale, self.top, self.tables[which], out)

    def of_digits(self, codes: np.ndarray, which: int, out: np.ndarray) -> None:
        """The same for the digits that `bitserial` applies, any shape, over full drive."""
        if self.pulses:
            np.abs(codes, out=out)  # of the even power, the only one that is needed
        else:
            np.multiply(codes, codes, out=out)
            for _ in range(POWERS[which] - 2):
                out *= codes
        out -= codes

    def activity(self, x: np.ndarray, full_scale: float, row_bends: np.ndarray) -> np.ndarray:
        """(vectors,) siemens-cycles that the bends add to what inputs x conduct; row_bends (2, in): bends summed over
        each word line.
        """
        total, some = np.empty(len(x)), np.flatnonzero(self.energies.any(1))
        load_rows(x, full_scale, self.top, self.energies[some], row_bends[some], total)
        return total


@njit(nogil=True, cache=True, error_model="numpy")
def bend_rows(x, full_scale, top, table, out):
    """out (vectors, in) float32: table (1 or inputs, 2 top + 1) at the code of each input x (vectors, in)."""
    steps = np.float32(top)
    scale = steps / np.float32(full_scale)
    for b in range(len(out)):
        for i in range(out.shape[1]):
            code = int(min(max(np.rint(x[b, i] * scale), -steps), steps)) + int(top) if b < len(x) else int(top)
            out[b, i] = table[i if len(table) > 1 else 0, code]


@njit(nogil=True, cache=True, error_model="numpy")
def load_rows(x, full_scale, top, energies, row_bends, total):
    """total (vectors,) float64: sum over powers and inputs of energies (powers, 2 top + 1), at the code of the input,
    times row_bends (powers, in).
    """
    steps = np.float32(top)
    scale = steps / np.float32(full_scale)
    for b in range(len(x)):
        total[b] = 0.0
        for i in range(x.shape[1]):
            code = int(min(max(np.rint(x[b, i] * scale), -steps), steps)) + int(top)
            for k in range(len(energies)):
                total[b] += energies[k, code] * row_bends[k, i]
