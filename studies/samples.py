"""Expected writes, from a programmed sample of cells: what a study without weights can say of programming.

The sample is a matrix of normally distributed weights, mapped and programmed by the simulator as any other; what a
cell, a row of cells and a read of it cost on average is then applied to matrices of any size.
"""

from dataclasses import dataclass, replace

import numpy as np

from ..devices import Chip
from ..simulator import EventCounts, WriteLog
from ..simulator.arrays import CrossbarMatrix
from ..simulator.converters import best_range, code_max, drive_load
from ..simulator.counting import digit_bits, write_events, write_times
from ..simulator.mapping import Layout
from ..simulator.rotation import additions
from ..simulator.turns import groups, queue

SAMPLE_WEIGHTS = 1 << 17
INPUTS = 4096
_TURNS = ("pulse_turns", "set_turns", "reset_turns", "verify_turns")


@dataclass(frozen=True)
class Writes:
    """The events of writing the sample, and the log they come from."""

    layout: Layout
    chip: Chip
    log: WriteLog

    def events(self, layout: Layout) -> EventCounts:
        """The expected events of writing a matrix of this layout: by cells, and turns by rows of cells."""
        counts = write_events(self.log).scaled(layout.cells / self.layout.cells)
        times = write_times(self.chip)
        mine, sampled = (queue(groups(one, times), times.arrays) for one in (layout, self.layout))
        return replace(
            counts,
            **{name: getattr(self.log, name) * mine / sampled for name in _TURNS},
            digital_adds=layout.outputs * additions(self.chip, layout.inputs),
        )

    @property
    def pulses_mean(self) -> float:
        """Pulses of a cell."""
        return float(self.log.pulses.mean())

    @property
    def pulses_error(self) -> float:
        """Standard error of `pulses_mean`."""
        return float(self.log.pulses.std() / np.sqrt(self.log.pulses.size))


@dataclass(frozen=True)
class Sample:
    """programming: erased cells get their first values; step: a share of the weights moves to a neighbouring value;
    read_joules_per_cell: of the cells, in one read; probe_joules_per_cell: the same with all inputs at full drive.
    """

    cells: int
    programming: Writes
    step: Writes
    read_joules_per_cell: float
    probe_joules_per_cell: float
    changed_share: float


def program_sample(chip: Chip, changed_share: float = 1.0, seed: int = 0, density: float = 1.0) -> Sample:
    """Program a sample, and rewrite `changed_share` of its weights by one step up or down.

    density: the share of its weights, the largest, that are not zero. Where no more than these change, the others stay.
    The sample has whole groups of cells that are written together, so that its turns are those of full arrays. Inputs
    of reads are normally distributed too. Same seed, same sample.
    """
    rng = np.random.default_rng([seed, 0x5A3])
    outputs = 4 * Layout.of(chip, (1, 1)).outputs_per_array
    inputs = -(-SAMPLE_WEIGHTS // (outputs * chip.array.slices))
    matrix = CrossbarMatrix(chip, (outputs, inputs), rng)
    weight = rng.standard_normal((outputs, inputs), dtype=np.float32)
    weight[np.abs(weight) < np.quantile(np.abs(weight), 1.0 - density)] = 0.0
    first = matrix.write(weight)
    siemens = float(matrix.row_siemens.sum()) / matrix.layout.cells
    programming = Writes(matrix.layout, chip, first)
    step = Writes(matrix.layout, chip, matrix.write(_neighbours(matrix, weight, changed_share, density, rng)))
    cell = chip.cell

    def joules(codes: np.ndarray) -> float:
        conducted = siemens * mean_load(chip, codes)
        conducted += sum(acting.mean_activity(matrix, codes) for acting in matrix.adding)
        return conducted * cell.read_voltage_volts**2 * chip.integration_seconds

    codes, top = typical_codes(chip, rng), code_max(chip.array.input_bits)
    full = joules(np.array([-top, top]))
    return Sample(matrix.layout.cells, programming, step, joules(codes), full, changed_share)


def typical_codes(chip: Chip, rng: np.random.Generator) -> np.ndarray:
    """Codes (INPUTS,) int of normally distributed inputs."""
    x, bits = rng.standard_normal(INPUTS, dtype=np.float32), chip.array.input_bits
    top = code_max(bits)
    return np.clip(np.rint(x / best_range(x, bits) * top), -top, top).astype(int)


def mean_load(chip: Chip, codes: np.ndarray) -> float:
    """Full-voltage cycles that a row is driven for in one read, on average over the codes of inputs."""
    load = drive_load(chip.array.input_bits, digit_bits(chip), chip.periphery.dac_coding)
    return float(load[np.abs(codes)].mean())


def _neighbours(
    matrix: CrossbarMatrix, held: np.ndarray, share: float, density: float, rng: np.random.Generator
) -> np.ndarray:
    """Weights whose integers differ by one from those that the matrix holds, for a share of them: (out, in). Of weights
    (out, in) that are held, and of which a share `density` is not zero, these, if they are as many.
    """
    now, top = matrix.integers.astype(int), matrix.layout.magnitude_max
    step = np.where(rng.random(now.shape) < 0.5, 1, -1)
    drawn = rng.random(now.shape)
    step *= (drawn < share / density) & (held.T != 0) if share <= density else drawn < share
    moved = np.where(np.abs(now + step) > top, now - step, now + step)
    tile = np.arange(matrix.layout.inputs) // matrix.layout.rows
    assert matrix.scale is not None, "written before"
    return (moved * matrix.scale[tile] / top).T.astype(np.float32)
