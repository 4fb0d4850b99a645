"""Read disturb: every read moves the cells that it drives a little, until they are written again.

A cell file gives the drift with each read at full voltage (`read.disturb`), positive towards g_max and negative towards
g_min, where it ends. n reads after its last write a cell is at

    G + n d, at most g_max (d > 0) or at least g_min (d < 0); a cell that was beyond stays where it was.

n is counted for each word line (`driven`), digit by digit, and with the square of the voltage where a digit is one.
Reads of either sign count alike: the worst case, as the other sign may undo a part. Verify reads, and those of drift
compensation, are few and not counted. No source at hand says how the drift grows with the voltage: above
`read.disturb_voltage`, up to which it was characterised, the report says so.
"""

import numpy as np

from ...devices import Chip
from ..mismatch import Mismatch
from .protocol import TIME, Acting, CellsLike, Effect, nulls

STEP = 1e-3  # of g_max - g_min: cells may move so far before reads look at them anew


class ReadDisturb(Acting):
    """The drift of the cells of a matrix with the reads since their last write."""

    counts = True

    def __init__(self, chip: Chip, mismatch: Mismatch):
        cell = chip.cell
        self._each = cell.read_disturb_siemens or 0.0
        self._low, self._high = cell.g_min_siemens, cell.g_max_siemens

    def present(self, siemens: np.ndarray, cells: CellsLike, at: tuple[np.ndarray, np.ndarray] | None) -> np.ndarray:
        moved = disturbed(siemens, cells.driven_cycles(at), self._each, self._low, self._high)
        return np.where(cells.healthy(at), moved, siemens)

    def moved(self, before: np.ndarray, now: np.ndarray) -> bool:
        return abs(self._each) * float(np.abs(now - before).max()) > STEP * (self._high - self._low)


def disturbed(siemens: np.ndarray, reads: np.ndarray, each: float, low: float, high: float) -> np.ndarray:
    """Conductances float32 after so many reads that move a cell by `each` siemens, towards `high` or `low`."""
    moved = siemens + each * reads
    end = np.maximum(siemens, np.minimum(moved, high)) if each > 0 else np.minimum(siemens, np.maximum(moved, low))
    return end.astype(np.float32)


def _message(chip: Chip, age_seconds: float) -> str | None:
    cell = chip.cell
    if cell.read_disturb_volts is None or cell.read_voltage_volts <= cell.read_disturb_volts * (1.0 + 1e-9):
        return None
    known = "what it does here is unknown, and reads leave cells as they are in this report"
    if cell.read_disturb_siemens:
        known = "it may be larger here than the file says"
    return (
        f"cell {cell.name} is read at {cell.read_voltage_volts:g} V, and its read disturb was characterised at up to "
        f"{cell.read_disturb_volts:g} V: {known}"
    )


EFFECTS = (
    Effect("read disturb", ("read.disturb",), "until the next write", TIME, nulls("read.disturb"), place=5,
           acting=ReadDisturb, message=_message, example={"read.disturb": "20 nS"}, figure="read-disturb"),
)  # fmt: skip
