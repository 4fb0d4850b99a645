"""Wires of a chip's arrays in a study: solved ahead of the reads, with progress, and what a report says of them."""

from ..devices import Chip
from ..simulator import ProgrammedModel
from ..simulator.mapping import Layout
from ..simulator.temperature import wire_ohms
from .expected import WIRES
from .progress import Progress

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


def wire_message(chip: Chip) -> str | None:
    """What a reader should know about the wires of a chip; None where lines are ideal."""
    if chip.array.wires == "none":
        return None
    p = chip.periphery
    given = {"drivers": p.driver_ohms, "inputs that hold bit lines": p.sense_ohms}
    ideal = [name for name, ohms in given.items() if ohms is None]
    text = f"wires: {wire_ohms(p):.3g} ohm from cell to cell, solved exactly; cells are written without them"
    if ideal:
        text += f"; no resistance is known of {' and '.join(ideal)}, they count as ideal"
    if chip.array.wires == "exact":
        text += "; access devices are part of the cells' conductances"
    return text
