"""The events of reads and writes, from geometry alone: no cell and no arithmetic is needed to count them."""

from typing import NamedTuple

from ..devices import Chip
from .accounting import EventCounts
from .converters import digit_bits, input_cycles, most_pulses
from .effects import EFFECTS
from .mapping import Layout
from .writing import WriteLog

__all__ = [
    "WriteTimes", "conducting_seconds", "digit_bits", "input_cycles", "line_farads", "most_pulses", "read_events",
    "write_events", "write_times",
]  # fmt: skip

RESULT_BYTES = 2  # a result leaves its matrix with 16 bits


class WriteTimes(NamedTuple):
    """Seconds of one turn of writing; at most `arrays` arrays are written at the same time."""

    cells_together: int
    pulse_seconds: float
    verify_seconds: float
    arrays: int


def write_times(chip: Chip) -> WriteTimes:
    """How long a pulse and a verify read of cells that are written together take on a chip.

    A turn lasts as long as the longer kind of pulse; the cells that are verified together share the array's converters.
    """
    p, cell = chip.periphery, chip.cell
    together = min(p.write_cells_in_parallel or chip.array.columns, chip.array.columns)
    converting = together / (p.adcs_per_array or 1) * (p.adc_conversion_seconds or 0.0)
    return WriteTimes(
        cells_together=together,
        pulse_seconds=max(cell.set_pulse_seconds or 0.0, cell.reset_pulse_seconds or 0.0),
        verify_seconds=max(cell.read_seconds or 0.0, converting),
        arrays=p.write_arrays_in_parallel or 1,
    )


def line_farads(chip: Chip) -> float:
    """Capacitance charged by one write pulse: the cell's bit line and its share of the word line."""
    p, array = chip.periphery, chip.array
    word = (p.word_line_farads_per_cell or 0.0) * array.columns / write_times(chip).cells_together
    return word + (p.bit_line_farads_per_cell or 0.0) * array.rows


def conducting_seconds(chip: Chip) -> float:
    """How long the cells of an array cycle conduct at most: their read time, for each pulse of the longest digit."""
    return (chip.cell.read_seconds or 0.0) * most_pulses(chip)


def read_events(chip: Chip, layout: Layout, cycles: int, transposed: bool = False) -> EventCounts:
    """The events of one matrix-vector product, without the cells' own energy (that depends on the inputs).

    A transposed read drives the outputs' columns and senses the inputs' rows. The slices of a weight share a row, so
    they are read one after another. Effects add what they do once a read, of inputs before they are driven, or of the
    results of a transposed read after they are sensed.
    """
    driven, sensed = (layout.sensed, layout.inputs) if transposed else (layout.inputs, layout.sensed)
    drive_tiles, sense_tiles = (
        (layout.row_tiles, layout.column_tiles) if transposed else (layout.column_tiles, layout.row_tiles)
    )
    conversions = sensed * sense_tiles * layout.slices * cycles
    # Each driven line crosses every array beside it; a transposed read drives both cells of a pair.
    drives = driven * drive_tiles * cycles * (layout.cells_per_weight if transposed else 1)
    given, results = (layout.outputs, layout.inputs) if transposed else (layout.inputs, layout.outputs)
    input_bytes = given * chip.array.input_bits / 8
    events = EventCounts(
        word_line_drives=0 if transposed else drives,
        bit_line_drives=drives if transposed else 0,
        read_conversions=conversions,
        sample_holds=conversions,
        shift_adds=conversions,
        buffer_bytes=input_bytes + results * RESULT_BYTES,
        router_bytes=input_bytes * drive_tiles + results * RESULT_BYTES * sense_tiles,
        array_cycles=0 if transposed else cycles,
        transposed_cycles=cycles * layout.slices if transposed else 0,
        busy_cycles=0 if transposed else layout.arrays * cycles,
        busy_transposed_cycles=layout.arrays * cycles * layout.slices if transposed else 0,
        transposed_reads=float(transposed),
        reads=float(not transposed),
    )
    for effect in EFFECTS:
        if effect.events is not None:
            events.add(effect.events(chip, layout))
    return events


def write_events(log: WriteLog) -> EventCounts:
    """The events of a write."""
    return EventCounts(
        verify_conversions=log.verifies,
        set_pulses=log.set_pulses,
        reset_pulses=log.reset_pulses,
        reversals=log.reversals,
        cells_written=log.cells_pulsed,
        pulse_joules=log.cell_joules,
        write_line_joules=log.line_joules,
        verify_joules=log.verify_joules,
        pulse_turns=log.pulse_turns,
        verify_turns=log.verify_turns,
        digital_adds=log.digital_adds,
    )
