"""The plan of a method on a model: what it adds (`Part`), with backbone matrices, attention and head around that."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..workloads.shapes import BlockShape, Front, LinearShape, ModelShape
from .costs import DigitalWork, attention_backward, attention_forward, lengthened, matrix_forward, patches_forward
from .features import View, chosen, require_feature
from .heads import require_head
from .placement import BackwardNeed, Placement
from .plan import NO_WORK, Matrix, Part, Plan, Size, TensorPlan
from .pruning import kept_numbers

if TYPE_CHECKING:
    from .spec import Method


def completed(method: "Method", placement: Placement, shape: ModelShape, size: Size, part: Part) -> Plan:
    """The plan of a method whose part it is: backbone matrices, attention and head around it.

    Raises:
        UsageError: features that the model or the task does not have, or a head that there is not.
    """
    side, need = part.side, method.backward_need
    apart, through = need is BackwardNeed.SIDE, need in (BackwardNeed.THROUGH, BackwardNeed.FULL)
    if (apart and side is None) or (side and (part.extra_tokens or not (apart or through) or (side.cached > apart))):
        raise ValueError(
            f"{method.name}: SIDE goes with a side network, that with no tokens in every sequence, and stored states "
            "with SIDE"
        )
    if part.late_tokens and (shape.runs > 1 or need is not BackwardNeed.THROUGH):
        raise ValueError(f"{method.name}: late tokens go with THROUGH, and with a last block that runs once")
    require_feature(method.name, part.features, shape, size.tagged, side is not None)
    backbone = {x.name: (x.out_features, x.in_features) for x in shape.linears}
    read = [*backbone, *(name for pair in part.beside for name in (pair.first, pair.second)), *_again(part)]
    transposed = [*(_transposed(shape, part, read) if through else ()), *(side.transposed if side else ())]
    if part.resumes and (side is not None or part.extra_tokens or part.late_tokens or not shape.resumable):
        raise ValueError(f"{method.name}: training cannot go on behind {part.resumes} blocks of {shape.name}")
    by_task = placement is Placement.NVM_TASK
    bypassed = {t.name for t in part.tensors if t.written and not t.read_while_trained} if by_task else set()
    aside = side.read if side else ()
    in_training = [name for name in (*read * shape.runs, *aside) if name not in bypassed]
    stored = _besides(read, shape.blocks[: part.resumes]) if part.resumes else aside
    states = 1 if part.resumes else len(side.levels) if side and apart else 0
    tensors, front = _tensors(shape, size, part), _front(shape, part)
    passed = _besides(read, front.beyond) + _besides(read, front.below) * (shape.runs - 1)
    plan = Plan(
        method=method.name,
        placement=placement,
        backward_need=need,
        recipe=method.recipe,
        tensors=tensors,
        backbone=tuple(backbone),
        read=(*read * shape.runs, *aside),
        read_in_training=tuple(in_training),
        transposed=tuple(name for name in transposed if name not in bypassed),
        adapted={pair.linear: pair.reads_in_line for pair in part.beside} | dict(part.read_again),
        read_again=part.read_again,
        head=(size.classes, _width(shape, part)),
        extra_tokens=part.extra_tokens,
        late_tokens=part.late_tokens,
        late_read=tuple(x.name for x in shape.blocks[-1].linears) if part.late_tokens else (),
        regularisers=method.regularisers,
        keep_head=part.keep_head,
        groups=(*method.groups, "head"),
        block_paths=tuple(block.name for block in shape.blocks),
        features=part.features,
        levels=_levels(shape, part),
        head_kind=part.head,
        side=side,
        stored_read=tuple(name for name in stored if name not in bypassed),
        observed=shape.hidden_size * states,
        outputs=sum(tensors[name].shape[0] for name in passed),
        resumes=part.resumes,
        low_rank=part.low_rank,
        off_chip=part.off_chip,
        kept_weights=_kept(method.name, part, backbone),
        **_work(shape, size, part, need),
    )
    return _away_from_the_chip(plan) if part.off_chip else plan


def _kept(method: str, part: Part, backbone: Mapping[str, Matrix]) -> dict[str, int]:
    """Numbers that are kept of each matrix of which some are pruned."""
    found = {}
    for name, density in part.pruned.items():
        if name not in backbone or not 0 < density <= 1:
            raise ValueError(f"{method}: a share of {density} of {name} cannot be kept before a chip is programmed")
        out, width = backbone[name]
        if (kept := kept_numbers(density, out * width)) < out * width:
            found[name] = kept
    return found


def _away_from_the_chip(plan: Plan) -> Plan:
    """The plan where training multiplies digitally by what else is read from cells."""

    def products(names: Sequence[str]) -> DigitalWork:
        return matrix_forward(sum(plan.tensors[name].numbers for name in names))

    return replace(
        plan,
        read_in_training=(),
        transposed=(),
        training_work=plan.training_work + products(plan.read_in_training),
        backward_work=plan.backward_work + products(plan.transposed),
    )


def _again(part: Part) -> list[str]:
    """The linears that are read again, as often as that happens."""
    return [name for name, times in part.read_again.items() for _ in range(times)]


def _levels(shape: ModelShape, part: Part) -> tuple[int, ...]:
    """Levels of the hidden states that a side network, or else the features, are made of."""
    if part.side is not None:
        return part.side.levels
    return chosen(part.features, View(), False).levels(shape)


def _width(shape: ModelShape, part: Part) -> int:
    """Numbers of a row of features."""
    if part.side is not None:
        return chosen(part.features, View(), False).width(part.side.width, 1)
    return chosen(part.features, View(), False).width(shape.hidden_size, len(_levels(shape, part)))


def _tensors(shape: ModelShape, size: Size, part: Part) -> dict[str, TensorPlan]:
    """All tensors by name: the backbone's, those of the method, the head's."""
    group, head = "head" if part.train_head else "", require_head("this method", part.head)
    found = {x.name: TensorPlan(x.name, (x.out_features, x.in_features), Placement.NVM_FROZEN) for x in shape.linears}
    found |= {tensor.name: tensor for tensor in part.tensors}
    shapes = head.tensors(size.classes, _width(shape, part))
    return found | {
        f"head.{name}": TensorPlan(f"head.{name}", extents, group=group) for name, extents in shapes.items()
    }


def _front(shape: ModelShape, part: Part) -> Front:
    """Where the gradient ends in the first run of the blocks; in later runs it passes every block but those below."""
    if part.before_blocks:
        return Front((), (), 0, 0)
    if part.late_tokens:
        passed = replace(shape, blocks=shape.blocks[:-1])
        return Front((), passed.linears, passed.attention_numbers, 0)
    return replace(shape, runs=1).front({linear.name for linear in part.trained_linears})


def _transposed(shape: ModelShape, part: Part, read: Sequence[str]) -> list[str]:
    """The matrices that a gradient is multiplied by, named as often as that happens."""
    front = _front(shape, part)
    firsts = {linear.name for linear in front.entries}
    spared = firsts - {linear.name for linear in part.changed_inputs} | {linear.name for linear in front.beyond}
    reached = [linear.name for linear in shape.linears if linear.name not in spared]
    for pair in part.beside:
        reached += [pair.second] if pair.linear in firsts else [pair.first, pair.second]
    reached += _again(part)
    return reached + _besides(read, front.below) * (shape.runs - 1)


def _besides(names: Sequence[str], left_out: Sequence[LinearShape | BlockShape]) -> list[str]:
    """The names of matrices but those of some linears, or of those in some blocks."""
    linears = [x for part in left_out for x in (part.linears if isinstance(part, BlockShape) else (part,))]
    inside = {linear.name for linear in linears}
    return [name for name in names if name not in inside]


def _work(shape: ModelShape, size: Size, part: Part, need: BackwardNeed) -> dict[str, DigitalWork]:
    """Digital work of a forward pass in inference, one in training, and a backward pass: the method's in every run of
    the blocks, and that of attention, patches, features and head. With it what of that is the method's, and what is
    left where training goes on from stored hidden states.
    """
    numbers, side, through = shape.attention_numbers, part.side, need in (BackwardNeed.THROUGH, BackwardNeed.FULL)
    runs, hidden = (1, side.width) if side else (shape.runs, shape.hidden_size)
    late, most = replace(shape, blocks=shape.blocks[-1:]).attention_numbers, part.extra_tokens + part.late_tokens
    backbone = lengthened(attention_forward(1, numbers - late), part.extra_tokens)
    backbone += lengthened(attention_forward(1, late), most)
    if shape.patch_weights:
        backbone += patches_forward(shape.patch_weights, shape.front_tokens)
    feature, head = chosen(part.features, View(), False), require_head("this method", part.head)
    front = shape.front_tokens if shape.patch_weights else 0
    classes, width = size.classes, _width(shape, part)
    behind = head.forward_work(classes, width, size.tagged) + feature.forward_work(hidden, front)
    backward = part.backward_work.times(runs) + part.once_work
    if part.train_head:
        backward += head.backward_work(classes, width, through or side is not None, size.tagged)
    if through or side is not None:
        backward += feature.backward_work(hidden, front)
    if through:
        ends = _front(shape, part)
        skipped = ends.skipped + (shape.runs - 1) * ends.skipped_again
        backward += lengthened(attention_backward(1, numbers - skipped, ends.spared), most)
    inference = part.inference_work.times(runs)
    training = inference if part.training_work is None else part.training_work.times(runs)
    upper = replace(shape, blocks=shape.blocks[part.resumes :]).attention_numbers if part.resumes else 0
    again = attention_forward(1, upper) if part.resumes else NO_WORK
    return {
        "inference_work": backbone + behind + inference,
        "training_work": backbone + behind + training,
        "backward_work": backward,
        "own_work": inference,
        "stored_work": again + behind + training if side or part.resumes else NO_WORK,
    }
