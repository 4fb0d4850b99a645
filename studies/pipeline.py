"""How long a sequence takes when the layers work on different tokens at the same time.

Every matrix has arrays of its own, so a token can be in one layer while the next token is in the layer before. Only
attention waits for all tokens of the sequence: it cuts the layers into segments, and a segment of n matrices one after
another takes n + T - 1 array reads for T tokens. Queries, keys and values are read side by side, gate and up
projections too; two more matrices beside a linear (LoRA in cells, a pool) make its place in the line one longer, and
two behind it (a bottleneck adapter in cells) two. Arrays that read a token several times (HiRA) let the next one wait.
A network beside the backbone works while that does; what of it comes behind the last block is added.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from ..workloads.shapes import ModelShape

_NONE: Mapping[str, int] = MappingProxyType({})
_BESIDE = ({"query", "key", "value", "query_key_value", "positions"}, {"ffn_gate", "ffn_up"})


class Segment(NamedTuple):
    """What a token passes between two attentions: reads one after another, and the most by one and the same array."""

    depth: int
    busy: int


def segments(shape: ModelShape, adapted: Mapping[str, int] = _NONE) -> list[int]:
    """Matrices one after another between two attentions. `adapted`: how many more follow one another at a linear, by
    its name (`Plan.adapted`).
    """
    return [segment.depth for segment in _cut(shape, adapted)]


def _cut(shape: ModelShape, adapted: Mapping[str, int], again: Mapping[str, int] = _NONE) -> list[Segment]:
    found, depth, before, stage, busy = [], 0, "", 0, 1
    for linear in shape.linears:
        own = 1 + adapted.get(linear.name, 0)
        if any({linear.role, before} <= group for group in _BESIDE):
            stage = max(stage, own)
        else:
            depth += stage
            stage = own
            if before in _BESIDE[0]:  # attention follows on queries, keys and values
                found.append(Segment(depth, busy))
                depth, busy = 0, 1
        busy = max(busy, 1 + again.get(linear.name, 0))
        before = linear.role
    return [*found, Segment(depth + stage, busy)]


def reads_in_line(
    shape: ModelShape,
    tokens: int,
    adapted: Mapping[str, int] = _NONE,
    again: Mapping[str, int] = _NONE,
    behind: Sequence[int] = (),
) -> int:
    """Array reads one after another for a sequence of so many tokens, layers pipelined. `again`: how often a token is
    read again by the arrays of a linear, which the next token then waits for (`Plan.read_again`); `adapted` has these
    reads as well. `behind`: matrices one after another that come behind the last block, cut where all tokens are waited
    for (`plan.Side.behind`).
    """
    cut = _cut(shape, adapted, again)
    if behind:
        last = cut[-1]
        cut = [*cut[:-1], last._replace(depth=last.depth + behind[0]), *(Segment(depth, 1) for depth in behind[1:])]
    return sum(segment.depth + (tokens - 1) * segment.busy for segment in cut)
