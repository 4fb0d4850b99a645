"""The schedule of overlapping layers, against a simulation of every token in every array."""

import heapq
import math
from fractions import Fraction

import pytest
from edge_adapt.simulator.schedule import Block, Line, Rates, Segment, last_of
from hypothesis import given, settings
from hypothesis import strategies as st


def simulated(line, sequences, rates, heads, first, backward):  # noqa: PLR0912 - a queue of events, on purpose
    """When everything is done: events of single tokens, from a queue in the order of time.

    Every array and the digital unit are servers: they take what comes first.
    """
    segments = [stages_of(segment) for segment in line.segments]
    ways = [list(blocks) for blocks in sequences]
    if any(heads):
        place = 0 if backward else len(segments)
        segments.insert(place, [])
        for way, macs in zip(ways, heads, strict=True):
            way.insert(place, Block(1, macs))
    arrays = {(s, k): 0.0 for s, stages in enumerate(segments) for k in range(len(stages))}
    inside = {(i, s): block.tokens for i, way in enumerate(ways) for s, block in enumerate(way)}
    unit = last = first * rates.mac
    events, waiting = [], []

    def enter(now, i, s):
        """All tokens of a sequence are in front of a segment."""
        heapq.heappush(events, (now, i, -1, s, "ready"))

    if ways:
        enter(unit, 0, 0)
    while events:  # at equal times, earlier sequences and tokens first
        now, i, token, s, what = heapq.heappop(events)
        left = what == len(segments[s]) and s >= 0
        if what == "unit":
            pass
        elif what == "ready":
            if ways[i][s].macs:
                waiting.append((now, i, s))
                heapq.heappush(events, (now, len(ways), 0, 0, "unit"))  # behind what comes at the same time
            else:
                for number in range(ways[i][s].tokens):
                    heapq.heappush(events, (now, i, number, s, 0))
        elif not left:
            arrays[s, what] = max(now, arrays[s, what]) + segments[s][what] * rates.read
            heapq.heappush(events, (arrays[s, what], i, token, s, what + 1))
        else:
            inside[i, s] -= 1
            last = max(last, now)
            if not inside[i, s] and s + 1 < len(segments):
                enter(now, i, s + 1)
        # The last token has left the first array, which is the busiest one; or everything.
        free = (what == min(1, len(segments[0])) and s == 0) if not line.exclusive else left and s + 1 == len(segments)
        if free and token + 1 == ways[i][s].tokens and i + 1 < len(ways):
            enter(now, i + 1, 0)
        if what == "unit" and waiting and unit <= now:
            _, i, s = waiting.pop(waiting.index(min(waiting)))
            unit = now
            for number in range(ways[i][s].tokens):
                unit += ways[i][s].macs / ways[i][s].tokens * rates.mac
                heapq.heappush(events, (unit, i, number, s, 0))
            heapq.heappush(events, (unit, len(ways), 0, 0, "unit"))
    return last


def stages_of(segment):
    """Reads by each array of a segment: the busiest, and others behind it."""
    return [segment.busy] + [1] * (segment.depth - segment.busy) if segment.depth else []


@st.composite
def cases(draw):
    number = draw(st.integers(1, 4))
    depths = draw(st.lists(st.integers(0, 4), min_size=number, max_size=number))
    segments = tuple(Segment(depth, draw(st.integers(1, max(1, depth)))) for depth in depths)
    macs, busy = st.sampled_from([1.0, 3.0, 8.0, 20.0]), [draw(st.booleans()) for _ in range(number + 2)]
    sequences = [
        [Block(tokens, draw(macs) if works else 0.0) for works in busy[:number]]
        for tokens in draw(st.lists(st.integers(1, 5), max_size=4))
    ]
    heads = [draw(macs) if busy[-1] else 0.0 for _ in sequences]
    rates = Rates(draw(st.sampled_from([0.25, 1.0, 4.0])), draw(st.sampled_from([0.25, 1.0, 2.0])))
    line = Line(segments, draw(st.booleans()))
    return line, sequences, rates, heads, draw(macs) if busy[-2] else 0.0, draw(st.booleans())


@settings(max_examples=300, deadline=None)
@given(cases())
def test_the_schedule_is_what_happens_token_by_token(case):
    line, sequences, rates, heads, first, backward = case
    end = last_of(line, sequences, rates, heads=heads, first=first, backward=backward)
    assert end.seconds == pytest.approx(simulated(*case), rel=1e-12)
    assert end.seconds == pytest.approx(end.reads * rates.read + end.macs * rates.mac, rel=1e-12)


@settings(max_examples=200, deadline=None)
@given(cases())
def test_no_faster_than_any_part_and_no_slower_than_one_after_another(case):
    line, sequences, rates, heads, first, backward = case
    end = last_of(line, sequences, rates, heads=heads, first=first, backward=backward)
    macs = first + sum(heads) + sum(block.macs for way in sequences for block in way)
    arrays = [sum(way[s].tokens for way in sequences) * segment.busy if segment.depth else 0
              for s, segment in enumerate(line.segments)]  # fmt: skip
    reads = sum(way[s].tokens * segment.depth for way in sequences for s, segment in enumerate(line.segments))
    longest = max((sum(s.depth + (b.tokens - 1) * s.busy if s.depth else 0
                       for s, b in zip(line.segments, way, strict=True)) for way in sequences), default=0)  # fmt: skip
    least = max(macs * rates.mac, max(arrays, default=0) * rates.read, longest * rates.read)
    most = macs * rates.mac + reads * rates.read
    assert least * (1 - 1e-12) <= end.seconds <= most * (1 + 1e-12)
    assert end.reads <= reads + 1e-9 and end.macs <= macs + 1e-9


def test_by_hand():
    """Two sequences of 3 tokens through two segments of 2 arrays each: 2 + 2, the second one 3 reads later at each."""
    line, block = Line((Segment(2), Segment(2))), Block(3, 0.0)
    one = last_of(line, [[block, block]], Rates(1.0, 1.0))
    assert one.seconds == (2 + 2) + (2 + 2)
    assert last_of(line, [[block, block]] * 2, Rates(1.0, 1.0)).seconds == one.seconds + 3
    # Arrays that both segments read: one sequence after the other.
    assert last_of(line._replace(exclusive=True), [[block, block]] * 2, Rates(1.0, 1.0)).seconds == 2 * one.seconds
    # 2 multiply-adds a token are slower than the arrays. The second sequence comes when the first array is free.
    slow = last_of(Line((Segment(2),)), [[Block(3, 6.0)]] * 2, Rates(1.0, 1.0))
    assert slow == (6 + 1 + 6 + 2, 3, 12)
    # As fast as the arrays: one token's share, and then they keep up with each other.
    assert last_of(Line((Segment(1),)), [[Block(320, 320.0)]], Rates(1.0, 1.0)).seconds == 321


def test_no_work_takes_no_time():
    assert last_of(Line((Segment(0),)), [[Block(3, 0.0)]], Rates(1.0, 1.0)) == (0.0, 0.0, 0.0)
    assert last_of(Line((Segment(3),)), [], Rates(1.0, 1.0)).seconds == 0.0


@given(st.integers(1, 6), st.integers(1, 30), st.integers(1, 5))
def test_equal_sequences_follow_one_another(segments, tokens, sequences):
    """Without digital work: a sequence more takes as long as its tokens in one array."""
    line = Line((Segment(4),) * segments)
    ends = [last_of(line, [[Block(tokens, 0.0)] * segments] * n, Rates(1.0, 1.0)).seconds for n in (1, sequences)]
    assert math.isclose(ends[1] - ends[0], (sequences - 1) * tokens)
    assert ends[0] == float(Fraction(segments * (4 + tokens - 1)))
