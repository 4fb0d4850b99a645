"""The events of reads and writes, from geometry alone: no cell and no arithmetic is needed to count them."""

from typing import NamedTuple

from ..devices import Chip
from ..devices.schema import Cell
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
    """Seconds of one turn of writing; at most `arrays` arrays are written at the same time. phases: SET and RESET
    pulses come one after another; else a turn holds both and lasts as long as the longer kind.
    """

    cells_together: int
    phases: bool
    set_seconds: float
    reset_seconds: float
    verify_seconds: float
    arrays: int


def write_times(chip: Chip) -> WriteTimes:
    """How long a pulse and a verify read of cells that are written together take on a chip.

    Cells that are verified together share the array's converters. A supply that cannot feed all cells that are to be
    pulsed together (`write.current_max`) has fewer arrays written at once, and then fewer cells of a row.
    """
    p, cell = chip.periphery, chip.cell
    together, arrays = cells_in_a_row(chip), p.write_arrays_in_parallel or 1
    if p.write_amperes_max is not None and (each := pulse_amperes(chip.cell)):
        fed = max(1, int(p.write_amperes_max / each * (1.0 + 1e-12)))
        together = min(together, fed)
        arrays = max(1, min(arrays, fed // together))
    converting = together / (p.adcs_per_array or 1) * (p.adc_conversion_seconds or 0.0)
    return WriteTimes(
        cells_together=together,
        phases=p.write_polarities == "phases",
        set_seconds=cell.set_pulse_seconds or 0.0,
        reset_seconds=cell.reset_pulse_seconds or 0.0,
        verify_seconds=max(chip.integration_seconds, converting),
        arrays=arrays,
    )


def cells_in_a_row(chip: Chip) -> int:
    """Cells of a row that are written together, if the supply feeds so many."""
    return min(chip.periphery.write_cells_in_parallel or chip.array.columns, chip.array.columns)


def pulse_amperes(cell: Cell) -> float | None:
    """The largest current that a pulse can draw: that of the cell file, or that of the last pulse of a staircase
    through a cell at g_max; None where voltages are not known.
    """
    found = []
    for amperes, volts, step in (
        (cell.set_amperes, cell.set_voltage_volts, cell.set_voltage_step_volts),
        (cell.reset_amperes, cell.reset_voltage_volts, cell.reset_voltage_step_volts),
    ):
        if amperes is not None:
            found.append(amperes)
        elif volts is not None:
            most = volts + (step or 0.0) * (cell.pulses_max - 1)
            found.append(most * cell.g_max_siemens)
        else:
            return None
    return max(found)


def line_farads(chip: Chip) -> float:
    """Capacitance charged by one write pulse: the cell's bit line and its share of the word line."""
    p, array = chip.periphery, chip.array
    word = (p.word_line_farads_per_cell or 0.0) * array.columns / cells_in_a_row(chip)
    return word + (p.bit_line_farads_per_cell or 0.0) * array.rows


def conducting_seconds(chip: Chip) -> float:
    """How long the cells of an array cycle conduct at most: for each pulse of the longest digit."""
    return chip.integration_seconds * most_pulses(chip)


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
        access_joules=log.access_joules,
        write_line_joules=log.line_joules,
        verify_joules=log.verify_joules,
        pulse_turns=log.pulse_turns,
        set_turns=log.set_turns,
        reset_turns=log.reset_turns,
        verify_turns=log.verify_turns,
        digital_adds=log.digital_adds,
    )
