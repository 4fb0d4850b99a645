"""What an effect is: what switches it, and what it does to the cells of a matrix and to its reads.

A file of this folder describes one effect, or a few that belong together, in `EFFECTS`; it is found by being there.
`Effect` is what the table of docs/simulator.md says of it, the events that it adds to a read, what the report should
say, its picture, and the plain numpy of its kernel. An effect that does more than set a number of the pulses or
converters has an `Acting`: one object a matrix, asked at each of these places.

    present     conductance: what is left of a cell after time passed and it was read
    moved       when reads have to look at that anew
    columns     conductance, noise: what reads multiply inputs with, kept until cells change
    lines       energy: what is kept summed over each word line
    products    drive: what it adds to the sums of a read, as more products
    activity    energy: what that makes the cells conduct

What is kept is derived for all cells at once, and again for those that a write changed: the same functions do both.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from ...devices import Chip
from ...devices.overrides import resolve_key
from ..accounting import EventCounts
from ..mapping import Layout
from ..mismatch import Mismatch

WRITE, TIME, READ = "write", "time", "read"
Kept = dict[str, np.ndarray]


class CellsLike(Protocol):
    """What an effect may ask of the cells of a matrix (`cells.Cells`); `at`: some weights, None for all."""

    chip: Chip

    def level_and_epoch(self, at: Any) -> tuple[np.ndarray, np.ndarray | int]: ...

    def noise(self) -> list[Any]: ...

    def healthy(self, at: Any) -> np.ndarray | bool: ...

    def driven_cycles(self, at: Any) -> np.ndarray: ...


class Held:
    """What some cells hold at the present time: all of a matrix, those of some weights, or an array.

    siemens (slices, polarities, ...) float32; seen: the same behind the wires, the same object where there are none.
    """

    def __init__(self, cells: CellsLike, at: Any, siemens: np.ndarray, seen: np.ndarray):
        self.cells, self.siemens, self.seen = cells, siemens, seen
        self._at, self._whole, self._where = at, self, (...,)
        self._known: dict[str, np.ndarray] = {}

    def part(self, where: tuple[Any, ...]) -> "Held":
        """Those of an array, by their place."""
        one = Held(self.cells, self._at, self.siemens[where], self.seen[where])
        one._whole, one._where = self, where
        return one

    def once(self, name: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """What several places need of these cells, computed when it is first asked for."""
        if name not in self._known:
            self._known[name] = compute()
        return self._known[name]

    @property
    def window(self) -> np.float32:
        """g_max - g_min, which sums are in units of."""
        cell = self.cells.chip.cell
        return np.float32(cell.g_max_siemens - cell.g_min_siemens)

    @cached_property
    def level_and_epoch(self) -> tuple[np.ndarray, np.ndarray | int]:
        """The level that each was last pulsed for, and the epoch of it."""
        if self._whole is self:
            return self.cells.level_and_epoch(self._at)
        level, epoch = self._whole.level_and_epoch
        return level[self._where], epoch if isinstance(epoch, int) else epoch[self._where]

    def differences(self, siemens: np.ndarray) -> np.ndarray:
        """What columns add per full drive, over the window, from conductances (slices, polarities, ...)."""
        return (siemens[:, 0] - siemens[:, 1] if siemens.shape[1] == 2 else siemens[:, 0]) / self.window


class Acting:
    """An effect on one matrix; each of these does nothing unless an effect says otherwise."""

    adds = False  # products to the sums of a read: such reads are not done in whole numbers
    counts = False  # for how long reads drive word lines

    def present(self, siemens: np.ndarray, cells: CellsLike, at: Any) -> np.ndarray:
        """Conductances (slices, polarities, ...) float32 at the present time, of those that time alone left."""
        return siemens

    def moved(self, before: np.ndarray, now: np.ndarray) -> bool:
        """Whether cells may have moved enough to be looked at anew while word lines were driven from `before` to `now`,
        (in,) reads at full voltage.
        """
        return False

    def columns(self, held: Held) -> Kept:
        """What reads use of the cells: arrays (..., slices, *place) of cells (slices, polarities, *place)."""
        return {}

    def lines(self, held: Held) -> Kept:
        """What is summed over each word line: arrays (..., slices, polarities, *place), siemens."""
        return {}

    def products(
        self, matrix: Any, x: np.ndarray, full_scale: float, digits: np.ndarray | None, factors: np.ndarray
    ) -> Iterator[np.ndarray]:
        """For each product that it adds to a read of inputs x (vectors, in): fills `factors` (digits, vectors, in) and
        yields what of the cells they are multiplied with, (slices, in, sensed). `digits`: what the DACs apply one after
        another, None where an input is one voltage.
        """
        return iter(())

    def activity(self, matrix: Any, x: np.ndarray, full_scale: float) -> np.ndarray:
        """(vectors,) siemens-cycles that it adds to what inputs x (vectors, in) conduct."""
        return np.zeros(len(x))

    def mean_activity(self, matrix: Any, codes: np.ndarray) -> float:
        """The same of a cell, on average over codes (n,) of inputs."""
        return 0.0


@dataclass(frozen=True)
class Effect:
    """One effect.

    keys: what switches it (any of them known and not zero: it is on). persistence: how long a draw holds. act: when it
    acts. off: overrides that switch it off (empty: always on). neutral: the value of its keys that means off, beside
    null and 0. place: its order among those that act at the same time. acting: what it does to a matrix. events: what
    it adds to one product of a matrix and a vector. message: a sentence for the report, of a chip whose oldest cells
    are so many seconds old. example: overrides that switch it on, where no
    shipped chip has it. reference: plain numpy of what its kernel computes, with the kernel's arguments. figure:
    its picture in docs/figures.
    """

    name: str
    keys: tuple[str, ...]
    persistence: str
    act: str
    off: Mapping[str, str] = field(default_factory=dict)
    neutral: object = None
    place: int = 0
    acting: Callable[[Chip, Mismatch], Acting] | None = None
    events: Callable[[Chip, Layout], EventCounts] | None = None
    message: Callable[[Chip, float], str | None] | None = None
    example: Mapping[str, str] = field(default_factory=dict)
    reference: Callable[..., None] | None = None
    figure: str = ""

    def values(self, chip: Chip) -> list[object]:
        """The values of its keys on a chip."""
        found = []
        for key in self.keys:
            part, name, _ = resolve_key(key)
            found.append(getattr(getattr(chip, part), name))
        return found

    def on(self, chip: Chip) -> bool:
        """Whether the effect acts on a chip."""
        return any(value not in (None, 0, (), self.neutral) for value in self.values(chip))


def nulls(*keys: str) -> dict[str, str]:
    """Overrides that set keys to null."""
    return dict.fromkeys(keys, "null")
