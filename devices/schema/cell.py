"""What a cell file may say."""

import math
from dataclasses import dataclass

from .values import RelaxationPoint, spec

TECHNOLOGIES = ("reram", "pcm", "fefet", "stt-mram", "sram", "flash", "other")

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
    g_min_siemens: float = spec("conductance.g_min", "S", "lowest programmed conductance")
    g_max_siemens: float = spec("conductance.g_max", "S", "highest programmed conductance", open_low=True)
    levels: int = spec("conductance.levels", "", "levels a cell is programmed to", kind="integer", low=2, high=65536)
    program_tolerance_siemens: float = spec("programming.tolerance", "S", "verify accepts target ± this", open_low=True)
    program_tolerance_relative: float | None = spec(
        "programming.tolerance_relative",
        "",
        "added to the tolerance: this part of the target",
        nullable=True,
        high=1.0,
        absent="the tolerance is the same for all targets",
    )
    pulses_max: int = spec("programming.pulses_max", "", "pulses before giving up", kind="integer", low=1, high=65535)
    pulses_mean_published: float | None = spec(
        "programming.pulses_mean_published", "", "published mean pulse count, for comparison only", nullable=True, low=1
    )
    write_energy_published_joules: float | None = spec(
        "programming.write_energy_published",
        "J",
        "published energy of writing a cell, for comparison only; its range says how far sources differ",
        nullable=True,
        absent="no source is compared with",
    )
    set_voltage_volts: float | None = spec("programming.set_voltage", "V", "first SET pulse", nullable=True)
    set_voltage_step_volts: float | None = spec(
        "programming.set_voltage_step", "V", "rise of the SET voltage per pulse", nullable=True
    )
    set_pulse_seconds: float = spec("programming.set_pulse", "s", "length of a SET pulse", open_low=True)
    reset_voltage_volts: float | None = spec(
        "programming.reset_voltage", "V", "magnitude of the first RESET pulse", nullable=True
    )
    reset_voltage_step_volts: float | None = spec(
        "programming.reset_voltage_step", "V", "rise of the RESET voltage per pulse", nullable=True
    )
    reset_pulse_seconds: float = spec("programming.reset_pulse", "s", "length of a RESET pulse", open_low=True)
    set_energy_joules: float | None = spec(
        "programming.set_energy", "J", "fixed energy of a SET pulse; replaces V²·G·t", nullable=True
    )
    reset_energy_joules: float | None = spec(
        "programming.reset_energy", "J", "fixed energy of a RESET pulse; replaces V²·G·t", nullable=True
    )
    set_amperes: float | None = spec(
        "programming.set_current",
        "A",
        "current of a SET pulse, for what the write supply must give",
        nullable=True,
        absent="that of the highest voltage through a cell at g_max",
    )
    reset_amperes: float | None = spec(
        "programming.reset_current",
        "A",
        "current of a RESET pulse, for what the write supply must give",
        nullable=True,
        absent="that of the highest voltage through a cell at g_max",
    )
    voltage_across: str = spec(
        "programming.voltage_across",
        "",
        "voltages of pulses are across cell and access device, and conductances are of both (path); or both are the "
        "cell's alone (cell)",
        kind="choice",
        choices=("path", "cell"),
        absent="path",
        default="path",
    )
    pumped: str = spec(
        "programming.pumped",
        "",
        "pulses need a charge pump, where the periphery has one",
        kind="choice",
        choices=("yes", "no"),
        absent="yes",
        default="yes",
    )
    pulse_step_siemens: float | None = spec(
        "response.pulse_step",
        "S",
        "mean step of the first pulse; null for cells with a non-linearity",
        nullable=True,
        open_low=True,
    )
    pulse_step_growth: float = spec("response.pulse_step_growth", "", "relative growth of the step per voltage step")
    cycle_to_cycle_sigma: float = spec("response.cycle_to_cycle_sigma", "", "relative spread of a step, each pulse")
    cell_to_cell_sigma: float = spec(
        "response.cell_to_cell_sigma", "", "lognormal spread of a cell's step, once per cell"
    )
    set_nonlinearity: float | None = spec(
        "response.set_nonlinearity",
        "",
        "NeuroSim's label of the curve of SET pulses (LTP), instead of a step",
        nullable=True,
        low=-9.0,
        high=9.0,
        absent=_LINEAR,
    )
    reset_nonlinearity: float | None = spec(
        "response.reset_nonlinearity",
        "",
        "the same of RESET pulses (LTD)",
        nullable=True,
        low=-9.0,
        high=9.0,
        absent=_LINEAR,
    )
    range_pulses: int | None = spec(
        "response.range_pulses",
        "",
        "pulses from g_min to g_max along the curve",
        kind="integer",
        nullable=True,
        low=2,
        high=100000,
        absent=_LINEAR,
    )
    cycle_to_cycle_range_sigma: float | None = spec(
        "response.cycle_to_cycle_range_sigma",
        "",
        "spread of each pulse as a part of g_max - g_min, added to its step",
        nullable=True,
        absent="no spread beside that of the step",
    )
    read_voltage_volts: float = spec("read.voltage", "V", "read voltage", open_low=True)
    read_seconds: float = spec(
        "read.time",
        "s",
        "time of a read in the source; cells conduct as long unless the chip has array.integration_time",
        open_low=True,
    )
    read_noise_relative: float | None = spec("read.noise", "", "sigma(G)/G of each read", nullable=True, high=1.0)
    read_noise_saturation_siemens: tuple[float, ...] | None = spec(
        "read.noise_saturation",
        "S",
        "(A, B): sigma(G) = A (1 - exp(-G / B)) of each read, G the target",
        kind="list",
        length=2,
        nullable=True,
        absent="no noise of this form",
    )
    read_disturb_siemens: float | None = spec(
        "read.disturb",
        "S",
        "drift with each read at full voltage, up or down to the end of the window; gone with the next write",
        nullable=True,
        low=-math.inf,
        absent="reads leave cells as they are",
    )
    read_disturb_volts: float | None = spec(
        "read.disturb_voltage",
        "V",
        "read disturb was characterised, or found to do no harm, up to this voltage; read above it, reports say so",
        nullable=True,
        open_low=True,
        absent="not stated",
    )
    iv_quadratic: tuple[float, ...] | None = spec(
        "read.iv_quadratic",
        "A/V^2",
        "(a0, a1, ...): the current is G V + a V² + b V³ with a = a0 + a1·log10(G / 1 S) + ..., G the slope at 0 V",
        kind="list",
        nullable=True,
        low=-math.inf,
        absent=_OHMIC,
    )
    iv_cubic: tuple[float, ...] | None = spec(
        "read.iv_cubic",
        "A/V^3",
        "(b0, b1, ...): the same of b",
        kind="list",
        nullable=True,
        low=-math.inf,
        absent=_OHMIC,
    )
    iv_window_siemens: tuple[float, ...] | None = spec(
        "read.iv_window",
        "S",
        "(low, high): slopes that the curve holds for; outside, current over G V is that at the nearer end",
        kind="list",
        length=2,
        nullable=True,
        open_low=True,
        absent=_OHMIC,
    )
    iv_voltage_max_volts: float | None = spec(
        "read.iv_voltage_max",
        "V",
        "the curve holds up to this voltage, of either sign",
        nullable=True,
        open_low=True,
        absent=_OHMIC,
    )
    flicker_seconds: float | None = spec(
        "flicker.time",
        "s",
        "t_read of 1/f noise: sigma(G)/G = Q sqrt(ln((t + t_read) / (2 t_read)))",
        nullable=True,
        open_low=True,
        absent=_NO_FLICKER,
    )
    flicker_power: tuple[float, ...] | None = spec(
        "flicker.power",
        "",
        "(q, p) of Q = q (G/g_max)^p",
        kind="list",
        length=2,
        nullable=True,
        low=-math.inf,
        absent=_NO_FLICKER,
    )
    flicker_line: tuple[float, ...] | None = spec(
        "flicker.line",
        "",
        "(a, b) of Q = a·ln(G/g_max) + b",
        kind="list",
        length=2,
        nullable=True,
        low=-math.inf,
        absent=_NO_FLICKER,
    )
    flicker_limits: tuple[float, ...] | None = spec(
        "flicker.limits",
        "",
        "(low, high) limits of Q",
        kind="list",
        length=2,
        nullable=True,
        absent="Q has no limits",
    )
    flicker_above: tuple[float, ...] | None = spec(
        "flicker.above",
        "",
        "(x0, c0, c1, ...): from G/g_max = x0 on, Q = c0 + c1·G/g_max + ...",
        kind="list",
        nullable=True,
        low=-math.inf,
        absent="the law of Q holds for all G",
    )
    flicker_siemens: tuple[float, ...] | None = spec(
        "flicker.siemens",
        "S",
        "(a, b): sigma(G), instead of sigma(G)/G, with a·ln(G/g_max) + b in the place of Q",
        kind="list",
        length=2,
        nullable=True,
        low=-math.inf,
        absent="1/f noise is a part of the conductance",
    )
    relaxation_form: str = spec(
        "relaxation.form",
        "",
        "sigma of the points: polynomial of G / reference, or saturating: (A, B) of A (1 - exp(-G / B))",
        kind="choice",
        choices=("polynomial", "saturating"),
        absent="polynomial",
        default="polynomial",
    )
    relaxation_log_sigma: tuple[float, ...] | None = spec(
        "relaxation.log_sigma",
        "S",
        "(s0, s1) of a spread s0 + s1·ln(t / 1 s), instead of points",
        kind="list",
        length=2,
        nullable=True,
        low=-math.inf,
        absent=_NO_LOG,
    )
    relaxation_log_mean_siemens: float | None = spec(
        "relaxation.log_mean",
        "S",
        "mean distance from the target, per ln(t / 1 s)",
        nullable=True,
        low=-math.inf,
        absent=_NO_LOG,
    )
    relaxation_programming_sigma: tuple[float, ...] | None = spec(
        "relaxation.programming_sigma",
        "S",
        "polynomial of G / reference: the spread after programming, beside log_sigma in squares",
        kind="list",
        nullable=True,
        low=-math.inf,
        absent=_NO_LOG,
    )
    relaxation_reference_siemens: float | None = spec(
        "relaxation.reference",
        "S",
        "conductance that the sigma polynomials are scaled by",
        nullable=True,
        open_low=True,
    )
    relaxation: tuple[RelaxationPoint, ...] = spec(
        "relaxation.points",
        "S",
        "total spread around the target, per time since the write",
        kind="relaxation",
        nullable=True,
    )
    drift_t0_seconds: float | None = spec("drift.t0", "s", "time offset of the drift law", nullable=True, open_low=True)
    drift_exponent_coefficients: tuple[float, ...] | None = spec(
        "drift.exponent_coefficients",
        "",
        "(a, b) of nu = a·ln(G/g_max) + b",
        kind="list",
        length=2,
        nullable=True,
        low=-math.inf,
    )
    drift_exponent_limits: tuple[float, ...] | None = spec(
        "drift.exponent_limits", "", "(low, high) limits of nu", kind="list", length=2, nullable=True, low=-math.inf
    )
    drift_exponent_above: tuple[float, ...] | None = spec(
        "drift.exponent_above",
        "",
        "(x0, c0, c1, ...): from G/g_max = x0 on, nu = c0 + c1·G/g_max + ...",
        kind="list",
        nullable=True,
        low=-math.inf,
        absent="the law of nu holds for all G",
    )
    drift_exponent_sigma_coefficients: tuple[float, ...] | None = spec(
        "drift.exponent_sigma_coefficients",
        "",
        "(a, b) of the cell-to-cell sigma of nu",
        kind="list",
        length=2,
        nullable=True,
        low=-math.inf,
    )
    drift_exponent_sigma_limits: tuple[float, ...] | None = spec(
        "drift.exponent_sigma_limits", "", "(low, high) limits of the sigma of nu", kind="list", length=2, nullable=True
    )
    drift_exponent_sigma_above: tuple[float, ...] | None = spec(
        "drift.exponent_sigma_above",
        "",
        "the same of the sigma of nu",
        kind="list",
        nullable=True,
        low=-math.inf,
        absent="the law of the sigma of nu holds for all G",
    )
    stuck_low_fraction: float | None = spec("faults.stuck_low", "", "cells stuck at g_min", nullable=True, high=1.0)
    stuck_high_fraction: float | None = spec("faults.stuck_high", "", "cells stuck at g_max", nullable=True, high=1.0)
    fault_cluster_cells: float | None = spec(
        "faults.cluster_cells",
        "",
        "mean length of runs of stuck cells along a bit line",
        nullable=True,
        low=1.0,
        absent="cells are stuck independently of each other",
    )
    endurance_writes: float | None = spec(
        "endurance.writes",
        "",
        "writes (SET/RESET cycles) a cell survives, typical",
        nullable=True,
        low=1,
        unlimited=True,
    )
    endurance_writes_min: float | None = spec(
        "endurance.writes_min", "", "lowest published endurance", nullable=True, low=1, unlimited=True
    )
    endurance_writes_max: float | None = spec(
        "endurance.writes_max", "", "highest published endurance", nullable=True, low=1, unlimited=True
    )
    endurance_spread: float | None = spec(
        "endurance.spread",
        "",
        "cell-to-cell sigma of the logarithm of the endurance; worn-out cells stay as they are",
        nullable=True,
        absent="no cell dies of writes; wear is only counted",
    )
    area_f2: float | None = spec(
        "layout.area_f2", "", "cell area in squares of the feature size", nullable=True, open_low=True
    )
    access_ohms: float | None = spec("layout.access_resistance", "ohm", "access device in series", nullable=True)
