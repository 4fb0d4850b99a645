"""How long a batch takes on its way through layers that all work at the same time: the schedule, exactly.

A *line* is what a token passes: segments one after another, each a few arrays one after another. Every segment begins
where all tokens of a sequence have to be there (attention). Beside the arrays there is one digital unit.

1. A segment's work on a sequence is a *block* of the digital unit, an equal share for each token, then the arrays. A
   token enters the first array when its share is done, and each next array when it has left the one before.
2. An array works on one token at a time: `busy` reads of it, where it reads a token several times.
3. A sequence enters a segment when all its tokens have left the one before, and the first segment when the sequence
   before it has left the busiest array there. Sequences keep their order.
4. The digital unit does one block at a time: first come, first served, of two that come together the earlier sequence.
5. Work of a pass, whatever its size, comes first of all. Work of a sequence as a whole (its head) is a block of its own
   behind the last segment, or in front of the first one in a backward pass.
6. In an `exclusive` line, whose arrays are read in several segments, a sequence enters when the one before has left.

Passes do not overlap: between them stands a step of the optimiser, and writes, or the turn from forward to backward.

The time of a block's end follows from two that are known: with n tokens, whose shares take g each, entering at e and
leaving the digital unit from d on, and arrays that were last free at a, the last token leaves d reads of depth later at

    depth + max(a + (n - 1) busy, d + g + (n - 1) max(g, busy))

since arrays with equal times for all tokens hold no token up but behind the slowest of them. No event is simulated; the
tests do.
"""

import heapq
from collections.abc import Sequence
from typing import NamedTuple


class Segment(NamedTuple):
    """depth: reads of a token one after another, until all tokens of the sequence are waited for. busy: the most of
    them by one and the same array.
    """

    depth: int
    busy: int = 1


class Line(NamedTuple):
    """What tokens pass. `exclusive`: arrays are read in several segments."""

    segments: tuple[Segment, ...]
    exclusive: bool = False


class Rates(NamedTuple):
    """Seconds of one read of an array, and of one multiply-add."""

    read: float
    mac: float


class Block(NamedTuple):
    """The part of a segment in one sequence: tokens that pass it, multiply-adds of the digital unit for all of them."""

    tokens: int
    macs: float


class Instant(NamedTuple):
    """A time, and what it was waited for: seconds = reads * Rates.read + macs * Rates.mac."""

    seconds: float = 0.0
    reads: float = 0.0
    macs: float = 0.0

    def plus(self, rates: Rates, reads: float = 0.0, macs: float = 0.0) -> "Instant":
        """So many reads, and multiply-adds, later."""
        seconds = self.seconds + reads * rates.read + macs * rates.mac
        return Instant(seconds, self.reads + reads, self.macs + macs)


def last_of(
    line: Line, sequences: Sequence[Sequence[Block]], rates: Rates, *,
    heads: Sequence[float] = (), first: float = 0.0, backward: bool = False,
) -> Instant:  # fmt: skip
    """When the last token of a batch has left the line.

    sequences: for each, a block of every segment of the line, in the order in which they are passed. heads: multiply-
    adds of each sequence as a whole, in front of the line in a `backward` pass, behind it otherwise. first: those of
    the pass.
    """
    segments = [*line.segments]
    ways = [[*blocks] for blocks in sequences]
    if any(heads):
        place = 0 if backward else len(segments)
        segments.insert(place, Segment(0))
        for way, macs in zip(ways, heads, strict=True):
            way.insert(place, Block(1, macs))
    unit = Instant().plus(rates, macs=first)
    arrays = [unit] * len(segments)  # when a first token can enter
    last, ready = unit, [(unit.seconds, 0, 0, unit)] if ways else []
    while ready:
        _, number, place, come = heapq.heappop(ready)
        block, segment = ways[number][place], segments[place]
        begun = max(come, unit) if block.macs else come
        unit = begun.plus(rates, macs=block.macs) if block.macs else unit
        left = _end(begun, arrays[place], block, segment, rates)
        arrays[place] = left.plus(rates, segment.busy - segment.depth) if segment.depth else left
        last = max(last, left)
        done = place + 1 == len(segments)
        if not done:
            heapq.heappush(ready, (left.seconds, number, place + 1, left))
        if number + 1 < len(ways) and (done if line.exclusive else place == 0):
            free = left if line.exclusive else arrays[0]
            heapq.heappush(ready, (free.seconds, number + 1, 0, free))
    return last


def _end(begun: Instant, free: Instant, block: Block, segment: Segment, rates: Rates) -> Instant:
    """When the last token of a block leaves the arrays of its segment."""
    more, each = block.tokens - 1, block.macs / block.tokens
    if not segment.depth:
        return begun.plus(rates, macs=block.macs)
    digital = each * rates.mac > segment.busy * rates.read
    fed = begun.plus(rates, 0.0 if digital else more * segment.busy, block.macs if digital else each)
    return max(free.plus(rates, more * segment.busy), fed).plus(rates, segment.depth)
