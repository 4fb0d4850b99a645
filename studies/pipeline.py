"""What a token passes on its way through a model in cells: the lines of `simulator.schedule`, from shapes and a plan.

Every matrix has arrays of its own, so a token can be in one layer while the next token is in the layer before. Only
attention waits for all tokens of the sequence: it cuts the layers into segments. Queries, keys and values are read side
by side, gate and up projections too; two more matrices beside a linear (LoRA in cells, a pool) make its place in the
line one longer, and two behind it (a bottleneck adapter in cells) two. Arrays that read a token several times (HiRA)
let the next one wait. A network beside the backbone works while that does; what of it comes behind the last block is
added. A backward pass goes the same way in reverse, through the transposed matrices that the gradient needs.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from ..methods.plan import Plan
from ..simulator.schedule import Block, Line, Rates, Segment, last_of
from ..workloads.shapes import ModelShape

_NONE: Mapping[str, int] = MappingProxyType({})
_BESIDE = ({"query", "key", "value", "query_key_value", "positions"}, {"ffn_gate", "ffn_up"})


def segments(shape: ModelShape, adapted: Mapping[str, int] = _NONE) -> list[int]:
    """Matrices one after another between two attentions. `adapted`: how many more follow one another at a linear, by
    its name (`Plan.adapted`).
    """
    own = {linear.name: 1 + adapted.get(linear.name, 0) for linear in shape.linears}
    return [segment.depth for segment in _cut(shape, own)]


def forward_line(shape: ModelShape, plan: Plan, read: Collection[str]) -> Line:
    """The line of a forward pass that reads these matrices, named as often as a token is multiplied by each."""
    depths = _depths(shape, plan, read, bool(set(plan.extra) & set(read)))
    behind = [Segment(depth) for depth in plan.side.behind] if plan.side and set(plan.side.read) & set(read) else []
    cut = _runs(shape, _cut(shape, depths, plan.read_again))
    if behind:
        cut = [*cut[:-1], _joined(cut[-1], behind[0]), *behind[1:]]
    return _line(cut, plan, read)


def reads_in_line(line: Line, tokens: int) -> int:
    """Reads one after another for one sequence of so many tokens, without digital work."""
    return int(last_of(line, [[Block(tokens, 0.0)] * len(line.segments)], Rates(1.0, 0.0)).reads)


def backward_line(shape: ModelShape, plan: Plan, read: Collection[str]) -> Line:
    """The line of a backward pass through these transposed matrices (of `Plan.transposed`), the last segment first."""
    side = [name for name in read if plan.side and name in plan.side.transposed]
    depths = _depths(shape, plan, read, bool(set(plan.extra) & set(read) - set(side)), backward=True)
    cut = _runs(shape, _cut(shape, depths, plan.read_again))[::-1]
    if side:
        cut = [_joined(cut[0], Segment(len(side), max(Counter(side).values()))), *cut[1:]]
    return _line(cut, plan, read)


def _depths(
    shape: ModelShape, plan: Plan, read: Collection[str], pairs: bool, backward: bool = False
) -> dict[str, int]:
    """Reads one after another at each linear; `pairs`: whether those beside or behind it are read, too. Where a linear
    is not read in a backward pass, since its inputs need no gradient, of its pair only the second matrix is.
    """
    known, found = set(read), {}
    for linear in shape.linears:
        own, more = int(linear.name in known), plan.adapted.get(linear.name, 0)
        if linear.name in plan.read_again:
            found[linear.name] = own and own + more
        elif more and pairs:
            found[linear.name] = 1 if backward and not own else 1 + more
        else:
            found[linear.name] = own
    return found


def _cut(shape: ModelShape, depths: Mapping[str, int], again: Mapping[str, int] = _NONE) -> list[Segment]:
    """The segments of one run of the blocks; `depths`: reads one after another at each linear."""
    found, depth, before, stage, busy = [], 0, "", 0, 1
    for linear in shape.linears:
        own = depths[linear.name]
        if any({linear.role, before} <= group for group in _BESIDE):
            stage = max(stage, own)
        else:
            depth += stage
            stage = own
            if before in _BESIDE[0]:  # attention follows on queries, keys and values
                found.append(Segment(depth, busy))
                depth, busy = 0, 1
        busy = max(busy, 1 + again.get(linear.name, 0)) if own else busy
        before = linear.role
    return [*found, Segment(depth + stage, busy)]


def _runs(shape: ModelShape, cut: Sequence[Segment]) -> list[Segment]:
    """The segments of all runs: the end of one and the beginning of the next are one segment."""
    found = list(cut)
    for _ in range(shape.runs - 1):
        found = [*found[:-1], _joined(found[-1], cut[0]), *cut[1:]] if len(cut) > 1 else [_joined(found[0], cut[0])]
    return found


def _joined(one: Segment, other: "Segment | int") -> Segment:
    """Two segments between which no token waits for others."""
    other = Segment(other) if isinstance(other, int) else other
    return Segment(one.depth + other.depth, max(one.busy, other.busy))


def _line(cut: Sequence[Segment], plan: Plan, read: Collection[str]) -> Line:
    """Segments in which nothing is read are left out; arrays that several of them read, are shared among them."""
    read_segments = [segment for segment in cut if segment.depth] or [Segment(0)]
    often = max(Counter(read).values(), default=1)
    shared = often > 1 + max(plan.read_again.values(), default=0)
    if shared:
        each = -(-often // len(read_segments))
        read_segments = [segment._replace(busy=max(segment.busy, each)) for segment in read_segments]
    return Line(tuple(read_segments), exclusive=shared)
