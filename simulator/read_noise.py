"""How much the conductance of a cell differs from read to read: its standard deviation, in siemens.

Drawn at every read, for every cell, independently (`arrays` and the read kernels sum it exactly in distribution). What
a cell file may give, added in squares:

- `read.noise`: a part of the conductance;
- `flicker`: 1/f noise that grows with the time since the write, Q(x) sqrt(ln((t + t_read) / (2 t_read))) of the
  conductance, with x = target / g_max and Q a power or a line in ln x (Nandakumar et al., ICECS 2019); t counts from
  the write and, where there is a drift law, t0 more. With `flicker.siemens` the line is in siemens (CMO/HfOx);
- `read.noise_saturation`: A (1 - exp(-G / B)) of the target (SONOS).
"""

import math
from dataclasses import dataclass

import numpy as np

from ..devices import Cell
from .retention import law


@dataclass(frozen=True)
class ReadNoise:
    """Standard deviation of a read, per level (levels,): a part of the present conductance, and siemens."""

    relative: np.ndarray
    siemens: np.ndarray


def is_graded(cell: Cell) -> bool:
    """Whether the noise depends on the target or on time."""
    return cell.flicker_seconds is not None or cell.read_noise_saturation_siemens is not None


def read_noise(cell: Cell, level_siemens: np.ndarray, age_seconds: float) -> ReadNoise:
    """The noise of every level at `age_seconds` after its write."""
    levels = np.asarray(level_siemens, float)
    relative = np.full_like(levels, cell.read_noise_relative or 0.0)
    siemens = np.zeros_like(levels)
    if cell.read_noise_saturation_siemens is not None:
        most, scale = cell.read_noise_saturation_siemens
        siemens = most * -np.expm1(-levels / scale)
    if cell.flicker_seconds is not None:
        age = age_seconds + (cell.drift_t0_seconds or 0.0)
        grown = math.sqrt(max(0.0, math.log((age + cell.flicker_seconds) / (2.0 * cell.flicker_seconds))))
        x = levels / cell.g_max_siemens
        if cell.flicker_siemens is not None:
            siemens = np.hypot(siemens, grown * np.maximum(law(x, cell.flicker_siemens, None, None), 0.0))
        else:
            relative = np.hypot(relative, grown * flicker_share(cell, x))
    return ReadNoise(relative, siemens)


def flicker_share(cell: Cell, x: np.ndarray) -> np.ndarray:
    """Q of targets x = G / g_max."""
    low, high = cell.flicker_limits or (0.0, math.inf)
    if cell.flicker_power is not None:
        share, exponent = cell.flicker_power
        return np.clip(share * np.maximum(x, 1e-7) ** exponent, low, high)
    return law(x, cell.flicker_line or (0.0, 0.0), cell.flicker_limits, cell.flicker_above)
