"""Cells whose current is not proportional to the voltage: I = G V + a(G) V² + b(G) V³, with G the slope at 0 V.

a and b are polynomials in log10 G (`read.iv_quadratic`, `read.iv_cubic`; V. Milo et al., IRPS 2021, fitted in
CrossSim). Everywhere else in this package the conductance of a cell is what a verify read saw, its current over the
read voltage R: g = G + a R + b R². This module knows G of each g, and with it what is left of the law,

    I(v R) / R = g v + A (v² - v) + B (v³ - v),   A = a R, B = b R²,   v = V / R from -1 to 1:

at v = 1 nothing, whatever the cell. `Curve.bends` gives A and B of cells; `iv_read` has the inputs they are multiplied
with. Where G leaves `read.iv_window`, the shape of the curve, A / g and B / g, is that at the nearer end.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit

from ..devices import Cell
from ..errors import UsageError
from .nonlinear_wires import CellCurrent

POWERS = (2, 3)
KNOTS = 4097  # of the tables; between them the shape is a straight line, which is off by less than 1e-8 of g


@dataclass(frozen=True)
class Curve:
    """The curve of a cell file. low, step: siemens of a verify read at the first knot, and between knots; shapes
    (2, KNOTS) float64: A / g and B / g there; read_volts: R.
    """

    low: float
    step: float
    shapes: np.ndarray
    read_volts: float

    def bends(self, siemens: np.ndarray) -> np.ndarray:
        """A and B, siemens, (2, ...) float32, of cells with conductances (...) float32."""
        out = np.empty((len(POWERS), siemens.size), np.float32)
        bend_cells(np.ascontiguousarray(siemens, np.float32).reshape(-1), self.low, self.step, self.shapes, out)
        return out.reshape(len(POWERS), *siemens.shape)


@lru_cache(maxsize=32)
def curve_of(cell: Cell) -> Curve | None:
    """The curve of a cell; None where the current is proportional to the voltage.

    Raises UsageError for curves on which the current does not rise with the voltage up to the read voltage, or what a
    verify read sees does not rise with G.
    """
    if cell.iv_quadratic is None or cell.iv_cubic is None or cell.iv_window_siemens is None:
        return None
    volts = cell.read_voltage_volts
    low, high = cell.iv_window_siemens
    slope = np.linspace(low, high, 8 * KNOTS)
    a, b = _coefficients(cell, slope)
    drives = np.linspace(-volts, volts, 41)[:, None]
    seen = slope + a * volts + b * volts**2
    if (slope + 2 * a * drives + 3 * b * drives**2).min() <= 0 or np.diff(seen).min() <= 0:
        raise UsageError(
            f"cell {cell.name!r}: with read.iv_quadratic and read.iv_cubic the current up to a read.voltage of "
            f"{volts:g} V does not rise with voltage and conductance everywhere in read.iv_window; give a smaller "
            "read.voltage or window, or other coefficients"
        )
    knots = np.linspace(seen[0], seen[-1], KNOTS)
    found = np.interp(knots, seen, slope)
    for _ in range(3):  # Newton's method, with the secant of the table for the derivative
        a, b = _coefficients(cell, found)
        rise = np.interp(found, slope[1:], np.diff(seen) / np.diff(slope))
        found -= (found + a * volts + b * volts**2 - knots) / rise
    a, b = _coefficients(cell, found)
    return Curve(knots[0], knots[1] - knots[0], np.stack([a * volts, b * volts**2]) / knots, volts)


def _coefficients(cell: Cell, slope: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """a and b of slopes (siemens)."""
    powers = np.polynomial.polynomial.polyval
    x = np.log10(slope)
    return powers(x, cell.iv_quadratic or ()), powers(x, cell.iv_cubic or ())


@njit(nogil=True, cache=True, error_model="numpy")
def bend_cells(siemens, low, step, shapes, out):
    """out (powers, cells) float32: the bends of cells (cells,) float32 from a table of shapes (powers, knots) at low +
    n step.
    """
    last = shapes.shape[1] - 1
    for j in range(len(siemens)):
        place = min(max((siemens[j] - low) / step, 0.0), float(last))
        left = min(int(place), last - 1)
        share = place - left
        for k in range(len(shapes)):
            out[k, j] = siemens[j] * ((1.0 - share) * shapes[k, left] + share * shapes[k, left + 1])


def cell_current(cell: Cell) -> CellCurrent:
    """The cell's curve for `nonlinear_read`: amperes and their derivative from volts and conductances as verify reads
    see them. Cells without a curve are resistors.
    """
    curve = curve_of(cell)

    def current(volts: np.ndarray, siemens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if curve is None:
            return siemens * volts, np.broadcast_to(siemens, volts.shape)
        a, b = curve.bends(siemens).astype(float)
        v = volts / curve.read_volts
        amperes = curve.read_volts * (siemens * v + a * (v**2 - v) + b * (v**3 - v))
        return amperes, siemens + a * (2 * v - 1) + b * (3 * v**2 - 1)

    return current
