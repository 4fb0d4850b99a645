"""Energy, time and area: counts of events times the chip file's cost of one event.

`EventCounts` says how often each thing happened; `CostTable` what one of each costs on this chip; their product is a
breakdown by component. Nothing is charged for what the chip file does not know: those components are listed in
`CostTable.unknown`.
"""

from dataclasses import dataclass, field, fields

from ..devices import Chip

COMPONENTS = ("cells_read", "cells_write", "dac", "adc", "sample_hold", "shift_add", "buffer", "digital", "sram")


@dataclass
class EventCounts:
    """How often each event happened. Everything adds up: counts of parts sum to the counts of the whole."""

    dac_drives: float = 0.0  # one row driven for one input slice
    adc_conversions: float = 0.0  # of reads and of verifies
    verify_conversions: float = 0.0  # those of verifies alone
    sample_holds: float = 0.0
    shift_adds: float = 0.0
    buffer_bytes: float = 0.0
    cell_read_joules: float = 0.0  # V^2 G t of the cells, summed as it is read
    cell_write_joules: float = 0.0  # pulses, line charging and verify currents, summed as it is written
    digital_macs: float = 0.0
    sram_bytes: float = 0.0
    array_cycles: float = 0.0  # array read cycles one after another (arrays of one matrix work together)
    write_seconds: float = 0.0
    reads: float = 0.0  # matrix-vector products, forward
    transposed_reads: float = 0.0

    def add(self, other: "EventCounts") -> "EventCounts":
        """Add `other` in place and return self."""
        for f in fields(self):
            setattr(self, f.name, getattr(self, f.name) + getattr(other, f.name))
        return self

    def scaled(self, factor: float) -> "EventCounts":
        """These counts times a factor."""
        return EventCounts(**{f.name: getattr(self, f.name) * factor for f in fields(self)})

    def minus(self, earlier: "EventCounts") -> "EventCounts":
        """What happened since `earlier`."""
        return EventCounts(**{f.name: getattr(self, f.name) - getattr(earlier, f.name) for f in fields(self)})


@dataclass(frozen=True)
class Breakdown:
    """Joules and seconds by component; totals are the sums."""

    joules: dict[str, float]
    seconds: dict[str, float]

    @property
    def total_joules(self) -> float:
        return sum(self.joules.values())

    @property
    def total_seconds(self) -> float:
        return sum(self.seconds.values())


@dataclass(frozen=True)
class CostTable:
    """Joules and seconds of one event on a chip; a cost the chip file does not know is 0 and named in `unknown`."""

    dac_joules: float
    adc_joules: float
    sample_hold_joules: float
    shift_add_joules: float
    buffer_joules_per_byte: float
    digital_mac_joules: float
    sram_joules_per_byte: float
    array_cycle_seconds: float
    mac_seconds: float
    unknown: tuple[str, ...] = field(default=())

    @staticmethod
    def of(chip: Chip) -> "CostTable":
        """The cost table of a chip. Array cycle = the longer of settling and converting all its outputs with the
        shared ADCs.
        """
        p = chip.periphery
        unknown: list[str] = []

        def known(name: str) -> float:
            value = getattr(p, name)
            if value is None:
                unknown.append(f"periphery.{name}")
            return float(value or 0.0)

        conversions = chip.array.columns // 2  # one conversion a differential pair
        converting = conversions / max(1, p.adcs_per_array or 1) * known("adc_conversion_seconds")
        throughput = known("digital_macs_per_second")
        return CostTable(
            dac_joules=known("dac_energy_joules"),
            adc_joules=known("adc_energy_joules"),
            sample_hold_joules=known("sample_hold_energy_joules"),
            shift_add_joules=known("shift_add_energy_joules"),
            buffer_joules_per_byte=known("buffer_energy_joules_per_byte"),
            digital_mac_joules=known("digital_mac_energy_joules"),
            sram_joules_per_byte=known("sram_energy_joules_per_byte"),
            array_cycle_seconds=max(known("read_cycle_seconds"), converting),
            mac_seconds=1.0 / throughput if throughput else 0.0,
            unknown=tuple(unknown),
        )

    def cost(self, counts: EventCounts) -> Breakdown:
        """Counts times cost, by component."""
        joules = {
            "cells_read": counts.cell_read_joules,
            "cells_write": counts.cell_write_joules,
            "dac": counts.dac_drives * self.dac_joules,
            "adc": counts.adc_conversions * self.adc_joules,
            "sample_hold": counts.sample_holds * self.sample_hold_joules,
            "shift_add": counts.shift_adds * self.shift_add_joules,
            "buffer": counts.buffer_bytes * self.buffer_joules_per_byte,
            "digital": counts.digital_macs * self.digital_mac_joules,
            "sram": counts.sram_bytes * self.sram_joules_per_byte,
        }
        seconds = {
            "array_reads": counts.array_cycles * self.array_cycle_seconds,
            "writes": counts.write_seconds,
            "digital": counts.digital_macs * self.mac_seconds,
        }
        return Breakdown(joules, seconds)


def area(chip: Chip, arrays: int) -> dict[str, float | None]:
    """Square metres by part for `arrays` arrays: cells, adc, dac, other (sample-and-hold, shift-add) and their total.

    A part whose unit area the chip file does not know is None and missing from the total. Wiring, buffers, drivers
    and the digital unit are not counted.
    """
    cell, array, p = chip.cell, chip.array, chip.periphery
    node = p.node_meters
    one = {
        "cells": None if cell.area_f2 is None or node is None else cell.area_f2 * node**2 * array.rows * array.columns,
        "adc": None if p.adc_area_square_meters is None else p.adc_area_square_meters * (p.adcs_per_array or 1),
        "dac": None if p.dac_area_square_meters is None else p.dac_area_square_meters * array.rows,
        "other": _sum_known(
            None if p.sample_hold_area_square_meters is None else p.sample_hold_area_square_meters * array.columns,
            p.shift_add_area_square_meters,
        ),
    }
    parts = {name: None if value is None else value * arrays for name, value in one.items()}
    parts["total"] = _sum_known(*parts.values())
    return parts


def _sum_known(*values: float | None) -> float | None:
    present = [v for v in values if v is not None]
    return sum(present) if present else None
