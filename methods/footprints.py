"""What a method reads, writes and computes on a model of given shapes: no weights, no torch.

A method has a footprint when it stands in `FOOTPRINTS`; `tests/studies/test_count.py` holds each against the events of
a simulated run of the method itself.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..errors import UsageError, unknown_name
from ..workloads.shapes import LinearShape, ModelShape
from .costs import (
    DigitalWork,
    attention_backward,
    attention_forward,
    cross_term_norm,
    fusion_backward,
    fusion_forward,
    head_backward,
    head_forward,
    lengthened,
    matrix_forward,
    matrix_gradient,
    patches_forward,
    scale_backward,
    scale_forward,
    sum_gradient,
)
from .placement import BackwardNeed, Placement

NO_WORK = DigitalWork()
SPECIAL_TOKENS = 2  # of a text; an image has one
PROMPTS, VISUAL_PROMPTS = 8, 10  # the defaults of `prompt-tuning`, and of `vpt` and `vpt-shallow`
IMAGE_EPOCHS = {"probe": 8, "vpt": 10, "vpt-shallow": 10, "lora": 10}  # where they are others than for texts
IMAGE_HEAD_SHRINKAGE = 0.5
Matrix = tuple[int, int]
"""Shape (out, in)."""


@dataclass(frozen=True)
class Size:
    """What a footprint depends on beside the model: classes of the task, rank of the low-rank matrices (None: the
    method's own), LoRA modules in the pool.
    """

    classes: int = 2
    rank: int | None = None
    modules: int = 6


@dataclass(frozen=True)
class Footprint:
    """A method under one placement on one model.

    backbone, extra: matrices in cells by name. rewritten: those of either that the method writes. read: those that a
    token is multiplied by, named as often as that happens; read_in_training: those read through the cells while
    training; transposed: those whose transposed matrix is read in a backward pass. adapted: backbone linears that two
    more products, one after the other, run beside. trained, state: numbers that the optimiser changes, and all numbers
    of the state, the head's included. epochs, head_shrinkage: of the method's recipe for what the model reads.
    extra_tokens: that it adds to every sequence.
    """

    method: str
    placement: Placement
    backward_need: BackwardNeed
    backbone: Mapping[str, Matrix]
    extra: Mapping[str, Matrix]
    rewritten: tuple[str, ...]
    read: tuple[str, ...]
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
    extra_tokens: int
    head_shrinkage: float

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
class _Beside:
    """Two matrices in cells, one after the other, beside a backbone linear: their names."""

    linear: str
    first: str
    second: str


@dataclass(frozen=True)
class _Plan:
    """What differs between methods; `footprint` adds backbone, attention and head.

    trained: numbers beside the head. held: numbers of the state that are not trained. extra: matrices in cells, read
    as `beside` says. before_blocks: something is trained in front of the first block, so that its first matrices need
    a gradient too. trained_linears: the linears that the method trains or changes otherwise.
    """

    epochs: int = 8
    backward_need: BackwardNeed = BackwardNeed.THROUGH
    trained: int = 0
    held: int = 0
    extra: Mapping[str, Matrix] = field(default_factory=dict)
    beside: tuple[_Beside, ...] = ()
    rewritten: tuple[str, ...] = ()
    before_blocks: bool = False
    trained_linears: Collection[LinearShape] = ()
    extra_tokens: int = 0
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
    through = plan.backward_need in (BackwardNeed.THROUGH, BackwardNeed.FULL)
    firsts = set() if plan.before_blocks else {linear.name for linear in shape.entries}
    read = [*backbone, *(name for pair in plan.beside for name in (pair.first, pair.second))]
    reached = [name for name in backbone if name not in firsts]
    for pair in plan.beside:
        reached += [pair.second] if pair.linear in firsts else [pair.first, pair.second]
    bypassed = set(plan.rewritten) if placement is Placement.NVM_TASK else set()
    widths = shape.attention_numbers
    hidden, classes = shape.hidden_size, size.classes
    forward = lengthened(attention_forward(1, widths), plan.extra_tokens) + head_forward(hidden, classes)
    if shape.patch_weights:
        forward += patches_forward(shape.patch_weights, shape.front_tokens)
    backward = plan.backward_work
    if plan.train_head:
        backward += head_backward(hidden, classes, through)
    if through:
        spared = 0 if plan.before_blocks else shape.spared({linear.name for linear in plan.trained_linears})
        backward += lengthened(attention_backward(1, widths, spared), plan.extra_tokens)
    head = classes * (hidden + 1)
    return Footprint(
        method=method,
        placement=placement,
        backward_need=plan.backward_need,
        backbone=backbone,
        extra=plan.extra,
        rewritten=plan.rewritten,
        read=tuple(read),
        read_in_training=tuple(name for name in read if name not in bypassed),
        transposed=tuple(name for name in reached if name not in bypassed) if through else (),
        adapted=tuple(pair.linear for pair in plan.beside),
        inference_work=forward + plan.inference_work,
        training_work=forward + (plan.inference_work if plan.training_work is None else plan.training_work),
        backward_work=backward,
        trained=plan.trained + (head if plan.train_head else 0),
        state=plan.trained + plan.held + head,
        head=(classes, hidden),
        epochs=IMAGE_EPOCHS.get(method, plan.epochs) if shape.patch_weights else plan.epochs,
        extra_tokens=plan.extra_tokens,
        head_shrinkage=IMAGE_HEAD_SHRINKAGE if shape.patch_weights else 1.0,
    )


def placements(method: str) -> tuple[Placement, ...]:
    """The placements of a method. Raises UsageError for one without a footprint."""
    if method not in FOOTPRINTS:
        raise UsageError(unknown_name("method that can be counted", method, FOOTPRINTS))
    return FOOTPRINTS[method][0]


def fitting(shape: ModelShape) -> list[str]:
    """The methods for what the model reads, texts or images."""
    others = ("prompt-tuning",) if shape.patch_weights else ("vpt", "vpt-shallow")
    return [name for name in FOOTPRINTS if name not in others]


def _first_targets(shape: ModelShape) -> list[LinearShape]:
    """Those of `_targets` that the embeddings go into."""
    return [linear for linear in shape.entries if linear in _targets(shape)]


def _frozen(shape: ModelShape, placement: Placement, size: Size) -> _Plan:
    return _Plan(epochs=0, backward_need=BackwardNeed.NONE, train_head=False)


def _probe(shape: ModelShape, placement: Placement, size: Size) -> _Plan:
    return _Plan(epochs=4, backward_need=BackwardNeed.NONE)


def _lora(shape: ModelShape, placement: Placement, size: Size) -> _Plan:
    rank = size.rank or 16
    pairs = _pairs(_targets(shape), "lora_a", "lora_b")
    matrices: dict[str, Matrix] = {}
    for linear, pair in zip(_targets(shape), pairs, strict=True):
        matrices[pair.first], matrices[pair.second] = (rank, linear.in_features), (linear.out_features, rank)
    weights = sum(out * inputs for out, inputs in matrices.values())
    digital, in_cells = matrix_forward(weights), placement is not Placement.DIGITAL
    by_step = placement is Placement.NVM_STEP
    passed = matrix_forward(weights - rank * sum(linear.in_features for linear in _first_targets(shape)))
    return _Plan(
        trained=weights,
        trained_linears=_targets(shape),
        extra=matrices if in_cells else {},
        beside=pairs if in_cells else (),
        rewritten=tuple(matrices) if in_cells else (),
        inference_work=NO_WORK if in_cells else digital,
        training_work=NO_WORK if by_step else digital,
        backward_work=matrix_gradient(weights) + (NO_WORK if by_step else passed),
    )


def _lorafusion(shape: ModelShape, placement: Placement, size: Size, before_blocks: bool = False) -> _Plan:
    firsts = [] if before_blocks else _first_targets(shape)
    rank = size.rank or 16
    rows, targets = size.modules * rank, _targets(shape)
    pairs = _pairs(targets, "pool_a", "pool_b")
    matrices: dict[str, Matrix] = {}
    forward = norms = backward = NO_WORK
    for linear, pair in zip(targets, pairs, strict=True):
        matrices[pair.first], matrices[pair.second] = (rows, linear.in_features), (linear.out_features, rows)
        forward += fusion_forward(rows, linear.out_features, cross_terms=True, magnitude=True)
        needs_input = linear not in firsts
        backward += fusion_backward(rows, linear.out_features, True, magnitude=True, needs_input=needs_input)
        norms += cross_term_norm(size.modules, linear.out_features, rank)
    blocks = sum(any(linear in targets for linear in block.linears) for block in shape.blocks)
    return _Plan(
        trained=size.modules * blocks + sum(linear.out_features for linear in targets),
        before_blocks=before_blocks,
        trained_linears=targets,
        extra=matrices,
        beside=pairs,
        inference_work=forward,
        training_work=forward + norms,
        backward_work=backward,
    )


def _pool(shape: ModelShape, placement: Placement, size: Size) -> _Plan:
    fused = _lorafusion(shape, placement, size)
    return replace(
        fused, epochs=0, backward_need=BackwardNeed.NONE, trained=0, held=fused.trained, backward_work=NO_WORK,
        train_head=False,
    )  # fmt: skip


def _vera(shape: ModelShape, placement: Placement, size: Size) -> _Plan:
    rank, targets = size.rank or 256, _targets(shape)
    matrices: dict[str, Matrix] = {}
    pairs = []
    for linear in targets:
        pair = _Beside(linear.name, f"vera.a.{linear.in_features}", f"vera.b.{linear.out_features}")
        matrices[pair.first], matrices[pair.second] = (rank, linear.in_features), (linear.out_features, rank)
        pairs.append(pair)
    numbers = sum(rank + linear.out_features for linear in targets)
    return _Plan(
        trained=numbers,
        trained_linears=targets,
        extra=matrices,
        beside=tuple(pairs),
        inference_work=scale_forward(numbers),
        backward_work=scale_backward(numbers, rank * len(_first_targets(shape))),
    )


def _full(shape: ModelShape, placement: Placement, size: Size) -> _Plan:
    by_task = placement is Placement.NVM_TASK
    passed = shape.weights - sum(linear.out_features * linear.in_features for linear in shape.entries)
    return _Plan(
        backward_need=BackwardNeed.FULL,
        trained=shape.weights + _biases(shape),
        trained_linears=shape.linears,
        rewritten=tuple(linear.name for linear in shape.linears),
        training_work=matrix_forward(shape.weights) if by_task else NO_WORK,
        backward_work=(matrix_forward(passed) if by_task else NO_WORK) + matrix_gradient(shape.weights),
    )


def _bitfit(shape: ModelShape, placement: Placement, size: Size) -> _Plan:
    numbers = _biases(shape) + (shape.norms * shape.hidden_size if shape.norm_bias else 0)
    linears = [linear for linear in shape.linears if linear.bias]
    return _Plan(
        trained=numbers,
        before_blocks=shape.norm_bias,
        trained_linears=linears,
        backward_work=sum_gradient(numbers),
    )


def _ln_tuning(shape: ModelShape, placement: Placement, size: Size) -> _Plan:
    gains = shape.norms * shape.hidden_size
    biases = gains if shape.norm_bias else 0
    work = matrix_gradient(gains) + sum_gradient(biases)
    return _Plan(trained=gains + biases, before_blocks=True, backward_work=work)


def _ia3(shape: ModelShape, placement: Placement, size: Size) -> _Plan:
    scaled = shape.with_roles(("key", "value"))
    numbers = sum(linear.out_features for linear in scaled)
    numbers += sum(linear.in_features for linear in shape.linears if linear.role == "ffn_down")
    spared = sum(linear.out_features for linear in shape.entries if linear in scaled)
    return _Plan(
        trained=numbers,
        trained_linears=scaled,
        inference_work=scale_forward(numbers),
        backward_work=scale_backward(numbers, spared),
    )


def _pasta(shape: ModelShape, placement: Placement, size: Size) -> _Plan:
    numbers = (1 if shape.patch_weights else SPECIAL_TOKENS) * len(shape.blocks) * shape.hidden_size
    return _Plan(trained=numbers, before_blocks=True, backward_work=sum_gradient(numbers))


def _pasta_lorafusion(shape: ModelShape, placement: Placement, size: Size) -> _Plan:
    vectors, fused = _pasta(shape, placement, size), _lorafusion(shape, placement, size, before_blocks=True)
    work = fused.backward_work + vectors.backward_work
    return replace(fused, trained=fused.trained + vectors.trained, backward_work=work)


def _prompt_tuning(shape: ModelShape, placement: Placement, size: Size) -> _Plan:
    if shape.patch_weights:
        raise UsageError(f"prompt-tuning is for models of texts, and {shape.name} reads images; take vpt")
    numbers = PROMPTS * shape.hidden_size
    return _Plan(trained=numbers, before_blocks=True, extra_tokens=PROMPTS, backward_work=sum_gradient(numbers))


def _vpt(shape: ModelShape, placement: Placement, size: Size) -> _Plan:
    return _visual_prompts(shape, len(shape.blocks))


def _vpt_shallow(shape: ModelShape, placement: Placement, size: Size) -> _Plan:
    return _visual_prompts(shape, 1)


def _visual_prompts(shape: ModelShape, blocks: int) -> _Plan:
    if not shape.patch_weights:
        raise UsageError(f"visual prompts are for models of images, and {shape.name} reads texts; take prompt-tuning")
    numbers = blocks * VISUAL_PROMPTS * shape.hidden_size
    return _Plan(trained=numbers, before_blocks=True, extra_tokens=VISUAL_PROMPTS, backward_work=sum_gradient(numbers))


def _targets(shape: ModelShape) -> list[LinearShape]:
    return list(shape.with_roles(("query", "value")))


def _biases(shape: ModelShape) -> int:
    return sum(linear.out_features for linear in shape.linears if linear.bias)


def _pairs(linears: Sequence[LinearShape], first: str, second: str) -> tuple[_Beside, ...]:
    return tuple(_Beside(x.name, f"{x.name}.{first}", f"{x.name}.{second}") for x in linears)


_DIGITAL = (Placement.DIGITAL,)
FOOTPRINTS: Mapping[str, tuple[tuple[Placement, ...], Callable[[ModelShape, Placement, Size], _Plan]]] = {
    "frozen": (_DIGITAL, _frozen),
    "probe": (_DIGITAL, _probe),
    "pool": (_DIGITAL, _pool),
    "lorafusion": (_DIGITAL, _lorafusion),
    "lora": ((Placement.NVM_STEP, Placement.NVM_TASK, Placement.DIGITAL), _lora),
    "vera": (_DIGITAL, _vera),
    "bitfit": (_DIGITAL, _bitfit),
    "ln-tuning": (_DIGITAL, _ln_tuning),
    "ia3": (_DIGITAL, _ia3),
    "pasta": (_DIGITAL, _pasta),
    "pasta+lorafusion": (_DIGITAL, _pasta_lorafusion),
    "prompt-tuning": (_DIGITAL, _prompt_tuning),
    "vpt": (_DIGITAL, _vpt),
    "vpt-shallow": (_DIGITAL, _vpt_shallow),
    "full": ((Placement.NVM_TASK, Placement.NVM_STEP), _full),
}
"""Name of a method -> the placements it offers, and its plan. Options of a method have their defaults."""
