"""What time does to a written cell: relaxation (a shift and a spread around the target) and drift (a power law).

Relaxation data give the mean and the standard deviation of cells around their *target* some time after the write,
programming error included. A cell that was verified in its tolerance is therefore at

    target + shift(t) + sigma(t) z,

with a normal number z that it keeps until it is written again: the error that the verify left is part of sigma and is
not added once more. A cell that failed keeps its distance from the target on top. Three laws, as the sources have them:

- a table of times, interpolated in log time; outside the measured times the nearest holds (`held_message` says so).
  Sigma is a polynomial of the target, or saturating, A (1 - exp(-G / B)), with a polynomial for the shift (SONOS);
- log time: shift = m ln t, sigma^2 = p(G)^2 + (s0 + s1 ln t)^2, t in seconds and at least 1 (CMO/HfOx);
- drift, on top of either: G (t / t0)^-nu with t counted from t0 after the write, so that nothing has drifted at age 0.
  nu = |mean + sigma z'| once per cell; mean and sigma are lines in ln(G / g_max) between limits, and from some
  G / g_max upwards polynomials of it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..devices import Cell, RelaxationPoint

LEAST_SECONDS = 1.0  # of the log-time law


@dataclass(frozen=True)
class Aging:
    """Per-level numbers (levels,) at one age: shift and spread of relaxation (siemens), mean and spread of the drift
    exponent; and ln((t + t0) / t0).
    """

    shift_siemens: np.ndarray
    spread_siemens: np.ndarray
    exponent_mean: np.ndarray
    exponent_sigma: np.ndarray
    log_time: float


def aging(cell: Cell, level_siemens: np.ndarray, age_seconds: float) -> Aging:
    """The state of every level at `age_seconds` after its write; unknown effects are off."""
    level_siemens = np.asarray(level_siemens, float)
    mean, sigma, log_time = np.zeros_like(level_siemens), np.zeros_like(level_siemens), 0.0
    if cell.drift_t0_seconds is not None and cell.drift_exponent_coefficients is not None:
        log_time = math.log1p(age_seconds / cell.drift_t0_seconds)
        relative = level_siemens / cell.g_max_siemens
        mean = law(relative, cell.drift_exponent_coefficients, cell.drift_exponent_limits, cell.drift_exponent_above)
        if cell.drift_exponent_sigma_coefficients is not None:
            sigma = law(
                relative, cell.drift_exponent_sigma_coefficients, cell.drift_exponent_sigma_limits,
                cell.drift_exponent_sigma_above,
            )  # fmt: skip
    return Aging(
        relaxation_shift(cell, level_siemens, age_seconds),
        relaxation_sigma(cell, level_siemens, age_seconds),
        mean,
        sigma,
        log_time,
    )


def relaxes(cell: Cell) -> bool:
    """Whether the file says how cells spread around their target."""
    return bool(cell.relaxation) or cell.relaxation_log_sigma is not None


def relaxation_sigma(cell: Cell, siemens: np.ndarray, age_seconds: float) -> np.ndarray:
    """Total standard deviation around the target, siemens, for targets `siemens` at the age; 0 where the file has no
    data.
    """
    siemens = np.asarray(siemens, float)
    if cell.relaxation_log_sigma is not None:
        start, slope = cell.relaxation_log_sigma
        grown = max(0.0, start + slope * math.log(max(age_seconds, LEAST_SECONDS)))
        return np.hypot(_polynomial(cell.relaxation_programming_sigma or (), siemens, cell), grown)

    def sigma(point: RelaxationPoint) -> np.ndarray:
        if cell.relaxation_form == "saturating":
            most, scale = point.sigma_coefficients_siemens
            present = np.maximum(siemens + _polynomial(point.mean_coefficients_siemens, siemens, cell), 0.0)
            return most * -np.expm1(-present / scale)
        return np.maximum(_polynomial(point.sigma_coefficients_siemens, siemens, cell), 0.0)

    return _at(cell, age_seconds, sigma, siemens)


def relaxation_shift(cell: Cell, siemens: np.ndarray, age_seconds: float) -> np.ndarray:
    """Mean distance from the target, siemens, for targets `siemens` at the age; 0 where the file has no data."""
    siemens = np.asarray(siemens, float)
    if cell.relaxation_log_mean_siemens is not None:
        slope = cell.relaxation_log_mean_siemens
        return np.full_like(siemens, slope * math.log(max(age_seconds, LEAST_SECONDS)))
    return _at(cell, age_seconds, lambda p: _polynomial(p.mean_coefficients_siemens, siemens, cell), siemens)


def law(
    relative: np.ndarray,
    line: tuple[float, ...],
    limits: tuple[float, ...] | None,
    above: tuple[float, ...] | None,
) -> np.ndarray:
    """a ln x + b between limits, for x = G / g_max; for x from above[0] upwards the polynomial of x with the
    coefficients above[1:].
    """
    low, high = limits if limits is not None else (-math.inf, math.inf)
    values = np.clip(line[0] * np.log(np.maximum(relative, 1e-7)) + line[1], low, high)
    if above is not None:
        values = np.where(relative >= above[0], np.polynomial.polynomial.polyval(relative, above[1:]), values)
    return values


def fresh_seconds(cell: Cell) -> float:
    """The age of cells that were just written: the first time the file has a measurement for (0 without one)."""
    if cell.relaxation_log_sigma is not None:
        return LEAST_SECONDS
    return min((p.time_seconds for p in cell.relaxation), default=0.0)


def held_message(cell: Cell, age_seconds: float) -> str | None:
    """A sentence for the report when the age lies beyond the last measured time of the relaxation table."""
    last = max((p.time_seconds for p in cell.relaxation), default=None)
    if cell.volatile or cell.drift_t0_seconds is not None or cell.relaxation_log_sigma is not None:
        return None
    if last is None:
        return f"cell {cell.name}: no relaxation or drift data in its file; time has no effect on it in this report"
    if age_seconds <= last:
        return None
    return (
        f"cell {cell.name}: the relaxation table ends at {last:g} s; beyond that (up to {age_seconds:g} s) its last "
        "value is held, which is an extrapolation"
    )


def _polynomial(coefficients: tuple[float, ...], siemens: np.ndarray, cell: Cell) -> np.ndarray:
    if not coefficients:
        return np.zeros_like(siemens)
    return np.polynomial.polynomial.polyval(siemens / (cell.relaxation_reference_siemens or 1.0), coefficients)


def _at(
    cell: Cell, age_seconds: float, values: Callable[[RelaxationPoint], np.ndarray], siemens: np.ndarray
) -> np.ndarray:
    """The values of the table's points, interpolated in log time."""
    points = sorted(cell.relaxation, key=lambda point: point.time_seconds)
    if not points:
        return np.zeros_like(siemens)
    times = [math.log(p.time_seconds) for p in points]
    now = min(max(math.log(max(age_seconds, 1e-12)), times[0]), times[-1])
    right = max(1, int(np.searchsorted(times, now)))
    if len(points) == 1:
        return values(points[0])
    share = (now - times[right - 1]) / (times[right] - times[right - 1])
    return (1 - share) * values(points[right - 1]) + share * values(points[right])
