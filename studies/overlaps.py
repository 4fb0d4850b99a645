"""What is hidden where layers and the digital unit work at the same time: reads and multiply-adds that nothing waits
for, by the schedule of `simulator.schedule`.

The digital work of a pass is spread over the segments of its line: what belongs to tokens evenly, that of attention in
front of every segment but the first. Where a segment has late tokens, they come on top.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import NamedTuple

from ..devices import Chip
from ..methods.costs import DigitalWork
from ..methods.plan import Plan
from ..simulator import CostTable, EventCounts
from ..simulator.converters import input_cycles
from ..simulator.prices import cycle_seconds
from ..simulator.schedule import Block, Line, Rates, last_of
from ..workloads.shapes import ModelShape
from .digital import Size
from .pipeline import backward_line, forward_line

LATE_SEGMENTS = 2  # a late token is behind the others in both halves of the last block


class Way(NamedTuple):
    """A kind of pass: its line, its digital work, and how many products there are for a token and for a late token."""

    line: Line
    work: DigitalWork
    products: int
    late_products: int
    backward: bool = False


class Overlaps:
    """The hidden events of passes by a plan on a model of this shape."""

    def __init__(self, chip: Chip, shape: ModelShape, plan: Plan) -> None:
        self._chip, self.plan, self.shape = chip, plan, shape
        forward, transposed = cycle_seconds(chip)
        self._cycles = input_cycles(chip)
        self._transposed_cycles = self._cycles * chip.array.slices
        mac = 1.0 / chip.periphery.digital_macs_per_second
        self._rates = Rates(self._cycles * forward, mac), Rates(self._transposed_cycles * transposed, mac)

    def of_answers(self, size: Size) -> EventCounts:
        """Answers, a sequence each: one after the other."""
        one_by_one: Counter[tuple[int, ...]] = Counter()
        for lengths, passes in size.batches.items():
            for length in lengths:
                one_by_one[(length,)] += passes
        return self._hidden(self._forward(self.plan.read, self.plan.inference_work), one_by_one)

    def of_training(
        self, forward: Size, trained: Size, stored: tuple[Size, Size] | None = None,
        waiting: Collection[str] = (), early: tuple[Size, Size] | None = None,
    ) -> EventCounts:  # fmt: skip
        """One adaptation, as `digital.training_events` takes it. `early`: what of `forward` and `trained` came before
        the matrices that are `waiting` were in cells.
        """
        plan, counts = self.plan, EventCounts()
        before = [Counter(size.batches) for size in early] if waiting and early else [Counter(), Counter()]
        later = [Counter(size.batches) - first for size, first in zip((forward, trained), before, strict=True)]
        for (only, both), absent in ((later, set()), (before, set(waiting))):
            if not only and not both:
                continue
            way = self._forward([name for name in plan.read_in_training if name not in absent], plan.training_work)
            counts.add(self._hidden(way, only + both))
            counts.add(self._hidden(self._backward([n for n in plan.transposed if n not in absent]), both))
        if stored is not None:
            only, both = (Counter(size.batches) for size in stored)
            counts.add(self._hidden(self._forward(plan.stored_read, plan.stored_work, added=False), only + both))
            counts.add(self._hidden(self._backward(plan.transposed), both))
        return counts

    def interval_seconds(self, answer: EventCounts, tokens: float) -> float:
        """From one answer to the next, each of so many tokens, when every layer and the digital unit work on examples
        of their own: as long as the busiest arrays or the unit need. A matrix that several layers share is read for
        each. Where layers work one after another: the time of an answer.
        """
        if self._chip.periphery.layer_schedule == "sequential":
            return CostTable.of(self._chip).cost(answer).total_seconds
        busiest = max(Counter(self.plan.read).values())
        digital = (answer.macs + answer.digital_adds) * self._rates[0].mac
        return max(tokens * busiest * self._rates[0].read, digital)

    def _forward(self, read: Collection[str], work: DigitalWork, added: bool = True) -> Way:
        late = len(self.plan.late_read) if added else 0
        return Way(forward_line(self.shape, self.plan, read), work, len(read), late)

    def _backward(self, read: Collection[str]) -> Way:
        line, work = backward_line(self.shape, self.plan, read), self.plan.backward_work
        return Way(line, work, len(read), len(self.plan.late_read), backward=True)

    def _hidden(self, way: Way, batches: Mapping[tuple[int, ...], int]) -> EventCounts:
        """What nothing waits for in passes of sequences of these lengths, each so many times."""
        reads = macs = 0.0
        for lengths, times in sorted(batches.items()):
            most_reads, most_macs, (_, waited_reads, waited_macs) = self._pass(way, lengths)
            reads += times * max(0.0, most_reads - waited_reads)
            macs += times * max(0.0, most_macs - waited_macs)
        if way.backward:
            return EventCounts(hidden_transposed_cycles=reads * self._transposed_cycles, hidden_macs=macs)
        return EventCounts(hidden_cycles=reads * self._cycles, hidden_macs=macs)

    def _pass(self, way: Way, lengths: tuple[int, ...]) -> tuple[int, float, tuple[float, float, float]]:
        """(reads, multiply-adds, when the last token has left) of one pass of sequences of these lengths."""
        plan, work, late = self.plan, way.work, self.plan.late_tokens if way.late_products else 0
        reads = sum((n + plan.extra_tokens) * way.products + late * way.late_products for n in lengths)
        macs = work.macs(sum(lengths), sum(n * n for n in lengths), len(lengths))
        sequences = [self._blocks(way, length, late) for length in lengths]
        heads = [float(max(0, work.per_sequence))] * len(lengths)
        end = last_of(
            way.line, sequences, self._rates[way.backward], heads=heads, first=work.per_pass, backward=way.backward
        )
        return reads, macs, end

    def _blocks(self, way: Way, length: int, late: int) -> list[Block]:
        """The blocks of a sequence of so many tokens."""
        work, number = way.work, len(way.line.segments)
        each = (work.per_token * length + min(0, work.per_sequence)) / number
        attention = work.per_pair * length**2 / max(1, number - 1)
        blocks = []
        for place in range(number):
            behind = place if way.backward else number - 1 - place
            tokens = length + self.plan.extra_tokens + (late if behind < LATE_SEGMENTS else 0)
            blocks.append(Block(tokens, each + (attention if place or number == 1 else 0.0)))
        return blocks
