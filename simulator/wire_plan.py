"""In which order the nodes of an array are eliminated: nested dissection of the rectangle of cells.

A block of cells is seen from outside only through its ports, of four kinds in this order: LEFT, one a word line, the
far end of the wire segment on the left of its first cell; RIGHT, one a word line, the last cell's own node; TOP, one a
bit line, the first cell's own node; BOTTOM, one a bit line, the far end of the segment below its last cell. Two
neighbours share the ports between them: merging them eliminates those. The rectangle is halved along its longer side
down to leaves of LEAF x LEAF cells, and the plan lists the merges from the leaves up, with the place of every block's
matrix in one buffer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np

LEAF = 4
LEAF_PORTS = 4 * LEAF
REGION = 64  # cells on a side: what one core reduces by itself in an array too large for one core

# A merge is a row of int64: three places in the buffer, shared ports, all ports, the part that is wanted (rows before
# ROW_STOP, columns from COLUMN_START on), then per child four numbers of ports and four places in the joint order.
FIRST, SECOND, RESULT, SHARED, ALL, ROW_STOP, COLUMN_START, FIRST_PORTS, FIRST_AT, SECOND_PORTS, SECOND_AT = (
    0, 1, 2, 3, 4, 5, 6, 7, 11, 15, 19,
)  # fmt: skip
WORDS = 23


class Ports(NamedTuple):
    """How many ports a block has on each side; none where nothing is attached beyond the array's edge."""

    left: int
    right: int
    top: int
    bottom: int


class Block(NamedTuple):
    """Rows and columns of leaves: from, up to."""

    top: int
    bottom: int
    left: int
    right: int


@dataclass(frozen=True)
class Program:
    """The merges of one rectangle.

    merges: (merges, WORDS) int64 in order; leaves: (leaves, 2) int64, first row and column of the blocks it starts
    from, in the order of the buffer; leaf_at: place of each leaf's matrix; result: place of the last matrix; ports: its
    ports; size, panel: numbers that the buffer and the largest strip of eliminated rows need; shared: most ports
    eliminated at once.
    """

    merges: np.ndarray
    leaves: np.ndarray
    leaf_at: tuple[int, ...]
    result: int
    ports: Ports
    size: int
    panel: int
    shared: int


@dataclass(frozen=True)
class Plan:
    """How an array is reduced: `regions` by one core each, then, if there are several, their merges in `top`."""

    regions: tuple[tuple[Block, Program], ...]
    top: Program


def _merge(first: Ports, second: Ports, sideways: bool) -> tuple[list[int], Ports]:
    """The words from SHARED on (wanting everything) and the ports of two neighbours: left and right, or above and
    below.
    """
    if sideways:
        shared = first.right
        ports = Ports(first.left, second.right, first.top + second.top, first.bottom + second.bottom)
    else:
        shared = first.bottom
        ports = Ports(first.left + second.left, first.right + second.right, first.top, second.bottom)
    left, right, top, bottom = accumulate((shared, *ports[:3]))
    if sideways:
        first_at, second_at = (left, 0, top, bottom), (0, right, top + first.top, bottom + first.bottom)
    else:
        first_at, second_at = (left, right, top, 0), (left + first.left, right + first.right, 0, bottom)
    total = shared + sum(ports)
    return [shared, total, total - shared, 0, *first, *first_at, *second, *second_at], ports


def _drop(block: Ports, right: bool, top: bool) -> tuple[list[int], Ports]:
    """As `_merge`, for a block that loses the ports of sides that nothing is attached to."""
    ports = Ports(block.left, 0 if right else block.right, 0 if top else block.top, block.bottom)
    shared = sum(block) - sum(ports)
    at = list(accumulate((shared, *ports[:3])))
    if right:
        at[1] = 0
    if top:
        at[2] = block.right if right else 0
    total = sum(block)
    return [shared, total, total - shared, 0, *block, *at, *(0,) * 8], ports


class _Builder:
    """Walks the halvings of a rectangle; two stacks by depth keep a result apart from its children."""

    def __init__(self, leaf_ports: Callable[[Block], Ports | None], right: bool, top: bool):
        self.leaf_ports, self.right, self.top = leaf_ports, right, top
        self.words: list[list[int]] = []
        self.leaves: list[Block] = []
        self.leaf_at: list[int] = []
        self.leaf_size = 0
        self.used, self.peak = [0, 0], [0, 0]

    def build(self, block: Block, depth: int, edges: Block) -> tuple[tuple[int, int], Ports]:
        """Place (-1 and an offset among the leaves, or a stack and an offset in it) and ports of a block."""
        ports = self.leaf_ports(block)
        before = tuple(self.used)
        if ports is not None:
            place = (-1, self.leaf_size)
            self.leaves.append(block)
            self.leaf_at.append(self.leaf_size)
            self.leaf_size += sum(ports) ** 2
            right = ports.right > 0 and not self.right and block.right == edges.right
            top = ports.top > 0 and not self.top and block.top == edges.top
            if not (right or top):
                return place, ports
            words, ports = _drop(ports, right, top)
            return self._push([*place, 0, 0], words, depth, before), ports
        rows, columns = block.bottom - block.top, block.right - block.left
        if columns >= rows:
            middle = block.left + columns // 2
            halves = block._replace(right=middle), block._replace(left=middle)
        else:
            middle = block.top + rows // 2
            halves = block._replace(bottom=middle), block._replace(top=middle)
        (first, first_ports), (second, second_ports) = (self.build(half, depth + 1, edges) for half in halves)
        words, ports = _merge(first_ports, second_ports, columns >= rows)
        return self._push([*first, *second], words, depth, before), ports

    def _push(self, children: list[int], words: list[int], depth: int, before: tuple[int, ...]) -> tuple[int, int]:
        stack = depth % 2
        self.used = list(before)  # the children go when their parent is there
        place = (stack, self.used[stack])
        self.used[stack] += (words[ALL - SHARED] - words[0]) ** 2
        self.peak[stack] = max(self.peak[stack], self.used[stack])
        self.words.append([*children, *place, *words])
        return place

    def program(self, block: Block, last: bool) -> Program:
        """All of it; with `last`, the final merge computes only what lies between drivers and sense amplifiers."""
        place, ports = self.build(block, 0, block)
        starts = {-1: 0, 0: self.leaf_size, 1: self.leaf_size + self.peak[0]}
        merges = np.array(
            [[starts[a] + b, starts[c] + d, starts[e] + f, *rest] for a, b, c, d, e, f, *rest in self.words],
            np.int64,
        ).reshape(-1, WORDS)
        if last and len(merges):
            merges[-1, ROW_STOP] = merges[-1, COLUMN_START] = ports.left + ports.right
        return Program(
            merges,
            np.array([(leaf.top, leaf.left) for leaf in self.leaves], np.int64),
            tuple(self.leaf_at),
            starts[place[0]] + place[1],
            ports,
            self.leaf_size + sum(self.peak),
            int((merges[:, SHARED] * merges[:, ALL]).max(initial=0)),
            int(merges[:, SHARED].max(initial=0)),
        )


@lru_cache(maxsize=64)
def _region(rows: int, columns: int, right: bool, top: bool, last: bool) -> Program:
    """The program of a rectangle of leaves; `right`, `top`: whether something is attached to these sides."""

    def leaf_ports(block: Block) -> Ports | None:
        single = block.bottom - block.top == block.right - block.left == 1
        return Ports(LEAF, LEAF, LEAF, LEAF) if single else None

    return _Builder(leaf_ports, right, top).program(Block(0, rows, 0, columns), last)


@lru_cache(maxsize=16)
def plan(rows: int, columns: int, right: bool, top: bool, whole: int) -> Plan:
    """The plan of an array of rows x columns leaves; up to `whole` leaves are one region.

    right, top: whether drivers sit on the right too, and sense amplifiers at the top too.
    """
    everything = Block(0, rows, 0, columns)
    limit = (REGION // LEAF) ** 2 if rows * columns > whole else rows * columns
    regions: list[tuple[Block, Program]] = []

    def leaf_ports(block: Block) -> Ports | None:
        if (block.bottom - block.top) * (block.right - block.left) > limit:
            return None
        program = _region(
            block.bottom - block.top,
            block.right - block.left,
            right or block.right < columns,
            top or block.top > 0,
            block == everything,
        )
        regions.append((block, program))
        return program.ports

    program = _Builder(leaf_ports, True, True).program(everything, last=True)
    return Plan(tuple(regions), program)


@lru_cache(maxsize=1)
def leaf_merges() -> np.ndarray:
    """The merges from one cell to a leaf, columns and rows in turn: (merges, WORDS), places unused."""
    ports, words, sideways = Ports(1, 1, 1, 1), [], True
    while sum(ports) < LEAF_PORTS:
        merge, ports = _merge(ports, ports, sideways)
        words.append([0, 0, 0, *merge])
        sideways = not sideways
    return np.array(words, np.int64)


def flops(order: Plan) -> int:
    """Floating-point operations of the merges of a plan (without those inside leaves, about 200 a cell).

    A merge of s shared among s + p ports: s^3 / 3 + s^2 p to eliminate, s p^2 to update one triangle, and only
    2 s (drivers) (amplifiers) in the last.
    """
    total = 0
    for program in (order.top, *(program for _, program in order.regions)):
        for merge in program.merges.tolist():
            s, p = merge[SHARED], merge[ALL] - merge[SHARED]
            wanted = merge[ROW_STOP] * (p - merge[COLUMN_START])
            total += s**3 // 3 + s * s * p + (s * p * p if merge[COLUMN_START] == 0 else 2 * s * wanted)
    return total
