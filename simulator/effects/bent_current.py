"""Cells whose current is not proportional to the voltage: `iv_curve` has the law, `iv_read` the inputs."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

from ...devices import Chip
from .. import reference
from ..iv_curve import curve_of
from ..iv_read import BentDrive
from ..mismatch import Mismatch
from .protocol import READ, Acting, Effect, Held, Kept, nulls

_KEYS = ("read.iv_quadratic", "read.iv_cubic", "read.iv_window", "read.iv_voltage_max")


class BentCurrent(Acting):
    """bends (products, slices, in, sensed) float32: bends of what a column adds, like `pairs`, for the products that
    reads need; row_bends (2, in) float64: bends summed over each word line, siemens.
    """

    adds = True

    def __init__(self, chip: Chip, mismatch: Mismatch):
        curve = curve_of(chip.cell)
        assert curve is not None, "the keys are known together"
        self.curve, self._chip, self._mismatch = curve, chip, mismatch

    @cached_property
    def drive(self) -> BentDrive:
        """What inputs are multiplied with these."""
        return BentDrive.of(self._chip, self._mismatch.digit_levels)

    def columns(self, held: Held) -> Kept:
        bends = self._bends(held)
        return {"bends": np.stack([held.differences(bends[k]) for k in self.drive.kept])}

    def lines(self, held: Held) -> Kept:
        return {"row_bends": self._bends(held)}

    def _bends(self, held: Held) -> np.ndarray:
        return held.once("bends", lambda: self.curve.bends(held.siemens))

    def products(
        self, matrix: Any, x: np.ndarray, full_scale: float, digits: np.ndarray | None, factors: np.ndarray
    ) -> Iterator[np.ndarray]:
        for which in self.drive.analog if digits is None else self.drive.serial:
            if digits is None:
                self.drive.of_inputs(x, full_scale, which, factors[0])
            else:
                self.drive.of_digits(digits, which, factors)
            yield matrix.kept("bends")[self.drive.kept.index(which)]

    def activity(self, matrix: Any, x: np.ndarray, full_scale: float) -> np.ndarray:
        return self.drive.activity(x, full_scale, matrix.kept("row_bends"))

    def mean_activity(self, matrix: Any, codes: np.ndarray) -> float:
        energies = self.drive.energies[:, codes + self.drive.top].mean(1)
        return float(energies @ matrix.kept("row_bends").sum(1)) / matrix.layout.cells


EFFECTS = (
    Effect("non-linear I-V", _KEYS[:2], "none: a rule", READ, nulls(*_KEYS), place=5, acting=BentCurrent,
           reference=reference.bend_cells, figure="iv"),
)  # fmt: skip
