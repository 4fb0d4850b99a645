"""Drift compensation: a digital factor makes up for what a matrix lost in the mean, and no cell is written for it.

V. Joshi et al., "Accurate deep neural network inference using computational phase-change memory", Nature
Communications 2020, doi:10.1038/s41467-020-16108-9 (global drift compensation; IBM aihwkit has it too): the same inputs
are applied after programming and again later, and what comes out is scaled by how much less it has become.

Here the inputs are `PROBES` vectors of random signs at full drive, the same for a matrix at any time, so that no
input is stored: a shift register makes them. They are read as any input is: through drivers, wires and converters,
with noise. The results (probes, outputs) are y0 and y0' of two reads when the matrix was last written, and y of the
present:

    k = sum y (y0 + y0') / 2 / sum y0 y0'        factor = 1 / k

by least squares: over all outputs (`array.drift_compensation` "matrix") or for each output by itself ("column"). The
noise of one read alone would be in sum y0^2 and not in sum y y0, and the factor too large; that of two is in neither.
An output with hardly any weight takes the factor of its matrix. The factor is put on the scale that digital results
are multiplied by anyway: a read costs what it did before.

The first results are read when time begins to pass after the write, the others whenever the clock is set. Later writes
of some weights find the others drifted, and a read would tell nothing of what they were: to the first results is added
what the new weights give for the probes less what the old ones gave, which the digital side knows, and the matrix is
looked at again. A write that changes nothing changes nothing here. The first write of a matrix, and a refresh, which
brings all of its cells back, start anew with a factor of 1. Reads, conversions, digital sums and bytes are counted.
"""

from typing import NamedTuple

import numpy as np

from ..devices import Chip
from .accounting import EventCounts
from .arrays import CrossbarMatrix
from .counting import input_cycles, read_events
from .mapping import Layout
from .randoms import derived_seed
from .reading import Ranges, Reader
from .writing import WriteLog

PROBES = 32
LOOKS_KEPT = 8  # readings of the clock whose factors are kept, for chips that take turns
NUMBER_BYTES = 4  # of a result or a factor that is kept
LEAST = 0.01  # squares of an output over those of the mean one, below which its own factor would be noise
PROBE_SEED, NOISE_SEED = 4, 5  # families of random numbers of a matrix


class Look(NamedTuple):
    """The factor (out,) at a reading of the clock, and what it took to find it."""

    factor: np.ndarray
    events: EventCounts


class Baseline(NamedTuple):
    """What the probes gave at a reading of the clock: ranges of the converters (None: not known yet), the mean of two
    reads (probes, out), sums of their products (out,), and what it took.
    """

    seconds: float
    ranges: Ranges | None
    mean: np.ndarray
    squares: np.ndarray
    events: EventCounts

    def rewritten(self, matrix: CrossbarMatrix, difference: np.ndarray) -> "Baseline":
        """What it would have been had the weights been larger by `difference` (in, out)."""
        more = probes(matrix) @ difference
        squares = self.squares + (2.0 * self.mean.astype(np.float64) * more + more.astype(np.float64) ** 2).sum(0)
        return self._replace(ranges=None, mean=self.mean + more, squares=squares)


def compensates(chip: Chip) -> bool:
    """Whether a chip makes up for drift."""
    return chip.array.drift_compensation != "none"


def set_time(matrix: CrossbarMatrix, seconds: float, fidelity: str) -> None:
    """Set the clock of a matrix and find its factor at the new time.

    Noise depends on the matrix and the time only: a matrix gets the same factor whoever asks, and when.
    """
    if seconds != matrix.cells.clock_seconds:
        if matrix.baseline is None:
            matrix.baseline = _first(matrix, fidelity)
        matrix.set_time(seconds)
        look(matrix, fidelity)


def look(matrix: CrossbarMatrix, fidelity: str) -> EventCounts:
    """Find the factor of a matrix as it is, unless it is known; the events of it."""
    base, now = matrix.baseline, matrix.cells.clock_seconds
    matrix.drift_factor = None
    if base is None:
        return EventCounts()
    if base.ranges is None:
        matrix.baseline = base = base._replace(ranges=_reader(matrix, fidelity).find_ranges(matrix, probes(matrix)))
    if base.seconds == now:
        return EventCounts()
    known = matrix.looks.pop(now, None)
    if known is None:
        counts = EventCounts()
        _, results = _probed(matrix, base.ranges, 1, fidelity, counts)
        factor = factors(base.mean, base.squares, results[0], matrix.chip.array.drift_compensation)
        found = Look(factor, counts.add(sums(matrix.layout)))
    else:
        found = known
    matrix.looks[now] = found
    if len(matrix.looks) > LOOKS_KEPT:
        del matrix.looks[next(iter(matrix.looks))]
    matrix.drift_factor = found.factor
    return found.events if known is None else EventCounts()


def sums(layout: Layout) -> EventCounts:
    """What is done with the results of one look: Σ y y0, and the first results and factors that move."""
    results = PROBES * layout.outputs
    return EventCounts(digital_macs=results, sram_bytes=NUMBER_BYTES * (results + layout.outputs))


def events_of_time(matrix: CrossbarMatrix, paid_seconds: float | None) -> EventCounts:
    """What it takes to find the factor of a matrix at its present time; `paid_seconds`: the time of the first results
    that the chip that asks has paid for.
    """
    counts, base = EventCounts(), matrix.baseline
    if base is not None:
        known = matrix.looks.get(matrix.cells.clock_seconds)
        if known is not None:
            counts.add(known.events)
            if base.seconds != paid_seconds:
                counts.add(base.events)
    return counts


def after_write(matrix: CrossbarMatrix, log: WriteLog, fidelity: str) -> EventCounts:
    """Find the factor of a matrix after a write; the events of it."""
    counts = look(matrix, fidelity)
    if counts.reads:
        counts = EventCounts().add(counts)
        counts.digital_macs += PROBES * log.pulses.size / matrix.layout.cells_per_weight
        counts.sram_bytes += 2 * NUMBER_BYTES * matrix.baseline.mean.size
    return counts


def factors(mean: np.ndarray, squares: np.ndarray, now: np.ndarray, per: str) -> np.ndarray:
    """The factor of each output, (out,) float32, from the first results (probes, out), the sums of their squares, and
    later results of the same inputs; `per` "matrix" or "column". 1 where nothing came out at first.
    """
    products = (mean.astype(np.float64) * now).sum(0)
    whole = products.sum() / squares.sum() if squares.sum() > 0 else 1.0
    kept = np.full(len(squares), whole)
    if per == "column":
        own = squares > LEAST * squares.mean()
        kept[own] = products[own] / squares[own]
    return np.where(kept > 0, 1.0 / np.where(kept > 0, kept, 1.0), 1.0).astype(np.float32)


def probes(matrix: CrossbarMatrix) -> np.ndarray:
    """The inputs of calibration reads, (probes, in) float32."""
    signs = np.random.default_rng(int(matrix.cells.seed(PROBE_SEED))).integers(0, 2, (PROBES, matrix.layout.inputs))
    return (2 * signs - 1).astype(np.float32)


def _first(matrix: CrossbarMatrix, fidelity: str) -> Baseline:
    counts = EventCounts()
    ranges, results = _probed(matrix, None, 2, fidelity, counts)
    mean = (results[0] + results[1]) / 2
    counts.digital_macs += 2 * mean.size  # their mean, and the sums of their products
    counts.sram_bytes += NUMBER_BYTES * mean.size
    squares = (results[0].astype(np.float64) * results[1]).sum(0)
    return Baseline(matrix.cells.clock_seconds, ranges, mean, squares, counts)


def _reader(matrix: CrossbarMatrix, fidelity: str) -> Reader:
    clock = int(np.float64(matrix.cells.clock_seconds).view(np.uint64))
    return Reader(matrix.chip, fidelity, derived_seed(matrix.cells.seed(NOISE_SEED), clock))


def _probed(
    matrix: CrossbarMatrix, ranges: Ranges | None, times: int, fidelity: str, counts: EventCounts
) -> tuple[Ranges, np.ndarray]:
    """Read the probes through a matrix as it is, without a factor; the ranges and the results (times, probes, out)."""
    chip, layout, factor = matrix.chip, matrix.layout, matrix.drift_factor
    reader, inputs = _reader(matrix, fidelity), probes(matrix)
    ranges = reader.find_ranges(matrix, inputs) if ranges is None else ranges
    matrix.drift_factor = None
    results, activity = reader.read(matrix, np.tile(inputs, (times, 1)), ranges)
    matrix.drift_factor = factor
    counts.add(read_events(chip, layout, input_cycles(chip)), times * PROBES)
    cell = chip.cell
    counts.cell_read_joules += activity * (cell.read_voltage_volts or 0.0) ** 2 * chip.integration_seconds
    return ranges, results.reshape(times, PROBES, -1)
