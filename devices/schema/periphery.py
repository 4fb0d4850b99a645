"""What a periphery file may say."""

from dataclasses import dataclass

from .values import spec

_ALIKE = "all are alike"


@dataclass(frozen=True)
class Periphery:
    """The circuits around an array: converters, buffers, digital unit, wires, write drivers."""

    name: str
    title: str
    description: str
    node_meters: float = spec("technology.node", "m", "technology node (feature size F)", open_low=True)
    supply_volts: float | None = spec("technology.supply", "V", "supply voltage", nullable=True, open_low=True)
    temperature_kelvins: float | None = spec(
        "technology.temperature",
        "K",
        "at which the chip works; acts on what has a temperature_coefficient",
        nullable=True,
        low=200.0,
        high=500.0,
        absent="300 K, and nothing depends on it",
    )
    dac_bits: int = spec("dac.bits", "", "bits of a row driver", kind="integer", low=1, high=16)
    dac_coding: str = spec(
        "dac.coding",
        "",
        "a digit is one voltage, or so many pulses of read.voltage, each read.time long",
        kind="choice",
        choices=("voltage", "pulses"),
        absent="voltage",
        default="voltage",
    )
    dac_energy_joules: float = spec("dac.energy", "J", "one row driven once", by="dac.bits")
    dac_area_square_meters: float | None = spec("dac.area", "m^2", "one row driver", nullable=True, by="dac.bits")
    adc_bits: int = spec("adc.bits", "", "bits of a conversion", kind="integer", low=1, high=24)
    adc_energy_joules: float = spec("adc.energy", "J", "one conversion", by="adc.bits")
    adc_conversion_seconds: float = spec(
        "adc.conversion_time", "s", "one conversion", open_low=True, by="adc.bits", any_bits=True
    )
    adc_area_square_meters: float | None = spec("adc.area", "m^2", "one converter", nullable=True, by="adc.bits")
    adcs_per_array: int = spec("adc.per_array", "", "converters of one array", kind="integer", low=1, high=65536)
    adc_schedule: str = spec(
        "adc.schedule",
        "",
        "when conversions run: during the next array read (overlapped), or before it (sequential)",
        kind="choice",
        choices=("overlapped", "sequential"),
    )
    adc_kind: str | None = spec(
        "adc.kind",
        "",
        "how a conversion works; decides the shape of its curvature",
        kind="choice",
        nullable=True,
        choices=("sar", "ramp", "flash"),
        absent="not stated",
    )
    adc_offset_sigma: float | None = spec(
        "adc.offset_sigma", "", "offset of converters, in steps (LSB)", nullable=True, absent=_ALIKE
    )
    adc_gain_sigma: float | None = spec(
        "adc.gain_sigma", "", "relative gain error of converters", nullable=True, high=1.0, absent=_ALIKE
    )
    adc_inl_sigma: float | None = spec(
        "adc.inl_sigma", "", "curvature (INL) of converters, in steps (LSB)", nullable=True, absent=_ALIKE
    )
    dac_offset_sigma: float | None = spec(
        "dac.offset_sigma", "", "offset of row drivers, in steps (LSB)", nullable=True, absent=_ALIKE
    )
    dac_gain_sigma: float | None = spec(
        "dac.gain_sigma", "", "relative gain error of row drivers", nullable=True, high=1.0, absent=_ALIKE
    )
    dac_inl_sigma: float | None = spec(
        "dac.inl_sigma", "", "curvature (INL) of row drivers, in steps (LSB)", nullable=True, absent=_ALIKE
    )
    sample_hold_energy_joules: float | None = spec(
        "sample_hold.energy", "J", "one sample of one column", nullable=True, by="dac.bits", any_bits=True
    )
    sample_hold_area_square_meters: float | None = spec("sample_hold.area", "m^2", "one sample-and-hold", nullable=True)
    shift_add_energy_joules: float = spec(
        "shift_add.energy", "J", "one shift-and-add of a conversion", by="adc.bits", any_bits=True
    )
    shift_add_area_square_meters: float | None = spec("shift_add.area", "m^2", "one shift-and-add unit", nullable=True)
    read_cycle_seconds: float = spec(
        "read.cycle", "s", "settling of one array read", open_low=True, by="dac.bits", any_bits=True
    )
    buffer_energy_joules_per_byte: float = spec("buffer.energy", "J/byte", "input and output buffer, per byte moved")
    sram_energy_joules_per_byte: float = spec("sram.energy", "J/byte", "on-chip SRAM, per byte read or written")
    sram_size_bytes: float | None = spec(
        "sram.size",
        "byte",
        "of the memory that sram.energy is of, the smallest there is",
        nullable=True,
        open_low=True,
        absent="a byte costs the same in a memory of any size",
    )
    sram_growth: float | None = spec(
        "sram.growth",
        "",
        "the energy of a byte goes with this power of the size of its memory",
        nullable=True,
        high=1.0,
        absent="a byte costs the same in a memory of any size",
    )
    sram_capacity_bytes: float | None = spec(
        "sram.capacity",
        "byte",
        "on-chip SRAM in all; what is larger lies in DRAM",
        nullable=True,
        unlimited=True,
        absent="not stated: everything fits",
    )
    dram_energy_joules_per_byte: float | None = spec(
        "dram.energy",
        "J/byte",
        "DRAM beside the chip, per byte read or written",
        nullable=True,
        absent="there is none, and everything fits on the chip",
    )
    digital_mac_energy_joules: float = spec("digital.mac_energy", "J", "one multiply-add at training precision")
    bf16_mac_energy_joules: float | None = spec(
        "digital.bf16_mac_energy", "J", "one multiply-add in bf16", nullable=True, absent="no source gives it"
    )
    fp16_mac_energy_joules: float | None = spec(
        "digital.fp16_mac_energy", "J", "one multiply-add in fp16", nullable=True, absent="no source gives it"
    )
    int8_mac_energy_joules: float | None = spec(
        "digital.int8_mac_energy",
        "J",
        "one multiply-add in int8, summed in 32 bits",
        nullable=True,
        absent="no source gives it",
    )
    digital_add_energy_joules: float = spec("digital.add_energy", "J", "one addition of the digital unit (rotation)")
    digital_macs_per_second: float = spec(
        "digital.macs_per_second", "1/s", "throughput of the digital unit", open_low=True
    )
    layer_schedule: str = spec(
        "layers.schedule",
        "",
        "layers and the digital unit work at the same time on different tokens (overlapped), or one after another",
        kind="choice",
        choices=("overlapped", "sequential"),
        absent="overlapped: every matrix has arrays of its own",
        default="overlapped",
    )
    word_line_farads_per_cell: float | None = spec(
        "wires.word_line_capacitance", "F", "word line, per cell", nullable=True
    )
    bit_line_farads_per_cell: float | None = spec(
        "wires.bit_line_capacitance", "F", "bit line, per cell", nullable=True
    )
    wire_ohms_per_cell: float | None = spec("wires.resistance", "ohm", "wire resistance, per cell pitch", nullable=True)
    wire_temperature_coefficient: float | None = spec(
        "wires.temperature_coefficient",
        "1/K",
        "relative rise of the wire resistance per kelvin above 300 K",
        nullable=True,
        high=0.01,
        absent="the temperature does not act on wires",
    )
    driver_ohms: float | None = spec(
        "wires.driver_resistance", "ohm", "of a row driver that conducts", nullable=True, absent="drivers are ideal"
    )
    sense_ohms: float | None = spec(
        "wires.sense_resistance",
        "ohm",
        "of the input that holds a bit line",
        nullable=True,
        absent="the inputs that hold bit lines are ideal",
    )
    write_cells_in_parallel: int = spec(
        "write.cells_in_parallel", "", "cells of a row pulsed together", kind="integer", low=1, high=65536
    )
    write_arrays_in_parallel: int = spec(
        "write.arrays_in_parallel", "", "arrays written at the same time", kind="integer", low=1, high=1000000
    )
    write_polarities: str = spec(
        "write.polarities",
        "",
        "SET and RESET pulses of cells that are written together: in separate phases, or in the same turns",
        kind="choice",
        choices=("phases", "together"),
        absent="phases",
        default="phases",
    )
    write_amperes_max: float | None = spec(
        "write.current_max",
        "A",
        "what the write supply of the chip can give: cells that would draw more wait for each other",
        nullable=True,
        open_low=True,
        absent="no limit",
    )
    pump_loss: float | None = spec(
        "write.pump_loss",
        "J/J",
        "joules that charge pumps lose for each joule of pulses and lines: 1 / efficiency - 1",
        nullable=True,
        absent="no source gives it",
    )
    write_unchanged: str = spec(
        "write.unchanged",
        "",
        "what a rewrite does with weights whose value did not change: nothing, one look that corrects nothing, or a "
        "look and pulses for cells that have left their tolerance",
        kind="choice",
        choices=("skip", "verify", "refresh"),
        absent="skip",
        default="skip",
    )
    router_energy_joules_per_byte: float | None = spec(
        "router.energy", "J/byte", "one hop between tiles", nullable=True
    )
    leakage_when: str = spec(
        "leakage.when",
        "",
        "standing power: of all arrays all the time, of those that work (the others are cut off), or not counted",
        kind="choice",
        choices=("always", "busy", "never"),
        absent="always",
        default="always",
    )
    leakage_watts_per_array: float | None = spec(
        "leakage.power", "W", "power of an array and its share of the circuits while they wait", nullable=True
    )
    gated_watts_per_array: float | None = spec(
        "leakage.gated_power",
        "W",
        "what an array draws that is cut off (leakage.when: busy)",
        nullable=True,
        absent="no source gives it",
    )
    pump_watts: float | None = spec(
        "leakage.pump_power",
        "W",
        "standing power of the charge pumps while cells are written",
        nullable=True,
        absent="no source gives it",
    )
    digital_leakage_watts: float | None = spec(
        "leakage.digital_power", "W", "standing power of the digital unit", nullable=True, absent="no source gives it"
    )
    sram_leakage_watts_per_byte: float | None = spec(
        "leakage.sram_power", "W/byte", "what keeps a byte of SRAM", nullable=True, absent="no source gives it"
    )
