"""Wires of a chip's arrays in a study: solved ahead of the reads, with progress, and what a report says of them."""

import dataclasses
from typing import NamedTuple

import numpy as np

from ..devices import Chip
from ..simulator import ProgrammedModel, program
from ..simulator.mapping import Layout
from ..simulator.temperature import wire_ohms
from .expected import WIRES
from .progress import Progress

INPUTS, MOST_CELLS = 256, 1 << 16  # of `left_out`
ARRAYS_A_UNIT = 16  # of progress: about as long as the programming of a matrix


def wire_units(chip: Chip, shapes: list[tuple[int, int]]) -> int:
    """Units of progress of `prepare_wires` for matrices (out, in); 0 where lines are ideal."""
    if chip.array.wires == "none":
        return 0
    return sum(Layout.of(chip, shape).arrays for shape in shapes) // ARRAYS_A_UNIT


def prepare_wires(model: ProgrammedModel, progress: Progress, where: str, units: int = 0) -> None:
    """Solve the wires of all arrays for which that is not done at the present time; nothing where lines are ideal.

    `units` of progress are passed on the way.
    """
    total = model.unsolved_arrays
    done, passed = 0, 0

    def on_arrays(number: int) -> None:
        nonlocal done, passed
        done += number
        progress.stage(f"{where}: wires of {done} of {total} arrays")
        now = units * done // total
        progress.advance(now - passed, WIRES)
        passed = now

    if total:
        model.prepare(on_arrays)
    if units > passed:
        progress.advance(units - passed, WIRES)


class Left(NamedTuple):
    """What wires that are left out would do to products with one array: their size, over that without wires, and the
    RMS error over the RMS product, without and with them.
    """

    gain: float
    error: float
    error_with_wires: float


def left_out(chip: Chip, seed: int = 0) -> Left | None:
    """What the wires of a chip whose lines are ideal would do, from one full array of normally distributed weights and
    inputs; None where the chip file has no resistance, or wires cannot be solved (bent currents, arrays above 256 x
    256).
    """
    small = chip.array.rows * chip.array.columns <= MOST_CELLS
    if chip.periphery.wire_ohms_per_cell is None or chip.cell.iv_quadratic is not None or not small:
        return None
    plain = dataclasses.replace(chip.array, spare_columns=0, drift_compensation="none")
    rng, outputs = np.random.default_rng(seed), Layout.of(chip, (1, 1)).outputs_per_array
    weight, x = (rng.standard_normal((n, chip.array.rows), dtype=np.float32) for n in (outputs, INPUTS))
    exact = x.astype(np.float64) @ weight.T
    gains, errors = [], []
    for wires in ("none", "exact"):
        wired = dataclasses.replace(chip, array=dataclasses.replace(plain, wires=wires))
        y = program(wired, {"w": weight}, np.random.default_rng(seed)).matvec("w", x)
        gains.append(float((y * exact).sum() / (exact**2).sum()))
        errors.append(float(np.sqrt(((y - exact) ** 2).mean() / (exact**2).mean())))
    return Left(gains[1] / gains[0], *errors)


def wire_message(chip: Chip) -> str:
    """What a reader should know about the wires of a chip."""
    if chip.array.wires == "none":
        text = "lines are without resistance (array.wires: none)"
        if left := left_out(chip):
            text += (
                f"; with the {wire_ohms(chip.periphery):.3g} ohm from cell to cell of the chip file, products of a "
                f"full array would come out {left.gain:.2f} times as large, and their error would be "
                f"{left.error_with_wires:.1%} of them in place of {left.error:.1%} (one array of normally distributed "
                "weights, simulated; --set chip.array.wires=exact counts them)"
            )
        return text
    p = chip.periphery
    given = {"drivers": p.driver_ohms, "inputs that hold bit lines": p.sense_ohms}
    ideal = [name for name, ohms in given.items() if ohms is None]
    text = f"wires: {wire_ohms(p):.3g} ohm from cell to cell, solved exactly; cells are written without them"
    if ideal:
        text += f"; no resistance is known of {' and '.join(ideal)}, they count as ideal"
    if chip.array.wires == "exact":
        text += "; access devices are part of the cells' conductances"
    return text
