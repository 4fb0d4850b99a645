"""Read noise: the variance of what each cell adds to a column, kept as bfloat16 bits; `read_noise` has the laws."""

import numpy as np

from ...devices import Chip
from .. import reference
from ..bfloat16 import to_bfloat16
from ..mismatch import Mismatch
from ..read_noise import is_graded
from .protocol import READ, Acting, Effect, Held, Kept, nulls


class ReadNoise(Acting):
    """noise_bits (slices, in, sensed) uint16: variance of `pairs`."""

    def __init__(self, chip: Chip, mismatch: Mismatch):
        self._graded = is_graded(chip.cell)
        self._relative = chip.cell.read_noise_relative or 0.0

    def columns(self, held: Held) -> Kept:
        return {"noise_bits": to_bfloat16(self._laws(held) if self._graded else self._share(held))}

    def _share(self, held: Held) -> np.ndarray:
        return (held.seen * held.seen).sum(1) * np.float32((self._relative / held.window) ** 2)

    def _laws(self, held: Held) -> np.ndarray:
        """Of noise that depends on the level of a cell and on when it was written."""
        level, epoch = held.level_and_epoch
        laws = held.cells.noise()
        relative, siemens = (
            np.array([getattr(n, name) for n in laws], np.float32)[epoch, level] for name in ("relative", "siemens")
        )
        g, seen = held.siemens, held.seen
        if seen is not g:
            siemens = siemens * np.divide(seen, g, out=np.ones_like(g), where=g > 0)
        return ((relative * seen) ** 2 + siemens**2).sum(1) / (held.window * held.window)


EFFECTS = tuple(
    Effect(f"read noise, {form}", (key,), "one read", READ, nulls(key), place=place, acting=ReadNoise,
           reference=reference.convert_rows, figure="read-noise")
    for place, (form, key) in enumerate(
        (("part of the conductance", "read.noise"), ("1/f", "flicker.time"), ("saturating", "read.noise_saturation")), 6
    )
)  # fmt: skip
