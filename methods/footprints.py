"""What a method reads, writes and computes on a model of given shapes: no weights, no torch.

A method has a footprint when it stands in `FOOTPRINTS`; `tests/studies/test_count.py` holds each against the events of
a simulated run of the method itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..errors import UsageError, unknown_name
from ..workloads.shapes import BlockShape, LinearShape, ModelShape
from .costs import (
    DigitalWork,
    attention_backward,
    attention_forward,
    cross_term_norm,
    fusion_backward,
    fusion_forward,
    head_backward,
    head_forward,
    matrix_forward,
    matrix_gradient,
)
from .placement import BackwardNeed, Placement

NO_WORK = DigitalWork()
Matrix = tuple[int, int]
"""Shape (out, in)."""


@dataclass(frozen=True)
class Size:
    """What a footprint depends on beside the model: classes of the task, rank and number of LoRA modules."""

    classes: int = 2
    rank: int = 16
    modules: int = 6


@dataclass(frozen=True)
class Footprint:
    """A method under one placement on one model.

    backbone, extra: matrices in cells by name. rewritten: those of either that the method writes. read_in_training:
    those read through the cells while training; transposed: those whose transposed matrix is read in a backward pass.
    adapted: backbone linears that two more products, one after the other, run beside. trained, state: numbers that the
    optimiser changes, and all numbers of the state, the head's included. epochs: of the method's recipe.
    """

    method: str
    placement: Placement
    backward_need: BackwardNeed
    backbone: Mapping[str, Matrix]
    extra: Mapping[str, Matrix]
    rewritten: tuple[str, ...]
    read_in_training: tuple[str, ...]
    transposed: tuple[str, ...]
    adapted: tuple[str, ...]
    inference_work: DigitalWork
    training_work: DigitalWork
    backward_work: DigitalWork
    trained: int
    state: int
    head: Matrix
    epochs: int

    @property
    def matrices(self) -> dict[str, Matrix]:
        """All matrices in cells."""
        return {**self.backbone, **self.extra}

    @property
    def outputs(self) -> int:
        """Numbers that the matrices put out for one token."""
        return sum(out for out, _ in self.matrices.values())

    @property
    def optimiser_macs(self) -> int:
        """As `Adaptation.optimiser_macs`."""
        return 8 * self.trained

    @property
    def state_bytes(self) -> int:
        """As `Adaptation.state_bytes`."""
        return 4 * (self.state + 2 * self.trained)

    @property
    def head_numbers(self) -> int:
        return self.head[0] * (self.head[1] + 1)


@dataclass(frozen=True)
class _Plan:
    """What differs between methods; `footprint` adds backbone, attention and head."""

    epochs: int
    backward_need: BackwardNeed
    trained: int = 0  # beside the head
    extra: Mapping[str, Matrix] | None = None
    seconds: tuple[str, ...] = ()  # matrices in `extra` whose input always needs a gradient
    rewritten: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()
    inference_work: DigitalWork = NO_WORK
    training_work: DigitalWork | None = None
    backward_work: DigitalWork = NO_WORK
    train_head: bool = True


def footprint(method: str, placement: Placement | None, shape: ModelShape, size: Size) -> Footprint:
    """The footprint of a method; `placement` None is the first one it offers.

    Raises:
        UsageError: a method without a footprint, or a placement that it does not offer.
    """
    offered = placements(method)
    if placement is None:
        placement = offered[0]
    if placement not in offered:
        raise UsageError(unknown_name(f"placement for {method}", str(placement), map(str, offered)))
    plan = FOOTPRINTS[method][1](shape, placement, size)
    backbone = {linear.name: (linear.out_features, linear.in_features) for linear in shape.linears}
    extra = dict(plan.extra or {})
    bypassed = set(plan.rewritten) if placement is Placement.NVM_TASK else set()
    read = tuple(name for name in (*backbone, *extra) if name not in bypassed)
    through = plan.backward_need in (BackwardNeed.THROUGH, BackwardNeed.FULL)
    first = {linear.name for linear in entries(shape)}
    without = {name for name in extra if name not in plan.seconds and name.rpartition(".")[0] in first} | first
    widths = sum(linear.out_features for linear in shape.linears if linear.role == "query")
    hidden, classes = shape.hidden_size, size.classes
    forward = attention_forward(1, widths) + head_forward(hidden, classes)
    backward = plan.backward_work
    if plan.train_head:
        backward += head_backward(hidden, classes, through)
    if through:
        backward += attention_backward(1, widths)
    head = classes * (hidden + 1)
    return Footprint(
        method=method,
        placement=placement,
        backward_need=plan.backward_need,
        backbone=backbone,
        extra=extra,
        rewritten=plan.rewritten,
        read_in_training=read,
        transposed=tuple(name for name in read if name not in without) if through else (),
        adapted=plan.adapted,
        inference_work=forward + plan.inference_work,
        training_work=forward + (plan.inference_work if plan.training_work is None else plan.training_work),
        backward_work=backward,
        trained=plan.trained + (head if plan.train_head else 0),
        state=plan.trained + head,
        head=(classes, hidden),
        epochs=plan.epochs,
    )


def placements(method: str) -> tuple[Placement, ...]:
    """The placements of a method. Raises UsageError for one without a footprint."""
    if method not in FOOTPRINTS:
        raise UsageError(unknown_name("method that can be counted", method, FOOTPRINTS))
    return FOOTPRINTS[method][0]


def entries(shape: ModelShape) -> list[LinearShape]:
    """The projections that the embeddings go into: no gradient is needed beyond them.

    The first query, key and value of the first block of every stack.
    """
    found: list[LinearShape] = []
    for block in shape.blocks:
        if _number(block) == 0:
            seen: set[str] = set()
            for linear in block.linears:
                if linear.role in ("query", "key", "value") and linear.role not in seen:
                    seen.add(linear.role)
                    found.append(linear)
    return found


def _number(block: BlockShape) -> int:
    return next((int(part) for part in block.name.split(".") if part.isdigit()), 0)


def _targets(shape: ModelShape) -> list[LinearShape]:
    return [linear for linear in shape.linears if linear.role in ("query", "value")]


def _frozen(shape: ModelShape, placement: Placement, size: Size) -> _Plan:
    return _Plan(epochs=0, backward_need=BackwardNeed.NONE, train_head=False)


def _probe(shape: ModelShape, placement: Placement, size: Size) -> _Plan:
    return _Plan(epochs=4, backward_need=BackwardNeed.NONE)


def _lora(shape: ModelShape, placement: Placement, size: Size) -> _Plan:
    matrices: dict[str, Matrix] = {}
    for linear in _targets(shape):
        matrices[f"{linear.name}.lora_a"] = (size.rank, linear.in_features)
        matrices[f"{linear.name}.lora_b"] = (linear.out_features, size.rank)
    weights = sum(out * inputs for out, inputs in matrices.values())
    digital, in_cells = matrix_forward(weights), placement is not Placement.DIGITAL
    by_step = placement is Placement.NVM_STEP
    return _Plan(
        epochs=8,
        backward_need=BackwardNeed.THROUGH,
        trained=weights,
        extra=matrices if in_cells else None,
        seconds=tuple(name for name in matrices if name.endswith("lora_b")),
        rewritten=tuple(matrices) if in_cells else (),
        adapted=tuple(linear.name for linear in _targets(shape)) if in_cells else (),
        inference_work=NO_WORK if in_cells else digital,
        training_work=NO_WORK if by_step else digital,
        backward_work=matrix_gradient(weights) + (NO_WORK if by_step else digital),
    )


def _lorafusion(shape: ModelShape, placement: Placement, size: Size) -> _Plan:
    rows = size.modules * size.rank
    matrices: dict[str, Matrix] = {}
    forward = norms = backward = NO_WORK
    targets = _targets(shape)
    for linear in targets:
        matrices[f"{linear.name}.pool_a"] = (rows, linear.in_features)
        matrices[f"{linear.name}.pool_b"] = (linear.out_features, rows)
        forward += fusion_forward(rows, linear.out_features, cross_terms=True, magnitude=True)
        backward += fusion_backward(rows, linear.out_features, cross_terms=True, magnitude=True)
        norms += cross_term_norm(size.modules, linear.out_features, size.rank)
    blocks = sum(any(linear in targets for linear in block.linears) for block in shape.blocks)
    return _Plan(
        epochs=8,
        backward_need=BackwardNeed.THROUGH,
        trained=size.modules * blocks + sum(linear.out_features for linear in targets),
        extra=matrices,
        seconds=tuple(name for name in matrices if name.endswith("pool_b")),
        adapted=tuple(linear.name for linear in targets),
        inference_work=forward,
        training_work=forward + norms,
        backward_work=backward,
    )


def _full(shape: ModelShape, placement: Placement, size: Size) -> _Plan:
    digital = matrix_forward(shape.weights) if placement is Placement.NVM_TASK else NO_WORK
    biases = sum(linear.out_features for linear in shape.linears if linear.bias)
    return _Plan(
        epochs=8,
        backward_need=BackwardNeed.FULL,
        trained=shape.weights + biases,
        rewritten=tuple(linear.name for linear in shape.linears),
        training_work=digital,
        backward_work=digital + matrix_gradient(shape.weights),
    )


FOOTPRINTS: Mapping[str, tuple[tuple[Placement, ...], Callable[[ModelShape, Placement, Size], _Plan]]] = {
    "frozen": ((Placement.DIGITAL,), _frozen),
    "probe": ((Placement.DIGITAL,), _probe),
    "lorafusion": ((Placement.DIGITAL,), _lorafusion),
    "lora": ((Placement.NVM_STEP, Placement.NVM_TASK, Placement.DIGITAL), _lora),
    "full": ((Placement.NVM_TASK, Placement.NVM_STEP), _full),
}
"""Name of a method -> the placements it offers, and its plan."""
