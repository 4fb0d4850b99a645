"""Drift compensation: a digital factor makes up for what a matrix lost in the mean, and no cell is written for it.

V. Joshi et al., "Accurate deep neural network inference using computational phase-change memory", Nature
Communications 2020, doi:10.1038/s41467-020-16108-9 (global drift compensation; IBM aihwkit has it too): the same inputs
are applied after programming and again later, and what comes out is scaled by how much less it has become.

Here the inputs are `PROBES` vectors of random signs at full drive, the same for a matrix at any time, so that no
input is stored: a shift register makes them. They are read as any input is: through drivers, wires and converters,
with noise. With y0 the results (probes, outputs) when the matrix was last written and y those of the present,

    k = sum y y0 / sum y0^2        factor = 1 / k

by least squares: over all outputs (`array.drift_compensation` "matrix") or for each output by itself ("column"). An
output with hardly any weight takes the factor of its matrix. The factor is put on the scale that digital results are
multiplied by anyway: a read costs what it did before.

The first results are read when time begins to pass since the last write, the others whenever the clock is set. Both are
counted: reads, conversions, the sums of the digital unit, and bytes in SRAM. A write starts anew, with a factor of 1.
"""

from typing import NamedTuple

import numpy as np

from ..devices import Chip
from .accounting import EventCounts
from .arrays import CrossbarMatrix
from .counting import input_cycles, read_events
from .randoms import derived_seed
from .reading import Ranges, Reader

PROBES = 32
NUMBER_BYTES = 4  # of a result or a factor that is kept
LEAST = 0.01  # squares of an output over those of the mean one, below which its own factor would be noise
PROBE_SEED, NOISE_SEED = 4, 5  # families of random numbers of a matrix


class Baseline(NamedTuple):
    """What the probes gave at a reading of the clock: ranges of the converters, results (probes, out)."""

    seconds: float
    ranges: Ranges
    results: np.ndarray


def compensates(chip: Chip) -> bool:
    """Whether a chip makes up for drift."""
    return chip.array.drift_compensation != "none"


def set_time(matrix: CrossbarMatrix, seconds: float, fidelity: str) -> EventCounts:
    """Set the clock of a matrix and find its factor at the new time; returns the events of the reads this took.

    Noise depends on the matrix and the time only: a matrix gets the same factor whoever asks, and when.
    """
    counts, now = EventCounts(), matrix.cells.clock_seconds
    if seconds == now:
        return counts
    if matrix.baseline is None:
        ranges, results = _probed(matrix, None, fidelity, counts)
        matrix.baseline = Baseline(now, ranges, results)
        counts.sram_bytes += NUMBER_BYTES * results.size
    matrix.set_time(seconds)
    matrix.drift_factor = None
    if seconds != matrix.baseline.seconds:
        _, results = _probed(matrix, matrix.baseline.ranges, fidelity, counts)
        matrix.drift_factor = factors(matrix.baseline.results, results, matrix.chip.array.drift_compensation)
        counts.digital_macs += 2 * results.size  # sums of y y0 and of y0^2
        counts.sram_bytes += NUMBER_BYTES * (results.size + matrix.drift_factor.size)
    return counts


def factors(before: np.ndarray, now: np.ndarray, per: str) -> np.ndarray:
    """The factor of each output, (out,) float32, from results (probes, out) of the same inputs; `per` "matrix" or
    "column". 1 where nothing came out at first.
    """
    squares = (before.astype(np.float64) ** 2).sum(0)
    products = (before.astype(np.float64) * now).sum(0)
    whole = products.sum() / squares.sum() if squares.any() else 1.0
    kept = np.full(len(squares), whole)
    if per == "column":
        own = squares > LEAST * squares.mean()
        kept[own] = products[own] / squares[own]
    return np.where(kept > 0, 1.0 / np.where(kept > 0, kept, 1.0), 1.0).astype(np.float32)


def _probed(
    matrix: CrossbarMatrix, ranges: Ranges | None, fidelity: str, counts: EventCounts
) -> tuple[Ranges, np.ndarray]:
    """Read the probes through a matrix as it is, without a factor; the ranges and the results (probes, out)."""
    chip, layout, factor = matrix.chip, matrix.layout, matrix.drift_factor
    seed = matrix.cells.seed(NOISE_SEED)
    clock = int(np.float64(matrix.cells.clock_seconds).view(np.uint64))
    reader = Reader(chip, fidelity, derived_seed(seed, clock))
    signs = np.random.default_rng(int(matrix.cells.seed(PROBE_SEED))).integers(0, 2, (PROBES, layout.inputs))
    inputs = (2 * signs - 1).astype(np.float32)
    ranges = reader.find_ranges(matrix, inputs) if ranges is None else ranges
    matrix.drift_factor = None
    results, activity = reader.read(matrix, inputs, ranges)
    matrix.drift_factor = factor
    counts.add(read_events(chip, layout, input_cycles(chip)), PROBES)
    cell = chip.cell
    counts.cell_read_joules += activity * (cell.read_voltage_volts or 0.0) ** 2 * (cell.read_seconds or 0.0)
    return ranges, results
