"""How far a pulse moves a cell: the numbers that `pulse_kernel` works with, from a cell file.

Two forms. The plain one is this package's: a step that grows with the voltage of the pulse, the same wherever the cell
is. The curved one is NeuroSim's (P.-Y. Chen, X. Peng and S. Yu, IEDM 2017): after P of P_max pulses from g_min,

    G(P) = g_min + B (1 - exp(-P / A)),   B = (g_max - g_min) / (1 - exp(-P_max / A)),

for SET pulses (LTP) and, followed backwards, RESET pulses (LTD), each with an A of its own; a negative A bends the
curve the other way. With y = G - g_min a SET pulse then adds (B - y)(1 - exp(-1/A)) and a RESET pulse takes (B - y)
(exp(1/A) - 1): both linear in y, which is how the kernel has them.

Published is not A but a label: the largest distance of the curve from the straight line, as a part of the window, is
0.07 sqrt(2) times the label (this is the table in NeuroSim's formula.cpp to all its digits).
"""

import math
from functools import lru_cache

from ..devices import Cell
from .pulse_kernel import CELL, PATH, Pulses

BEND_OF_LABEL = 0.07 * math.sqrt(2.0)
STRAIGHT = 1e-6  # labels below it are straight lines
UNBOUNDED = 1e30
ACROSS = {"path": PATH, "cell": CELL}


@lru_cache(maxsize=256)
def curve_constant(label: float) -> float:
    """A / P_max of a non-linearity label (NeuroSim's A_norm); infinite for a straight line."""
    if abs(label) < STRAIGHT:
        return math.inf
    wanted = BEND_OF_LABEL * abs(label)
    low, high = 1e-4, 1e8  # of P_max / A, in which the bend grows
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if _bend(middle) < wanted else (low, middle)
    return math.copysign(1.0 / low, label)


def _bend(k: float) -> float:
    """Largest distance of (1 - exp(-k x)) / (1 - exp(-k)) from x on 0 .. 1."""
    whole = -math.expm1(-k)
    x = math.log(k / whole) / k
    return -math.expm1(-k * x) / whole - x


def _slopes(cell: Cell, label: float, way: int) -> tuple[float, float]:
    """Step at g_min, and its change with the conductance, of a pulse up (1) or down (-1)."""
    window, pulses = cell.g_max_siemens - cell.g_min_siemens, cell.range_pulses or 1
    constant = curve_constant(label) * pulses
    if math.isinf(constant):
        return window / pulses, 0.0
    rate = -way * math.expm1(-way / constant)
    return rate * window / -math.expm1(-pulses / constant), -rate


def is_curved(cell: Cell) -> bool:
    """Whether the cell's response is a published curve."""
    return cell.range_pulses is not None


def _series_ohms(cell: Cell) -> float:
    """Of the access device; where conductances are of both in series, it takes no more than everything at g_max."""
    ohms = cell.access_ohms or 0.0
    return min(ohms, 1.0 / cell.g_max_siemens) if cell.voltage_across == "path" else ohms


def pulse_numbers(cell: Cell, line_farads: float) -> Pulses:
    """The kernel's numbers of a cell whose lines have a capacitance; an unknown spread or growth is none."""
    fixed = lambda value: -1.0 if value is None else float(value)
    known = lambda value: 0.0 if value is None else float(value)
    window = cell.g_max_siemens - cell.g_min_siemens
    if is_curved(cell):
        up = _slopes(cell, known(cell.set_nonlinearity), 1)
        down = _slopes(cell, known(cell.reset_nonlinearity), -1)
        floor, ceiling = cell.g_min_siemens, cell.g_max_siemens
    else:
        up = down = (known(cell.pulse_step_siemens), 0.0)
        floor, ceiling = 0.0, UNBOUNDED
    return Pulses(
        tolerance=known(cell.program_tolerance_siemens),
        tolerance_relative=known(cell.program_tolerance_relative),
        pulses_max=int(cell.pulses_max),
        up_step=up[0], up_slope=up[1], down_step=down[0], down_slope=down[1],
        growth=known(cell.pulse_step_growth),
        cycle_sigma=known(cell.cycle_to_cycle_sigma),
        noise=known(cell.cycle_to_cycle_range_sigma) * window,
        spread_sigma=known(cell.cell_to_cell_sigma),
        low=float(cell.g_min_siemens), floor=float(floor), ceiling=float(ceiling),
        set_volts=known(cell.set_voltage_volts), set_step_volts=known(cell.set_voltage_step_volts),
        set_seconds=float(cell.set_pulse_seconds), set_joules=fixed(cell.set_energy_joules),
        reset_volts=known(cell.reset_voltage_volts), reset_step_volts=known(cell.reset_voltage_step_volts),
        reset_seconds=float(cell.reset_pulse_seconds), reset_joules=fixed(cell.reset_energy_joules),
        read_volts=known(cell.read_voltage_volts), read_seconds=known(cell.read_seconds),
        line_farads=float(line_farads),
        access_ohms=_series_ohms(cell), across=ACROSS[cell.voltage_across],
    )  # fmt: skip
