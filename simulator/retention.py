"""What time does to a written cell: relaxation (spread around the target) and drift (power law).

Relaxation tables give the total standard deviation of a cell around its *target* at some times after the write.
Program-and-verify already leaves an error, uniform in the tolerance, so the relaxation adds only what is missing:
s^2 = sigma(t)^2 - tolerance^2 / 3 (the table must not be added on top). Between times sigma
is interpolated in log time; outside the measured times the nearest value holds, and `held_message` says so. A cell
keeps its normal number z until it is written again.
"""

import math
from dataclasses import dataclass

import numpy as np

from ..devices import Cell


@dataclass(frozen=True)
class Aging:
    """Per-level numbers at one age: relaxation spread (siemens), mean and spread of the drift exponent, and ln((t +
    t0) / t0).
    """

    spread_siemens: np.ndarray
    exponent_mean: np.ndarray
    exponent_sigma: np.ndarray
    log_time: float


def aging(cell: Cell, level_siemens: np.ndarray, age_seconds: float) -> Aging:
    """The state of every level at `age_seconds` after its write; unknown effects are off."""
    spread = np.sqrt(
        np.maximum(
            relaxation_sigma(cell, level_siemens, age_seconds) ** 2 - (cell.program_tolerance_siemens or 0.0) ** 2 / 3,
            0.0,
        )
    )
    if not cell.relaxation:
        spread[:] = 0.0
    mean, sigma, log_time = np.zeros_like(spread), np.zeros_like(spread), 0.0
    if cell.drift_t0_seconds is not None and cell.drift_exponent_coefficients is not None:
        log_time = math.log((age_seconds + cell.drift_t0_seconds) / cell.drift_t0_seconds)
        relative = np.log(np.maximum(level_siemens / cell.g_max_siemens, 1e-6))
        mean = _clipped_line(cell.drift_exponent_coefficients, cell.drift_exponent_limits, relative)
        if cell.drift_exponent_sigma_coefficients is not None:
            sigma = _clipped_line(cell.drift_exponent_sigma_coefficients, cell.drift_exponent_sigma_limits, relative)
    return Aging(spread, mean, sigma, log_time)


def relaxation_sigma(cell: Cell, siemens: np.ndarray, age_seconds: float) -> np.ndarray:
    """Total standard deviation around the target, siemens, for targets `siemens` at the age; 0 where the file has no
    table.
    """
    points = sorted(cell.relaxation, key=lambda point: point.time_seconds)
    if not points:
        return np.zeros_like(siemens, dtype=float)
    reference = cell.relaxation_reference_siemens
    table = [
        np.maximum(np.polynomial.polynomial.polyval(siemens / reference, p.sigma_coefficients_siemens), 0.0)
        for p in points
    ]
    times = [math.log(p.time_seconds) for p in points]
    now = min(max(math.log(max(age_seconds, 1e-12)), times[0]), times[-1])
    right = max(1, int(np.searchsorted(times, now)))
    if len(points) == 1:
        return table[0]
    share = (now - times[right - 1]) / (times[right] - times[right - 1])
    return (1 - share) * table[right - 1] + share * table[right]


def fresh_seconds(cell: Cell) -> float:
    """The age of cells that were just written: the first time the file has a measurement for (0 without one)."""
    return min((p.time_seconds for p in cell.relaxation), default=0.0)


def held_message(cell: Cell, age_seconds: float) -> str | None:
    """A sentence for the report when the age lies beyond the last measured time of the relaxation table."""
    last = max((p.time_seconds for p in cell.relaxation), default=None)
    if cell.volatile or cell.drift_t0_seconds is not None:
        return None
    if last is None:
        return f"cell {cell.name}: no relaxation or drift data in its file; time has no effect on it in this report"
    if age_seconds <= last:
        return None
    return (
        f"cell {cell.name}: the relaxation table ends at {last:g} s; beyond that (up to {age_seconds:g} s) its last "
        "value is held, which is an extrapolation"
    )


def _clipped_line(coefficients, limits, log_relative: np.ndarray) -> np.ndarray:
    a, b = coefficients
    low, high = limits if limits is not None else (-math.inf, math.inf)
    return np.clip(a * log_relative + b, low, high)
