"""What each kind of event costs on a chip: the formulas, and the numbers of the chip file that they are made of."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ..devices import Chip
from .counting import conducting_seconds, line_farads, most_pulses, write_times
from .mapping import Layout


class Product(NamedTuple):
    """One line of a sum: how many events, what each costs (None: unknown), and what they cost together."""

    events: float
    each: float | None
    total: float


@dataclass(frozen=True)
class Cost:
    """What one event of a kind costs.

    quantity: "energy", "time" or "area"; component: the part of the breakdown it belongs to; event: what it is, in
    words; counts: the fields of `EventCounts` that add up to its number; tally: the field that holds its joules, where
    they were summed event by event; value: of one event; numbers: the attributes of the chip that `formula` is made of,
    as keys of its provenance; powers: with which power of each the value goes, where it is a product of them; write:
    whether the event belongs to writing cells; published: the number that says what others found for it; hidden: of a
    time, whether it is taken off again because nothing waits for it.

    Two of number, value and tally are known, and the third follows.
    """

    quantity: str
    component: str
    event: str
    counts: tuple[str, ...] = ()
    tally: str = ""
    value: float | None = None
    unit: str = "J"
    formula: str = ""
    numbers: tuple[str, ...] = ()
    powers: tuple[int, ...] = ()
    write: bool = False
    published: str = ""
    hidden: bool = False

    def product(self, counts: Mapping[str, float]) -> Product:
        """Number, value and total of the event for counts by field name."""
        events = sum(counts[name] for name in self.counts)
        if not self.tally:
            total = events * (self.value or 0.0)
            return Product(events, self.value, -total if self.hidden else total)
        total = counts[self.tally]
        if self.counts:
            return Product(events, total / events if events else None, total)
        return Product(total / self.value if self.value else 0.0, self.value, total)


NARROW = ("bf16", "fp16", "int8")
_MACS = ("digital_macs", *(f"{form}_macs" for form in NARROW))
_PUBLISHED = "cell.write_energy_published_joules"


def all_costs(chip: Chip) -> tuple[Cost, ...]:
    """The costs of every event on a chip."""
    return (*_cells(chip), *_pulses(chip), *_periphery(chip), *_times(chip), *area_costs(chip))


def chip_number(chip: Chip, name: str) -> Any:
    """A number of the chip by its key in the provenance ("periphery.adc_energy_joules"); None where it is unknown."""
    part, _, attribute = name.partition(".")
    return getattr(getattr(chip, part), attribute)


def cycle_seconds(chip: Chip) -> tuple[float, float]:
    """Seconds of one array cycle, (forward, transposed): settling and converting all its outputs with shared ADCs.

    Settling takes the time of the periphery (`read.cycle`) or, if longer, as long as cells conduct: the read time of
    the cell file, for each pulse where digits are pulses. Overlapped conversions run while the next read settles: a
    cycle takes the longer of the two. Sequential ones come after it: a cycle takes their sum. A transposed cycle
    converts every row.
    """
    p, layout = chip.periphery, Layout.of(chip, (1, 1))
    settling = max(p.read_cycle_seconds, conducting_seconds(chip))
    found = []
    for outputs in ((layout.outputs_per_array + layout.references) * layout.slices, chip.array.rows):
        converting = math.ceil(outputs / p.adcs_per_array) * p.adc_conversion_seconds
        both = (settling, converting)
        found.append(max(both) if p.adc_schedule == "overlapped" else sum(both))
    return found[0], found[1]


def _product(chip: Chip, *factors: str) -> float | None:
    """The product of numbers of the chip; None where one is unknown."""
    values = [chip_number(chip, name) for name in factors]
    return None if None in values else math.prod(values)


def _energy(
    chip: Chip, component: str, event: str, counts: str | tuple[str, ...], formula: str, *factors: str, **options: Any
) -> Cost:
    """The cost of an event that is the product of numbers of the chip; a factor named twice is squared."""
    fields = (counts,) if isinstance(counts, str) else counts
    value, powers = _product(chip, *factors), Counter(factors)
    return Cost(
        "energy", component, event, fields, value=value, formula=formula,
        numbers=tuple(powers), powers=tuple(powers.values()), **options,
    )  # fmt: skip


def _cells(chip: Chip) -> tuple[Cost, ...]:
    """Cells that conduct, in reads and in verify reads."""
    volts, seconds = "cell.read_voltage_volts", chip.integration
    look = (volts, volts, seconds)
    formula = "read voltage² × read time, for a siemens"
    event = "siemens conducting"
    return (
        _energy(chip, "cells_read", event, (), formula, *look, tally="cell_read_joules", unit="J/S"),
        _energy(
            chip, "cells_write", f"{event} in verifies", (), formula, *look,
            tally="verify_joules", unit="J/S", write=True,
        ),
    )  # fmt: skip


def _pulses(chip: Chip) -> tuple[Cost, ...]:
    """SET and RESET pulses (the cell file's fixed energies, or the mean of what each one cost), and their lines."""
    cell, part = chip.cell, "cells_write"
    line = Cost(
        "energy", part, "V² of pulses on lines",
        tally="write_line_joules", value=line_farads(chip), unit="J/V²",
        formula="bit line + word line / cells pulsed together",
        numbers=("periphery.word_line_farads_per_cell", "array.columns", "periphery.write_cells_in_parallel",
                 "periphery.bit_line_farads_per_cell", "array.rows"),
        write=True,
    )  # fmt: skip
    if cell.set_energy_joules is not None and cell.reset_energy_joules is not None:
        pulses = [
            _energy(
                chip, part, f"{side.upper()} pulses", f"{side}_pulses", "energy of a pulse",
                f"cell.{side}_energy_joules", write=True, published=_PUBLISHED,
            )
            for side in ("set", "reset")
        ]  # fmt: skip
    else:
        pulses = _driven_pulses(chip)
    return (*pulses, line, *_pumps(chip))


def _driven_pulses(chip: Chip) -> list[Cost]:
    """Pulses of a voltage: the cells' share of V I t, and that of the access devices in series with them."""
    laws = ("voltage_volts", "voltage_step_volts", "pulse_seconds", "energy_joules")
    names = [f"cell.{side}_{law}" for side in ("set", "reset") for law in laws]
    known = tuple(name for name in names if chip_number(chip, name) is not None)
    series = ("cell.access_ohms", "cell.voltage_across")
    shared: dict[str, Any] = {"counts": ("set_pulses", "reset_pulses"), "write": True, "published": _PUBLISHED}
    forms = {
        "path": ("I = V × G", "G × access resistance of it"),
        "cell": ("I = V × G of the cell", "I² × access resistance"),
    }
    current, rest = forms[chip.cell.voltage_across]
    mean = f"mean of (voltage + steps) × I × pulse time, {current}, pulse by pulse"
    own = f"the cells' share of the {mean}" if chip.cell.access_ohms else mean
    costs = [Cost("energy", "cells_write", "SET and RESET pulses", tally="pulse_joules", formula=own,
                  numbers=(*known, *(series if chip.cell.access_ohms else ())), **shared)]  # fmt: skip
    if chip.cell.access_ohms:
        costs.append(
            Cost("energy", "write_access", "SET and RESET pulses", tally="access_joules",
                 formula=f"the access devices' share of the same: {rest}", numbers=(*known, *series), **shared)
        )  # fmt: skip
    return costs


def _pumps(chip: Chip) -> list[Cost]:
    """What charge pumps lose of the energy of pulses and lines that they hand on."""
    if chip.cell.pumped == "no":
        return []
    loss = ("periphery.pump_loss",)
    value = chip.periphery.pump_loss
    shared: dict[str, Any] = {
        "value": value, "unit": "J/J", "formula": "loss of a joule handed on", "numbers": loss, "powers": (1,),
        "write": True,
    }  # fmt: skip
    return [
        Cost("energy", "write_pump", "joules of pulses", ("pulse_joules", "access_joules"), published=_PUBLISHED,
             **shared),
        Cost("energy", "write_pump", "joules of lines", ("write_line_joules",), **shared),
    ]  # fmt: skip


def _periphery(chip: Chip) -> tuple[Cost, ...]:
    """Lines, converters, buffers, the network around the arrays, the digital unit, and waiting."""
    energy = lambda *given, **options: _energy(chip, *given, **options)
    supply, digit = "periphery.supply_volts", "periphery.dac_bits"
    line = "line capacitance of a cell × cells of the line × supply² × bits of the DAC"
    adc = "periphery.adc_energy_joules"
    byte = {"unit": "J/byte"}
    dram = (energy("dram", "bytes", "dram_bytes", "byte", "periphery.dram_energy_joules_per_byte", **byte),)
    return (
        energy(
            "lines", "word lines charged", "word_line_drives", line,
            "periphery.word_line_farads_per_cell", "array.columns", supply, supply, digit,
        ),
        energy(
            "lines", "bit lines charged", "bit_line_drives", line,
            "periphery.bit_line_farads_per_cell", "array.rows", supply, supply, digit,
        ),
        energy("dac", "lines driven", ("word_line_drives", "bit_line_drives"), "drive", "periphery.dac_energy_joules"),
        energy("adc", "conversions of reads", "read_conversions", "conversion", adc),
        energy("adc", "conversions of verifies", "verify_conversions", "conversion", adc, write=True),
        energy("sample_hold", "samples", "sample_holds", "sample", "periphery.sample_hold_energy_joules"),
        energy("shift_add", "shift-adds", "shift_adds", "shift-add", "periphery.shift_add_energy_joules"),
        energy("buffer", "bytes", "buffer_bytes", "byte", "periphery.buffer_energy_joules_per_byte", **byte),
        energy("router", "bytes, a hop each", "router_bytes", "hop", "periphery.router_energy_joules_per_byte", **byte),
        energy("digital", "multiply-adds", "digital_macs", "multiply-add", "periphery.digital_mac_energy_joules"),
        *_narrow_macs(chip),
        energy("digital", "additions", "digital_adds", "addition", "periphery.digital_add_energy_joules"),
        energy("sram", "bytes", "sram_bytes", "byte", "periphery.sram_energy_joules_per_byte", **byte),
        replace(
            energy(
                "sram", "bytes, for the size of their memory", "sram_surcharge_bytes",
                "byte in the smallest memory; events: bytes × ((size / smallest)^growth - 1)",
                "periphery.sram_energy_joules_per_byte", **byte,
            ),
            numbers=("periphery.sram_energy_joules_per_byte", "periphery.sram_size_bytes", "periphery.sram_growth"),
        ),
        *(dram if chip.periphery.dram_energy_joules_per_byte is not None else ()),
        *_standing(chip),
    )  # fmt: skip


def _narrow_macs(chip: Chip) -> tuple[Cost, ...]:
    """Multiply-adds in the narrower formats that the file knows."""
    names = {form: f"periphery.{form}_mac_energy_joules" for form in NARROW}
    return tuple(
        _energy(chip, "digital", f"multiply-adds in {form}", f"{form}_macs", "multiply-add", name)
        for form, name in names.items() if chip_number(chip, name) is not None
    )  # fmt: skip


def _standing(chip: Chip) -> tuple[Cost, ...]:
    """Power times time: arrays that are powered, arrays that are cut off, pumps, digital unit, SRAM."""
    energy = lambda *given, **options: _energy(chip, *given, **{"unit": "J/s"} | options)
    gates = (
        energy("leakage", "seconds of arrays cut off", "gated_seconds", "power", "periphery.gated_watts_per_array"),
    )
    return (
        energy("leakage", "array seconds", "array_seconds", "power", "periphery.leakage_watts_per_array"),
        *(gates if chip.periphery.leakage_when == "busy" else ()),
        energy("pump_leakage", "seconds of writing", "pump_seconds", "power", "periphery.pump_watts"),
        energy("digital_leakage", "seconds", "digital_seconds", "power", "periphery.digital_leakage_watts"),
        energy(
            "sram_leakage", "bytes times seconds", "sram_byte_seconds", "power of a byte",
            "periphery.sram_leakage_watts_per_byte", unit="J/(byte s)",
        ),
    )  # fmt: skip


def _times(chip: Chip) -> tuple[Cost, ...]:
    p, writing, (forward, transposed) = chip.periphery, write_times(chip), cycle_seconds(chip)
    converters = ("periphery.adc_conversion_seconds", "periphery.adcs_per_array")
    pulses = ("periphery.dac_coding", "periphery.dac_bits", "array.input_bits") if most_pulses(chip) > 1 else ()
    settling = ("periphery.read_cycle_seconds", chip.integration, *pulses, *converters, "periphery.adc_schedule")
    conducting = "read time × most pulses of a digit" if pulses else "read time"
    converted = "conversions / converters × conversion time"
    if p.adc_schedule == "overlapped":
        cycle = f"the longest of settling, {conducting}, and {converted}"
    else:
        cycle = f"settling or, if longer, {conducting}, + {converted}"

    def time(
        component: str, event: str, count: str | tuple[str, ...], value: float, formula: str, *numbers: str,
        **options: Any,
    ) -> Cost:  # fmt: skip
        counts = (count,) if isinstance(count, str) else count
        return Cost("time", component, event, counts, "", value, "s", formula, numbers, **options)

    sides = ("cell.set_pulse_seconds", "cell.reset_pulse_seconds")
    if writing.phases:
        pulsing = [
            time("writes", f"turns of {kind} pulses", f"{kind.lower()}_turns", seconds, "pulse", number, write=True)
            for kind, seconds, number in zip(
                ("SET", "RESET"), (writing.set_seconds, writing.reset_seconds), sides, strict=True
            )
        ]
    else:
        longer = max(writing.set_seconds, writing.reset_seconds)
        pulsing = [time("writes", "turns of pulses", "pulse_turns", longer, "longer pulse", *sides, write=True)]
    rate = "periphery.digital_macs_per_second"
    schedule, why = "periphery.layer_schedule", "taken off: something else is waited for meanwhile"
    hidden = (
        time("array_reads", "cycles hidden", "hidden_cycles", forward, why, schedule, hidden=True),
        time("array_reads", "transposed hidden", "hidden_transposed_cycles", transposed, why, schedule, hidden=True),
        time(
            "digital", "multiply-adds hidden", "hidden_macs", 1.0 / p.digital_macs_per_second, why, schedule, rate,
            hidden=True,
        ),
    )  # fmt: skip
    return (
        time("array_reads", "array cycles", "array_cycles", forward, cycle, *settling, "array.columns", "array.slices"),
        time("array_reads", "transposed array cycles", "transposed_cycles", transposed, cycle, *settling, "array.rows"),
        *pulsing,
        time(
            "writes", "turns of verifies", "verify_turns", writing.verify_seconds,
            "read time or, if longer, cells together / converters × conversion time",
            chip.integration, "periphery.write_cells_in_parallel", *converters, write=True,
        ),
        time(
            "digital", "multiply-adds", _MACS, 1.0 / p.digital_macs_per_second,
            "1 / throughput", rate,
        ),
        time(
            "digital", "additions", "digital_adds", 1.0 / p.digital_macs_per_second,
            "as long as a multiply-add: 1 / throughput", rate,
        ),
        *(hidden if p.layer_schedule == "overlapped" else ()),
    )  # fmt: skip


def area_costs(chip: Chip) -> tuple[Cost, ...]:
    """Square metres of one array by part; wiring, buffers, drivers and the digital unit are not counted."""
    rows, columns, node = "array.rows", "array.columns", "periphery.node_meters"

    def one(component: str, formula: str, *factors: str) -> Cost:
        value, names = _product(chip, *factors), tuple(dict.fromkeys(factors))
        return Cost("area", component, "arrays", ("arrays",), "", value, "m²", formula, names)

    return (
        one("cells", "rows × columns × area of a cell in F² × F²", rows, columns, "cell.area_f2", node, node),
        one("adc", "converters × area of one", "periphery.adcs_per_array", "periphery.adc_area_square_meters"),
        one("dac", "rows × area of a row driver", rows, "periphery.dac_area_square_meters"),
        one("other", "columns × area of a sample-and-hold", columns, "periphery.sample_hold_area_square_meters"),
        one("other", "area of a shift-and-add unit", "periphery.shift_add_area_square_meters"),
    )
