"""What a device file may say: one frozen dataclass per part, one `Spec` per number.

Each field carries its own specification (key in the YAML file, SI unit, range, meaning), so that the loader, the
command line, the override keys and the table in `devices/README.md` all come from this one place.
All values are SI floats; `None` means that the sources do not give the number.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from ..display import Shown

KINDS = ("cell", "periphery", "chip")
STATUSES = ("read", "secondary", "derived", "unverified")
NULL_STATUSES = ("unknown", "inapplicable")
DEFAULT = "default"  # the status of a value that a file leaves out; of a number that is then null, "inapplicable"
TECHNOLOGIES = ("reram", "pcm", "fefet", "stt-mram", "sram", "flash", "other")

SpecKind = Literal["number", "integer", "choice", "list", "relaxation"]


@dataclass(frozen=True)
class Spec:
    """How one field is written in a file and what it may hold.

    `key` is the place in the file (`section.name`), `unit` the SI unit ("" = plain number), `low`/`high` the allowed
    range (`open_low`: `low` itself is not allowed), `by` the key of the bit count that picks from a table of values
    (`any_bits`: a single value holds for every bit count, otherwise only for the one in the file). A file may leave a
    key out that has `absent`, which says what that means; its value is then `default`.
    """

    key: str
    unit: str
    meaning: str
    kind: SpecKind = "number"
    nullable: bool = False
    low: float = 0.0
    high: float = math.inf
    open_low: bool = False
    unlimited: bool = False
    choices: tuple[str, ...] = ()
    length: int | None = None
    by: str | None = None
    any_bits: bool = False
    absent: str = ""
    default: Any = None


def _spec(key: str, unit: str, meaning: str, **options: Any) -> Any:
    return field(metadata={"spec": Spec(key, unit, meaning, **options)})


def specs(part: type) -> Iterator[tuple[str, Spec]]:
    """The (attribute name, `Spec`) pairs of a part's dataclass, in the order of the file."""
    for item in fields(part):
        if "spec" in item.metadata:
            yield item.name, item.metadata["spec"]


@dataclass(frozen=True)
class Provenance:
    """Where one number comes from.

    `text` is the value as written ("40 uS"); `source` a key of the references (None for an unknown number or an
    override); `status` one of `STATUSES`, for null one of `NULL_STATUSES`, or "override" (set by the user).
    """

    text: str
    source: str | None
    status: str
    note: str


@dataclass(frozen=True)
class Reference:
    """One source: a paper, a manual, a program's source file, or a stated assumption."""

    key: str
    citation: str
    doi: str | None


@dataclass(frozen=True)
class RelaxationPoint:
    """Conductance around its target a time after the write, see `relaxation_form`: the coefficients of sigma(G), and of
    the mean distance from the target, sum_i c_i (G / reference)^i (empty: 0).
    """

    time_seconds: float
    sigma_coefficients_siemens: tuple[float, ...]
    mean_coefficients_siemens: tuple[float, ...] = ()


_ALIKE = "all are alike"
_NO_FLICKER = "no 1/f noise that grows with time"
_NO_LOG = "no relaxation law in log time"
_LINEAR = "the step of a pulse does not depend on the conductance"
_OHMIC = "the current of a cell is proportional to its voltage"


@dataclass(frozen=True)
class Cell:
    """One memory cell technology: conductance window, programming, pulse response, retention, faults, wear."""

    name: str
    title: str
    description: str
    technology: str
    volatile: bool
    g_min_siemens: float = _spec("conductance.g_min", "S", "lowest programmed conductance")
    g_max_siemens: float = _spec("conductance.g_max", "S", "highest programmed conductance", open_low=True)
    levels: int = _spec("conductance.levels", "", "levels a cell is programmed to", kind="integer", low=2, high=65536)
    program_tolerance_siemens: float = _spec(
        "programming.tolerance", "S", "verify accepts target ± this", open_low=True
    )
    program_tolerance_relative: float | None = _spec(
        "programming.tolerance_relative",
        "",
        "added to the tolerance: this part of the target",
        nullable=True,
        high=1.0,
        absent="the tolerance is the same for all targets",
    )
    pulses_max: int = _spec("programming.pulses_max", "", "pulses before giving up", kind="integer", low=1, high=65535)
    pulses_mean_published: float | None = _spec(
        "programming.pulses_mean_published", "", "published mean pulse count, for comparison only", nullable=True, low=1
    )
    set_voltage_volts: float | None = _spec("programming.set_voltage", "V", "first SET pulse", nullable=True)
    set_voltage_step_volts: float | None = _spec(
        "programming.set_voltage_step", "V", "rise of the SET voltage per pulse", nullable=True
    )
    set_pulse_seconds: float = _spec("programming.set_pulse", "s", "length of a SET pulse", open_low=True)
    reset_voltage_volts: float | None = _spec(
        "programming.reset_voltage", "V", "magnitude of the first RESET pulse", nullable=True
    )
    reset_voltage_step_volts: float | None = _spec(
        "programming.reset_voltage_step", "V", "rise of the RESET voltage per pulse", nullable=True
    )
    reset_pulse_seconds: float = _spec("programming.reset_pulse", "s", "length of a RESET pulse", open_low=True)
    set_energy_joules: float | None = _spec(
        "programming.set_energy", "J", "fixed energy of a SET pulse; replaces V²·G·t", nullable=True
    )
    reset_energy_joules: float | None = _spec(
        "programming.reset_energy", "J", "fixed energy of a RESET pulse; replaces V²·G·t", nullable=True
    )
    pulse_step_siemens: float | None = _spec(
        "response.pulse_step",
        "S",
        "mean step of the first pulse; null for cells with a non-linearity",
        nullable=True,
        open_low=True,
    )
    pulse_step_growth: float = _spec("response.pulse_step_growth", "", "relative growth of the step per voltage step")
    cycle_to_cycle_sigma: float = _spec("response.cycle_to_cycle_sigma", "", "relative spread of a step, each pulse")
    cell_to_cell_sigma: float = _spec(
        "response.cell_to_cell_sigma", "", "lognormal spread of a cell's step, once per cell"
    )
    set_nonlinearity: float | None = _spec(
        "response.set_nonlinearity",
        "",
        "NeuroSim's label of the curve of SET pulses (LTP), instead of a step",
        nullable=True,
        low=-9.0,
        high=9.0,
        absent=_LINEAR,
    )
    reset_nonlinearity: float | None = _spec(
        "response.reset_nonlinearity",
        "",
        "the same of RESET pulses (LTD)",
        nullable=True,
        low=-9.0,
        high=9.0,
        absent=_LINEAR,
    )
    range_pulses: int | None = _spec(
        "response.range_pulses",
        "",
        "pulses from g_min to g_max along the curve",
        kind="integer",
        nullable=True,
        low=2,
        high=100000,
        absent=_LINEAR,
    )
    cycle_to_cycle_range_sigma: float | None = _spec(
        "response.cycle_to_cycle_range_sigma",
        "",
        "spread of each pulse as a part of g_max - g_min, added to its step",
        nullable=True,
        absent="no spread beside that of the step",
    )
    read_voltage_volts: float = _spec("read.voltage", "V", "read voltage", open_low=True)
    read_seconds: float = _spec("read.time", "s", "length of a verify read", open_low=True)
    read_noise_relative: float | None = _spec("read.noise", "", "sigma(G)/G of each read", nullable=True, high=1.0)
    read_noise_saturation_siemens: tuple[float, ...] | None = _spec(
        "read.noise_saturation",
        "S",
        "(A, B): sigma(G) = A (1 - exp(-G / B)) of each read, G the target",
        kind="list",
        length=2,
        nullable=True,
        absent="no noise of this form",
    )
    read_disturb_siemens: float | None = _spec(
        "read.disturb",
        "S",
        "drift with each read at full voltage, up or down to the end of the window; gone with the next write",
        nullable=True,
        low=-math.inf,
        absent="reads leave cells as they are",
    )
    read_disturb_volts: float | None = _spec(
        "read.disturb_voltage",
        "V",
        "read disturb was characterised, or found to do no harm, up to this voltage; read above it, reports say so",
        nullable=True,
        open_low=True,
        absent="not stated",
    )
    iv_quadratic: tuple[float, ...] | None = _spec(
        "read.iv_quadratic",
        "A/V^2",
        "(a0, a1, ...): the current is G V + a V² + b V³ with a = a0 + a1·log10(G / 1 S) + ..., G the slope at 0 V",
        kind="list",
        nullable=True,
        low=-math.inf,
        absent=_OHMIC,
    )
    iv_cubic: tuple[float, ...] | None = _spec(
        "read.iv_cubic",
        "A/V^3",
        "(b0, b1, ...): the same of b",
        kind="list",
        nullable=True,
        low=-math.inf,
        absent=_OHMIC,
    )
    iv_window_siemens: tuple[float, ...] | None = _spec(
        "read.iv_window",
        "S",
        "(low, high): slopes that the curve holds for; outside, current over G V is that at the nearer end",
        kind="list",
        length=2,
        nullable=True,
        open_low=True,
        absent=_OHMIC,
    )
    iv_voltage_max_volts: float | None = _spec(
        "read.iv_voltage_max",
        "V",
        "the curve holds up to this voltage, of either sign",
        nullable=True,
        open_low=True,
        absent=_OHMIC,
    )
    flicker_seconds: float | None = _spec(
        "flicker.time",
        "s",
        "t_read of 1/f noise: sigma(G)/G = Q sqrt(ln((t + t_read) / (2 t_read)))",
        nullable=True,
        open_low=True,
        absent=_NO_FLICKER,
    )
    flicker_power: tuple[float, ...] | None = _spec(
        "flicker.power",
        "",
        "(q, p) of Q = q (G/g_max)^p",
        kind="list",
        length=2,
        nullable=True,
        low=-math.inf,
        absent=_NO_FLICKER,
    )
    flicker_line: tuple[float, ...] | None = _spec(
        "flicker.line",
        "",
        "(a, b) of Q = a·ln(G/g_max) + b",
        kind="list",
        length=2,
        nullable=True,
        low=-math.inf,
        absent=_NO_FLICKER,
    )
    flicker_limits: tuple[float, ...] | None = _spec(
        "flicker.limits",
        "",
        "(low, high) limits of Q",
        kind="list",
        length=2,
        nullable=True,
        absent="Q has no limits",
    )
    flicker_above: tuple[float, ...] | None = _spec(
        "flicker.above",
        "",
        "(x0, c0, c1, ...): from G/g_max = x0 on, Q = c0 + c1·G/g_max + ...",
        kind="list",
        nullable=True,
        low=-math.inf,
        absent="the law of Q holds for all G",
    )
    flicker_siemens: tuple[float, ...] | None = _spec(
        "flicker.siemens",
        "S",
        "(a, b): sigma(G), instead of sigma(G)/G, with a·ln(G/g_max) + b in the place of Q",
        kind="list",
        length=2,
        nullable=True,
        low=-math.inf,
        absent="1/f noise is a part of the conductance",
    )
    relaxation_form: str = _spec(
        "relaxation.form",
        "",
        "sigma of the points: polynomial of G / reference, or saturating: (A, B) of A (1 - exp(-G / B))",
        kind="choice",
        choices=("polynomial", "saturating"),
        absent="polynomial",
        default="polynomial",
    )
    relaxation_log_sigma: tuple[float, ...] | None = _spec(
        "relaxation.log_sigma",
        "S",
        "(s0, s1) of a spread s0 + s1·ln(t / 1 s), instead of points",
        kind="list",
        length=2,
        nullable=True,
        low=-math.inf,
        absent=_NO_LOG,
    )
    relaxation_log_mean_siemens: float | None = _spec(
        "relaxation.log_mean",
        "S",
        "mean distance from the target, per ln(t / 1 s)",
        nullable=True,
        low=-math.inf,
        absent=_NO_LOG,
    )
    relaxation_programming_sigma: tuple[float, ...] | None = _spec(
        "relaxation.programming_sigma",
        "S",
        "polynomial of G / reference: the spread after programming, beside log_sigma in squares",
        kind="list",
        nullable=True,
        low=-math.inf,
        absent=_NO_LOG,
    )
    relaxation_reference_siemens: float | None = _spec(
        "relaxation.reference",
        "S",
        "conductance that the sigma polynomials are scaled by",
        nullable=True,
        open_low=True,
    )
    relaxation: tuple[RelaxationPoint, ...] = _spec(
        "relaxation.points",
        "S",
        "total spread around the target, per time since the write",
        kind="relaxation",
        nullable=True,
    )
    drift_t0_seconds: float | None = _spec(
        "drift.t0", "s", "time offset of the drift law", nullable=True, open_low=True
    )
    drift_exponent_coefficients: tuple[float, ...] | None = _spec(
        "drift.exponent_coefficients",
        "",
        "(a, b) of nu = a·ln(G/g_max) + b",
        kind="list",
        length=2,
        nullable=True,
        low=-math.inf,
    )
    drift_exponent_limits: tuple[float, ...] | None = _spec(
        "drift.exponent_limits", "", "(low, high) limits of nu", kind="list", length=2, nullable=True, low=-math.inf
    )
    drift_exponent_above: tuple[float, ...] | None = _spec(
        "drift.exponent_above",
        "",
        "(x0, c0, c1, ...): from G/g_max = x0 on, nu = c0 + c1·G/g_max + ...",
        kind="list",
        nullable=True,
        low=-math.inf,
        absent="the law of nu holds for all G",
    )
    drift_exponent_sigma_coefficients: tuple[float, ...] | None = _spec(
        "drift.exponent_sigma_coefficients",
        "",
        "(a, b) of the cell-to-cell sigma of nu",
        kind="list",
        length=2,
        nullable=True,
        low=-math.inf,
    )
    drift_exponent_sigma_limits: tuple[float, ...] | None = _spec(
        "drift.exponent_sigma_limits", "", "(low, high) limits of the sigma of nu", kind="list", length=2, nullable=True
    )
    drift_exponent_sigma_above: tuple[float, ...] | None = _spec(
        "drift.exponent_sigma_above",
        "",
        "the same of the sigma of nu",
        kind="list",
        nullable=True,
        low=-math.inf,
        absent="the law of the sigma of nu holds for all G",
    )
    stuck_low_fraction: float | None = _spec("faults.stuck_low", "", "cells stuck at g_min", nullable=True, high=1.0)
    stuck_high_fraction: float | None = _spec("faults.stuck_high", "", "cells stuck at g_max", nullable=True, high=1.0)
    fault_cluster_cells: float | None = _spec(
        "faults.cluster_cells",
        "",
        "mean length of runs of stuck cells along a bit line",
        nullable=True,
        low=1.0,
        absent="cells are stuck independently of each other",
    )
    endurance_writes: float | None = _spec(
        "endurance.writes",
        "",
        "writes (SET/RESET cycles) a cell survives, typical",
        nullable=True,
        low=1,
        unlimited=True,
    )
    endurance_writes_min: float | None = _spec(
        "endurance.writes_min", "", "lowest published endurance", nullable=True, low=1, unlimited=True
    )
    endurance_writes_max: float | None = _spec(
        "endurance.writes_max", "", "highest published endurance", nullable=True, low=1, unlimited=True
    )
    endurance_spread: float | None = _spec(
        "endurance.spread",
        "",
        "cell-to-cell sigma of the logarithm of the endurance; worn-out cells stay as they are",
        nullable=True,
        absent="no cell dies of writes; wear is only counted",
    )
    area_f2: float | None = _spec(
        "layout.area_f2", "", "cell area in squares of the feature size", nullable=True, open_low=True
    )
    access_ohms: float | None = _spec("layout.access_resistance", "ohm", "access device in series", nullable=True)


@dataclass(frozen=True)
class Array:
    """Geometry and coding of one crossbar array."""

    rows: int = _spec("array.rows", "", "word lines", kind="integer", low=1, high=65536)
    columns: int = _spec("array.columns", "", "bit lines", kind="integer", low=1, high=65536)
    slices: int = _spec(
        "array.slices",
        "",
        "digits to base `levels` that a weight is cut into",
        kind="integer",
        low=1,
        high=32,
    )
    input_bits: int = _spec("array.input_bits", "", "bits of an input value", kind="integer", low=1, high=16)
    mapping: str = _spec(
        "array.mapping",
        "",
        "the sign of a weight: a pair of cells, or an offset and a reference column in each array",
        kind="choice",
        choices=("differential", "offset"),
        absent="differential",
        default="differential",
    )
    spare_columns: int = _spec(
        "array.spare_columns",
        "",
        "bit lines of an array kept to stand in for faulty ones",
        kind="integer",
        high=65535,
        absent="none",
        default=0,
    )
    rotation: str = _spec(
        "array.rotation",
        "",
        "Walsh-Hadamard transform of weights and inputs, after random signs or without",
        kind="choice",
        choices=("none", "hadamard", "random_hadamard"),
        absent="weights are written as they are",
        default="none",
    )
    wires: str = _spec(
        "array.wires",
        "",
        "resistance of the lines: ideal (none), of every segment (exact), and of access devices too",
        kind="choice",
        choices=("none", "exact", "exact_with_access"),
        absent="lines are ideal",
        default="none",
    )
    drift_compensation: str = _spec(
        "array.drift_compensation",
        "",
        "digital factor from calibration reads whenever time has passed: of a whole matrix, or of each of its outputs",
        kind="choice",
        choices=("none", "matrix", "column"),
        absent="what drift takes is lost",
        default="none",
    )
    scale: str = _spec("array.scale", "", "what shares one weight scale", kind="choice", choices=("column", "tile"))


@dataclass(frozen=True)
class Periphery:
    """The circuits around an array: converters, buffers, digital unit, wires, write drivers."""

    name: str
    title: str
    description: str
    node_meters: float = _spec("technology.node", "m", "technology node (feature size F)", open_low=True)
    supply_volts: float | None = _spec("technology.supply", "V", "supply voltage", nullable=True, open_low=True)
    temperature_kelvins: float | None = _spec(
        "technology.temperature",
        "K",
        "at which the chip works; acts on what has a temperature_coefficient",
        nullable=True,
        low=200.0,
        high=500.0,
        absent="300 K, and nothing depends on it",
    )
    dac_bits: int = _spec("dac.bits", "", "bits of a row driver", kind="integer", low=1, high=16)
    dac_coding: str = _spec(
        "dac.coding",
        "",
        "a digit is one voltage, or so many pulses of read.voltage, each read.time long",
        kind="choice",
        choices=("voltage", "pulses"),
        absent="voltage",
        default="voltage",
    )
    dac_energy_joules: float = _spec("dac.energy", "J", "one row driven once", by="dac.bits")
    dac_area_square_meters: float | None = _spec("dac.area", "m^2", "one row driver", nullable=True, by="dac.bits")
    adc_bits: int = _spec("adc.bits", "", "bits of a conversion", kind="integer", low=1, high=24)
    adc_energy_joules: float = _spec("adc.energy", "J", "one conversion", by="adc.bits")
    adc_conversion_seconds: float = _spec(
        "adc.conversion_time", "s", "one conversion", open_low=True, by="adc.bits", any_bits=True
    )
    adc_area_square_meters: float | None = _spec("adc.area", "m^2", "one converter", nullable=True, by="adc.bits")
    adcs_per_array: int = _spec("adc.per_array", "", "converters of one array", kind="integer", low=1, high=65536)
    adc_schedule: str = _spec(
        "adc.schedule",
        "",
        "when conversions run: during the next array read (overlapped), or before it (sequential)",
        kind="choice",
        choices=("overlapped", "sequential"),
    )
    adc_kind: str | None = _spec(
        "adc.kind",
        "",
        "how a conversion works; decides the shape of its curvature",
        kind="choice",
        nullable=True,
        choices=("sar", "ramp", "flash"),
        absent="not stated",
    )
    adc_offset_sigma: float | None = _spec(
        "adc.offset_sigma", "", "offset of converters, in steps (LSB)", nullable=True, absent=_ALIKE
    )
    adc_gain_sigma: float | None = _spec(
        "adc.gain_sigma", "", "relative gain error of converters", nullable=True, high=1.0, absent=_ALIKE
    )
    adc_inl_sigma: float | None = _spec(
        "adc.inl_sigma", "", "curvature (INL) of converters, in steps (LSB)", nullable=True, absent=_ALIKE
    )
    dac_offset_sigma: float | None = _spec(
        "dac.offset_sigma", "", "offset of row drivers, in steps (LSB)", nullable=True, absent=_ALIKE
    )
    dac_gain_sigma: float | None = _spec(
        "dac.gain_sigma", "", "relative gain error of row drivers", nullable=True, high=1.0, absent=_ALIKE
    )
    dac_inl_sigma: float | None = _spec(
        "dac.inl_sigma", "", "curvature (INL) of row drivers, in steps (LSB)", nullable=True, absent=_ALIKE
    )
    sample_hold_energy_joules: float | None = _spec(
        "sample_hold.energy", "J", "one sample of one column", nullable=True, by="dac.bits", any_bits=True
    )
    sample_hold_area_square_meters: float | None = _spec(
        "sample_hold.area", "m^2", "one sample-and-hold", nullable=True
    )
    shift_add_energy_joules: float = _spec(
        "shift_add.energy", "J", "one shift-and-add of a conversion", by="adc.bits", any_bits=True
    )
    shift_add_area_square_meters: float | None = _spec("shift_add.area", "m^2", "one shift-and-add unit", nullable=True)
    read_cycle_seconds: float = _spec(
        "read.cycle", "s", "settling of one array read", open_low=True, by="dac.bits", any_bits=True
    )
    buffer_energy_joules_per_byte: float = _spec("buffer.energy", "J/byte", "input and output buffer, per byte moved")
    sram_energy_joules_per_byte: float = _spec("sram.energy", "J/byte", "on-chip SRAM, per byte read or written")
    digital_mac_energy_joules: float = _spec("digital.mac_energy", "J", "one multiply-add at training precision")
    digital_add_energy_joules: float = _spec("digital.add_energy", "J", "one addition of the digital unit (rotation)")
    digital_macs_per_second: float = _spec(
        "digital.macs_per_second", "1/s", "throughput of the digital unit", open_low=True
    )
    word_line_farads_per_cell: float | None = _spec(
        "wires.word_line_capacitance", "F", "word line, per cell", nullable=True
    )
    bit_line_farads_per_cell: float | None = _spec(
        "wires.bit_line_capacitance", "F", "bit line, per cell", nullable=True
    )
    wire_ohms_per_cell: float | None = _spec(
        "wires.resistance", "ohm", "wire resistance, per cell pitch", nullable=True
    )
    wire_temperature_coefficient: float | None = _spec(
        "wires.temperature_coefficient",
        "1/K",
        "relative rise of the wire resistance per kelvin above 300 K",
        nullable=True,
        high=0.01,
        absent="the temperature does not act on wires",
    )
    driver_ohms: float | None = _spec(
        "wires.driver_resistance", "ohm", "of a row driver that conducts", nullable=True, absent="drivers are ideal"
    )
    sense_ohms: float | None = _spec(
        "wires.sense_resistance",
        "ohm",
        "of the input that holds a bit line",
        nullable=True,
        absent="the inputs that hold bit lines are ideal",
    )
    write_cells_in_parallel: int = _spec(
        "write.cells_in_parallel", "", "cells of a row pulsed together", kind="integer", low=1, high=65536
    )
    write_arrays_in_parallel: int = _spec(
        "write.arrays_in_parallel", "", "arrays written at the same time", kind="integer", low=1, high=1000000
    )
    router_energy_joules_per_byte: float | None = _spec(
        "router.energy", "J/byte", "one hop between tiles", nullable=True
    )
    leakage_watts_per_array: float | None = _spec(
        "leakage.power", "W", "an array and its share of the circuits, drawn while it waits", nullable=True
    )


@dataclass(frozen=True, repr=False)
class Chip(Shown):
    """A cell, an array and a periphery, with the provenance of every number.

    `provenance` maps "cell.g_max_siemens", "array.rows", "periphery.adc_energy_joules", "cell.relaxation[0]" and so on.
    """

    name: str
    title: str
    description: str
    cell: Cell
    array: Array
    periphery: Periphery
    provenance: Mapping[str, Provenance]
    references: tuple[Reference, ...]

    def _facts(self) -> dict[str, object]:
        array = f"{self.array.rows} x {self.array.columns}"
        return {"name": self.name, "title": self.title, "cell": self.cell.name, "array": array,
                "periphery": self.periphery.name}  # fmt: skip


PARTS: dict[str, type] = {"cell": Cell, "array": Array, "periphery": Periphery}
