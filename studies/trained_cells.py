"""The trained matrices of a trial in their cells: which of their ranks are there, when they are written, how often.

A rank that training has given up (`Adaptation.kept_ranks`) is not written. A first write programs the kept ranks alone,
into arrays just large enough; nothing at all where none is kept. Later writes leave alone the cells of ranks that are
not kept. A rank that comes back is written where it was, or, where it never was, into arrays of its own beside the
others.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..methods.ranks import Kept
from ..simulator import ProgrammedModel
from ..simulator.autograd import ChipReader, Piece
from ..simulator.mapping import Some


@dataclass
class Block:
    """Arrays that hold some ranks of a matrix: `cells` is their name on the chip, `value` what was last written."""

    cells: str
    ranks: np.ndarray
    value: np.ndarray


class TrainedCells:
    """`names`: the matrices of a model that are trained; those that are there already are written over as wholes."""

    def __init__(self, model: ProgrammedModel, reader: ChipReader, names: list[str]) -> None:
        self.model, self.reader, self.names = model, reader, names
        self._blocks: dict[str, list[Block]] = {}
        self._whole = {name for name in names if name in model}

    @property
    def unwritten(self) -> frozenset[str]:
        """Those that have not been written yet: they are still held digitally."""
        return frozenset(name for name in self.names if name not in self._whole and name not in self._blocks)

    @property
    def on_chip(self) -> tuple[str, ...]:
        """What they are called on the chip."""
        written = [block.cells for blocks in self._blocks.values() for block in blocks]
        return (*(name for name in self.names if name in self._whole), *written)

    @property
    def cells(self) -> int:
        """Cells that they occupy."""
        return sum(self.model.matrix(name).layout.cells for name in self.on_chip)

    def write(
        self, name: str, value: np.ndarray, kept: Kept | None, now: Kept | None = None, refresh: bool = False,
        scale: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:  # fmt: skip
        """Write a matrix (out, in): its first write, or over what is there.

        kept: the ranks that count, None for a matrix without. now: those of them that are written over, None for all;
        the others keep what they hold. scale: gives the range of the weights of a first write.
        """
        if kept is None:
            self._write_whole(name, value, refresh, scale)
            return
        held = self._blocks.setdefault(name, [])
        known = np.concatenate([block.ranks for block in held]) if held else np.empty(0, np.int64)
        for block in held:
            places = np.flatnonzero(np.isin(block.ranks, (now or kept).ranks))
            self._rewrite(block, value, kept.axis, places, refresh)
        if len(new := np.setdiff1d(kept.ranks, known)):
            part = np.ascontiguousarray(value.take(new, kept.axis))
            cells = name if not held else f"{name} +{len(held)}"
            self.model.count_write(self.model.add(cells, part, None if scale is None else scale(part)))
            held.append(Block(cells, new, part.copy()))
        self._tell(name, kept, value.shape[kept.axis])

    def _write_whole(
        self, name: str, value: np.ndarray, refresh: bool, scale: Callable[[np.ndarray], np.ndarray] | None
    ) -> None:
        if name in self._whole:
            self.model.rewrite(name, value, refresh)
        else:
            self.model.count_write(self.model.add(name, value, None if scale is None else scale(value)))
            self._whole.add(name)

    def _rewrite(self, block: Block, value: np.ndarray, axis: int, places: np.ndarray, refresh: bool) -> None:
        """Write those of a block's ranks that are at the places."""
        if not len(places):
            return
        put = (places, slice(None)) if axis == 0 else (slice(None), places)
        block.value[put] = value.take(block.ranks[places], axis)
        only = None if len(places) == len(block.ranks) else Some(axis, places)
        self.model.rewrite(block.cells, block.value, refresh, only)

    def _tell(self, name: str, kept: Kept, full: int) -> None:
        """Have the reader find the kept ranks where they are."""
        blocks = self._blocks[name]
        if len(blocks) == 1 and blocks[0].cells == name and len(blocks[0].ranks) == len(kept.ranks) == full:
            self.reader.pieces.pop(name, None)
            return
        found = []
        for block in blocks:
            places = np.flatnonzero(np.isin(block.ranks, kept.ranks))
            if len(places):
                found.append(Piece(block.cells, kept.axis, block.ranks[places], places, len(block.ranks)))
        self.reader.pieces[name] = tuple(found)
