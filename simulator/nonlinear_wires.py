"""Wires with cells whose current is not proportional to the voltage: Newton's method around the linear wires.

With X the cell currents (rows, columns), the wires take Z X from the voltages, a linear map known in closed form: the
drop along the word lines plus the drop along the bit lines. The cell voltages are u = V - Z X, and the solution is
where the cells agree, f(u) = X. Newton's step solves (1 + f' Z) dX = f(u) - X; in the inner product a.Zb that operator
is symmetric and at least 1 as long as f' >= 0, so conjugate gradients solve it with two passes over the array an
iteration and no matrix (Hestenes & Stiefel, J. Res. NBS 49, 409, 1952). A step that does not reduce the residual is
halved (Dennis & Schnabel, Numerical Methods for Unconstrained Optimization, 1983, chapter 6).
"""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real

import numpy as np

from ..errors import EdgeAdaptError, UsageError
from .arguments import real_numbers, require_count
from .wires import require_cells, require_ohms

CellCurrent = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
HALVINGS = 40
CONJUGATE_STEPS = 5000


@dataclass(frozen=True)
class NonlinearRead:
    """currents_amperes: (columns,) or (vectors, columns), like the voltages; residual: the largest voltage by
    which a cell misses its own curve, |f(u) - X| / f', as a part of the largest drive voltage; iterations: Newton steps
    of the slowest vector.
    """

    currents_amperes: np.ndarray
    residual: float
    iterations: int


def sinh_cell(scale_volts: float) -> CellCurrent:
    """I = G v0 sinh(V / v0), and dI/dV: G is the conductance at small voltages, v0 = `scale_volts`."""
    if not isinstance(scale_volts, Real) or not 0.0 < scale_volts < np.inf:
        raise UsageError(f"scale_volts must be a positive number of volts; got {scale_volts!r}")

    def current(volts: np.ndarray, siemens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return siemens * scale_volts * np.sinh(volts / scale_volts), siemens * np.cosh(volts / scale_volts)

    return current


def nonlinear_read(
    conductance_siemens: np.ndarray,
    voltages_volts: np.ndarray,
    current: CellCurrent,
    word_line_ohms: float,
    bit_line_ohms: float,
    driver_ohms: float = 0.0,
    sense_ohms: float = 0.0,
    *,
    access_ohms: float = 0.0,
    drivers_at_both_ends: bool = False,
    sense_at_both_ends: bool = False,
    tolerance: float = 1e-12,
    iterations: int = 100,
) -> NonlinearRead:
    """Bit-line currents of an array of non-linear cells with wire resistance; the circuit is that of
    `effective_conductance`.

    Args:
        conductance_siemens: (rows, columns), handed to `current`.
        voltages_volts: (rows,) or (vectors, rows) of the word-line drivers.
        current: takes cell voltages and conductances, both (rows, columns), and returns amperes and their derivative
            by the voltage in siemens, which must not be negative. See `sinh_cell`.
        access_ohms: in series with every cell; linear.
        tolerance: largest allowed `NonlinearRead.residual`.
        iterations: Newton steps after which it gives up.

    Raises:
        UsageError: conductances, voltages or resistances that are not finite, negative ohms, wrong shapes.
        EdgeAdaptError: the cells' current falls with voltage or is not finite, or the residual stays above the
            tolerance; the message has the residual.
    """
    cells = real_numbers(conductance_siemens, "conductance_siemens").astype(np.float64)
    voltages = real_numbers(voltages_volts, "voltages_volts").astype(np.float64)
    if not callable(current):
        raise UsageError(
            f"current must be a function of volts and siemens, such as sinh_cell(0.1); got {current!r:.40}"
        )
    require_count(iterations, "iterations")
    require_count(tolerance, "tolerance")
    if cells.ndim != 2:
        raise UsageError(f"conductance_siemens must be a matrix (rows, columns); got shape {cells.shape}")
    require_cells(cells[None])
    if voltages.ndim not in (1, 2) or voltages.shape[-1] != cells.shape[0]:
        raise UsageError(f"voltages_volts must be ({cells.shape[0]},) or (vectors, {cells.shape[0]}), one a word line; "
                         f"got shape {voltages.shape}")  # fmt: skip
    if not np.isfinite(voltages).all():
        raise UsageError("voltages_volts must be finite")
    require_ohms({"word_line_ohms": word_line_ohms, "bit_line_ohms": bit_line_ohms, "driver_ohms": driver_ohms,
                  "sense_ohms": sense_ohms, "access_ohms": access_ohms})  # fmt: skip

    def drop(x: np.ndarray) -> np.ndarray:
        """Z x: what the wires and the access resistance take from the voltage of each cell."""
        along_words = _line_drop(x, word_line_ohms, driver_ohms, drivers_at_both_ends)
        along_bits = _line_drop(x[::-1].T, bit_line_ohms, sense_ohms, sense_at_both_ends).T[::-1]
        return along_words + along_bits + access_ohms * x

    solved = [
        _newton(lambda u: current(u, cells), np.broadcast_to(v[:, None], cells.shape), drop, tolerance, iterations)
        for v in np.atleast_2d(voltages)
    ]
    currents = np.array([x.sum(0) for x, _, _ in solved]).reshape(*voltages.shape[:-1], cells.shape[1])
    return NonlinearRead(currents, max((s[1] for s in solved), default=0.0), max((s[2] for s in solved), default=0))


def _line_drop(x: np.ndarray, segment: float, end: float, both: bool) -> np.ndarray:
    """Voltage drop at each node of lines (lines, nodes) that feed currents x; `segment` ohms before each node, `end`
    ohms more before the first, and the same behind the last if fed from both ends.
    """
    nodes = x.shape[1]
    if segment + end == 0.0:
        return np.zeros_like(x)
    if both:
        to_far_end = end + segment * np.arange(nodes, 0, -1)
        first = x @ (to_far_end / (2.0 * end + segment * (nodes + 1)))
    else:
        first = x.sum(1)
    through = first[:, None] - np.cumsum(x, 1) + x
    return end * first[:, None] + segment * np.cumsum(through, 1)


def _newton(
    current: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    drive: np.ndarray,
    drop: Callable[[np.ndarray], np.ndarray],
    tolerance: float,
    iterations: int,
) -> tuple[np.ndarray, float, int]:
    """Cell currents, their residual, and the steps taken."""
    scale = float(np.abs(drive).max()) or 1.0
    x = np.zeros(drive.shape)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        amperes, slope = _rising(*current(drive))
        error = amperes
        for step in range(iterations + 1):
            residual = _residual(error, slope) / scale
            if residual <= tolerance:
                return x, residual, step
            if step == iterations:
                break
            direction = _solve(slope, error, drop, min(1e-2, residual))
            part, norm = 1.0, np.linalg.norm(error)
            for _ in range(HALVINGS):
                trial = x + part * direction
                amperes, slope = current(drive - drop(trial))
                error = amperes - trial
                if np.linalg.norm(error) <= (1.0 - 1e-4 * part) * norm:
                    break
                part *= 0.5
            else:
                break
            x = trial
            _rising(amperes, slope)
    raise EdgeAdaptError(
        f"the currents of non-linear cells did not converge in {step} steps: a cell misses its own curve by "
        f"{residual:.1e} of the drive voltage, allowed {tolerance:.1e}; lower the voltages or allow more"
    )


def _rising(amperes: np.ndarray, slope: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as they are; EdgeAdaptError unless they are finite and the slope is not negative."""
    if not np.isfinite(amperes).all() or not np.isfinite(slope).all():
        raise EdgeAdaptError("the cells' current is not finite at the voltages of this read; lower the voltages")
    if not (slope >= 0.0).all():
        raise EdgeAdaptError(
            f"the cells' current falls with voltage (slope {slope.min():.3g} S): the operating point is not unique"
        )
    return amperes, slope


def _residual(error: np.ndarray, slope: np.ndarray) -> float:
    """Largest voltage by which a cell misses its own curve."""
    return float((np.abs(error[error != 0.0]) / slope[error != 0.0]).max(initial=0.0))


def _solve(
    slope: np.ndarray, right: np.ndarray, drop: Callable[[np.ndarray], np.ndarray], tolerance: float
) -> np.ndarray:
    """d with |right - (1 + slope Z) d| <= tolerance |right|, by conjugate gradients in the inner product a.Zb.

    d + rest leaves slope Z rest over, where d leaves rest: the smaller one ends the search, the former also where Z is
    singular.
    """
    limit = tolerance * np.linalg.norm(right)
    solution, rest, dropped = np.zeros_like(right), right, drop(right)
    search, search_drop = rest, dropped
    square = float(np.vdot(rest, dropped))
    for _ in range(CONJUGATE_STEPS):
        if np.linalg.norm(slope * dropped) <= limit:
            return solution + rest
        if np.linalg.norm(rest) <= limit:
            return solution
        applied = search + slope * search_drop
        step = square / float(np.vdot(search_drop, applied))
        solution = solution + step * search
        rest = rest - step * applied
        dropped = drop(rest)
        before, square = square, float(np.vdot(rest, dropped))
        search = rest + (square / before) * search
        search_drop = dropped + (square / before) * search_drop
    return solution  # not close enough: the caller sees what it is worth
