"""What a method trains, reads and computes on a model of given shapes: no weights, no torch.

A method says what it adds to a backbone (`Part`); `completing.py` puts backbone, head and attention around that. Counts
of parameters, cells and events follow from the `Plan`, and the built adaptation is held against it (`attaching.py`).
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from ..errors import UsageError
from ..workloads.shapes import LinearShape, ModelShape, Role
from .beside import Beside, LowRank
from .costs import DigitalWork
from .formats import NumberFormat
from .placement import BackwardNeed, Placement
from .recipes import Recipe
from .regularisers import Regulariser

NO_WORK = DigitalWork()
TEXT_SPECIAL_TOKENS = 2
"""Special tokens around one text in BERT ([CLS] text [SEP]) and RoBERTa (<s> text </s>); an image has one."""

Matrix = tuple[int, int]
"""Shape (out, in)."""


@dataclass(frozen=True)
class PoolShape:
    """The LoRA modules of a pool: ranks of the modules for each linear that it adapts, by the linear's name."""

    ranks: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Size:
    """What a plan depends on beside the model and the method's options.

    classes of the task; rank of each of the LoRA `modules` in a pool that adapts queries and values, or a `pool` of
    another make. special_tokens: of one example, where it is not what one text or image has. tagged: every word is
    classified.
    """

    classes: int = 2
    rank: int = 16
    modules: int = 6
    pool: PoolShape | None = None
    special_tokens: int | None = None
    tagged: bool = False

    def special_tokens_of(self, shape: ModelShape) -> int:
        """Special tokens of one example."""
        own = min(1, shape.front_tokens) if shape.patch_weights else TEXT_SPECIAL_TOKENS
        return own if self.special_tokens is None else self.special_tokens

    def pool_of(self, shape: ModelShape) -> dict[LinearShape, tuple[int, ...]]:
        """Ranks of the pool's modules for each linear that it adapts."""
        if self.pool is None:
            return dict.fromkeys(target_linears(shape), (self.rank,) * self.modules)
        known = {linear.name: linear for linear in shape.linears}
        return {known[name]: ranks for name, ranks in self.pool.ranks.items()}


@dataclass(frozen=True)
class TensorPlan:
    """One tensor: where it lives, and the group of the optimiser that trains it ("": it is not trained). `of_pool`: its
    values are those of a pool's matrices, side by side. `slice_axis`: 0 where its rows take turns, 1 where its columns
    do, so that a step changes one of them alone (`turns.Turns`); None: a step changes all of it. `changing`: of its
    numbers in cells, those that a write may change; None for all. `read_while_trained`: before a write of NVM_TASK, its
    cells are read as they are, and what has changed since the last write is added digitally; else the matrix is
    multiplied digitally until it is written. `from_state`: what its cells hold follows from the state alone, and not
    from what they held before.
    """

    name: str
    shape: tuple[int, ...]
    placement: Placement = Placement.DIGITAL
    group: str = ""
    of_pool: bool = False
    slice_axis: int | None = None
    changing: int | None = None
    read_while_trained: bool = False
    from_state: bool = False

    @property
    def in_cells(self) -> bool:
        return self.placement is not Placement.DIGITAL

    @property
    def written(self) -> bool:
        """Whether its cells are rewritten. One that is written without being trained itself (no `group`) holds what
        follows from the state (`Built.holds`).
        """
        return self.in_cells and self.placement is not Placement.NVM_FROZEN

    @property
    def rewritable(self) -> int:
        """How many of its numbers a write may change."""
        return self.numbers if self.changing is None else self.changing

    @property
    def changing_share(self) -> float:
        """What share of its numbers that is."""
        return self.rewritable / self.numbers

    @property
    def in_state(self) -> bool:
        """Whether it belongs to the state of an adaptation: what is trained, and what is held beside it."""
        return bool(self.group) or not self.in_cells

    @property
    def numbers(self) -> int:
        total = 1
        for extent in self.shape:
            total *= extent
        return total


@dataclass(frozen=True)
class Side:
    """A network beside the backbone. The gradient of a method stays in it (`BackwardNeed.SIDE`), or goes on from it
    into the backbone (`THROUGH`).

    levels: the hidden states that it takes (`blocks.Levels`). width: numbers of what it puts out. read: its matrices in
    cells, by name, as often as a token is multiplied by each; transposed: those whose transposed matrix is read in a
    backward pass. line: how many of `read` follow one another behind the backbone's last block, cut where all tokens
    are waited for; () where none of them waits, and all follow one another. outputs: numbers of a token that it keeps
    for its own backward pass, beside the hidden states that it takes; outputs_once: those of a sequence, whatever its
    length. Its digital work stands in the part.

    cached: training observes the backbone once for each example, and every step goes on from the hidden states that
    were stored, at half precision in the account of energy. With exact reads nothing else changes. On a noisy chip the
    states are those of the first read, whose noise is then the same in every epoch (`training.sources.StoredStates`);
    and images are seen as they are tested, not cropped at random.
    """

    levels: tuple[int, ...]
    width: int
    read: tuple[str, ...] = ()
    transposed: tuple[str, ...] = ()
    line: tuple[int, ...] = ()
    outputs: int = 0
    outputs_once: int = 0
    cached: bool = False

    @property
    def behind(self) -> tuple[int, ...]:
        """Its reads of a token, one after another, that come on top of the backbone's; cut as `line` is."""
        return self.line or ((len(self.read),) if self.read else ())


@dataclass(frozen=True)
class Part:
    """What a method adds to a backbone.

    tensors: all but head and frozen backbone, in order; a backbone matrix that the method trains is among them.
    beside: matrices in cells that run beside backbone linears; several linears may share them. read_again: backbone
    linears, by name, that a token is multiplied by more than once, and how often beyond that: each time with another
    input, which comes from something trained. before_blocks: something is trained in front of the
    first block, so that its first matrices need a gradient too. trained_linears: the linears that the method trains or
    changes otherwise; changed_inputs: those of them that get something trained in place of their inputs. extra_tokens:
    that it adds to every sequence; late_tokens: that it adds in front of the last block alone, where the gradient then
    ends. training_work: of a forward pass in training, where it is not that of inference. The
    work is that of one run of each block; where blocks run again, it is done again (but for a side network's).
    once_work: of a backward pass, done once however often blocks run.
    keep_head: training goes on from the head as it is built, not from class means. features: what the head sees
    (`features.FEATURES`), "" for what the model is made for; head: which one (`heads.HEADS`). side: a network beside
    the backbone. low_rank: the trained pairs whose ranks may be given up, wherever they live.

    resumes: of a method that changes nothing in so many of the lowest blocks: training reads these once for each
    example, stores what enters the next block, and every step goes on from there. What `Side.cached` says of noise and
    images holds. 0: every step reads every block.

    off_chip: training reads no cell; all its products are those of a digital unit with its own copy of the weights
    (`attaching.Built.training_reader`).

    pruned: backbone linears whose smallest weights are zero before the chip is programmed, by name, and the share of
    the weights of each that is kept (`pruning`).
    """

    tensors: tuple[TensorPlan, ...] = ()
    beside: tuple[Beside, ...] = ()
    before_blocks: bool = False
    trained_linears: Collection[LinearShape] = ()
    changed_inputs: Collection[LinearShape] = ()
    extra_tokens: int = 0
    late_tokens: int = 0
    inference_work: DigitalWork = NO_WORK
    training_work: DigitalWork | None = None
    backward_work: DigitalWork = NO_WORK
    once_work: DigitalWork = NO_WORK
    train_head: bool = True
    keep_head: bool = False
    features: str = ""
    head: str = "linear"
    side: Side | None = None
    low_rank: tuple[LowRank, ...] = ()
    read_again: Mapping[str, int] = field(default_factory=dict)
    resumes: int = 0
    off_chip: bool = False
    pruned: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """A method under one placement on one model.

    tensors: all, by name. backbone: names of its matrices. read: matrices that a token is multiplied by, named as often
    as that happens; read_in_training: those read through the cells while training; transposed: those whose transposed
    matrix is read in a backward pass. adapted: how many more products follow one another at a backbone linear, for
    those that have two beside them or behind, or that are read again (read_again: how often). late_read: the matrices
    that a late token is multiplied by. block_paths: of the Transformer blocks, which names of tensors begin with. head:
    (classes, width) of the head that `head_kind` names, on `features` of the hidden states at `levels`. own_work:
    digital work of a forward pass that the method adds. stored_work, stored_read: digital work, and reads of a token,
    of a forward pass in training that goes on from stored hidden states (`Side.cached`, `Part.resumes`); observed:
    numbers of those, for a token. outputs: numbers of a token that the matrices put out where a gradient comes by, as
    often as it is multiplied by them. kept_weights: of matrices that are pruned, how many numbers of each the chip is
    programmed with.
    """

    method: str
    placement: Placement
    backward_need: BackwardNeed
    recipe: Recipe
    tensors: Mapping[str, TensorPlan]
    backbone: tuple[str, ...]
    read: tuple[str, ...]
    read_in_training: tuple[str, ...]
    transposed: tuple[str, ...]
    adapted: Mapping[str, int]
    inference_work: DigitalWork
    training_work: DigitalWork
    backward_work: DigitalWork
    head: Matrix
    extra_tokens: int = 0
    late_tokens: int = 0
    late_read: tuple[str, ...] = ()
    regularisers: tuple[Regulariser, ...] = ()
    keep_head: bool = False
    groups: tuple[str, ...] = field(default=())
    block_paths: tuple[str, ...] = ()
    features: str = ""
    levels: tuple[int, ...] = (-1,)
    head_kind: str = "linear"
    own_work: DigitalWork = NO_WORK
    side: Side | None = None
    stored_work: DigitalWork = NO_WORK
    stored_read: tuple[str, ...] = ()
    observed: int = 0
    low_rank: tuple[LowRank, ...] = ()
    read_again: Mapping[str, int] = field(default_factory=dict)
    outputs: int = 0
    resumes: int = 0
    off_chip: bool = False
    kept_weights: Mapping[str, int] = field(default_factory=dict)

    def by_density(self, names: Iterable[str]) -> dict[float, list[str]]:
        """Names of matrices in cells, as often as they are given, by the share of their weights that is kept."""
        found: dict[float, list[str]] = {}
        for name in names:
            numbers = self.tensors[name].numbers
            found.setdefault(self.kept_weights.get(name, numbers) / numbers, []).append(name)
        return found

    @property
    def gradient(self) -> BackwardNeed:
        """How far a gradient travels in a training by the recipe."""
        return self.backward_need if self.recipe.optimiser.by_gradient else BackwardNeed.NONE

    @property
    def cached(self) -> bool:
        """Whether training goes on from hidden states that were stored."""
        return self.resumes > 0 or (self.side is not None and self.side.cached)

    @property
    def kept_outputs(self) -> int:
        """Numbers of a token that training keeps for the backward pass: what the matrices put out that a gradient
        reaches, with the hidden states that they go on from; or, with a side network, what it takes and what it keeps
        itself.
        """
        own = self.side.outputs if self.side is not None else 0
        if self.backward_need is BackwardNeed.SIDE:
            return self.observed + own
        reached = self.backward_need in (BackwardNeed.THROUGH, BackwardNeed.FULL)
        return self.observed + self.outputs + own if reached else 0

    @property
    def kept_once(self) -> int:
        """Numbers of a sequence, whatever its length, that training keeps as well: those that a side network makes of
        all tokens, and those of late tokens, which only what a gradient reaches puts out.
        """
        return (self.side.outputs_once if self.side is not None else 0) + self.late_tokens * self.outputs

    @property
    def matrices(self) -> dict[str, Matrix]:
        """All matrices in cells by name."""
        return {name: (t.shape[0], t.shape[1]) for name, t in self.tensors.items() if t.in_cells}

    @property
    def extra(self) -> dict[str, Matrix]:
        """Those beside the backbone's."""
        backbone = set(self.backbone)
        return {name: shape for name, shape in self.matrices.items() if name not in backbone}

    @property
    def rewritten(self) -> tuple[str, ...]:
        """Those that the method writes."""
        return tuple(name for name, tensor in self.tensors.items() if tensor.written)

    def stepped(self, name: str) -> Matrix:
        """The shape of what a step changes of a matrix in cells."""
        (out, width), axis = self.matrices[name], self.tensors[name].slice_axis
        return (1 if axis == 0 else out, 1 if axis == 1 else width)

    @property
    def moving(self) -> list[TensorPlan]:
        """What the optimiser changes: the trained tensors whose rate in the recipe is above 0."""
        rates = self.recipe.learning_rates
        return [tensor for tensor in self.tensors.values() if tensor.group and rates.get(tensor.group, 1.0) > 0]

    @property
    def waiting(self) -> tuple[str, ...]:
        """The matrices beside the backbone that are trained in their cells and wait for hooks with their first write:
        until the first step they are held digitally.
        """
        waits = any(hook.before_first_write for hook in self.recipe.hooks) and self.placement is Placement.NVM_STEP
        return tuple(name for name in self.rewritten if name in self.extra) if waits else ()

    @property
    def moving_numbers(self) -> int:
        return sum(tensor.numbers for tensor in self.moving)

    @property
    def state_numbers(self) -> int:
        """Numbers of the state, the head's included."""
        return sum(tensor.numbers for tensor in self.tensors.values() if tensor.in_state)

    @property
    def directions(self) -> int:
        """Directions that a step without a backward pass goes along."""
        return self.recipe.optimiser.direction_count([t.name for t in self.moving], self.block_paths)

    @property
    def optimiser_macs(self) -> int:
        """Multiplications of one step of the recipe's optimiser and hooks."""
        return self.recipe.macs(self.moving_numbers)

    @property
    def state_bytes(self) -> int:
        """Float32 bytes of the state and of what training by the recipe keeps of it."""
        return 4 * (self.state_numbers + self.recipe.kept(self.moving_numbers))

    @property
    def format(self) -> NumberFormat:
        """The format of digital numbers."""
        return self.recipe.format

    @property
    def moment_bytes(self) -> int:
        """Of `state_bytes`, what the optimiser and hooks keep beside the state."""
        return 4 * self.recipe.kept(self.moving_numbers)

    @property
    def copied_numbers(self) -> int:
        """Numbers of the frozen matrices of which training away from the chip holds a copy."""
        cells = (tensor.numbers for tensor in self.tensors.values() if tensor.in_cells and not tensor.in_state)
        return sum(cells) if self.off_chip else 0

    @property
    def digital_numbers(self) -> int:
        """Numbers that are not in cells once the method is trained."""
        return sum(tensor.numbers for tensor in self.tensors.values() if not tensor.in_cells)

    @property
    def held_numbers(self) -> int:
        """Numbers of the frozen matrices whose cells hold something else that follows from the state: they themselves
        have to be held digitally while the method is trained.
        """
        following = [tensor for tensor in self.tensors.values() if tensor.written and not tensor.group]
        return sum(tensor.numbers for tensor in following if not tensor.from_state)

    @property
    def l1_names(self) -> tuple[str, ...]:
        """Names of the tensors that the recipe's `l1` weighs: a bundle's manifest has them."""
        groups = {regulariser.group for regulariser in self.regularisers if regulariser.name == "l1"}
        return tuple(name for name, tensor in self.tensors.items() if tensor.group in groups)

    @property
    def head_numbers(self) -> int:
        return sum(tensor.numbers for name, tensor in self.tensors.items() if name.startswith("head."))

    @property
    def trained_head_numbers(self) -> int:
        """Those of them that are trained."""
        return sum(t.numbers for name, t in self.tensors.items() if name.startswith("head.") and t.group)

    @property
    def trained_by_group(self) -> dict[str, int]:
        """Numbers that are trained, without the head, by group."""
        found: dict[str, int] = {}
        for tensor in self.tensors.values():
            if tensor.group and tensor.group != "head":
                found[tensor.group] = found.get(tensor.group, 0) + tensor.numbers
        return found


DEFAULT_TARGETS: tuple[Role, ...] = ("query", "value")
"""The linear layers that low-rank methods adapt unless told otherwise, by role."""


def target_linears(shape: ModelShape, roles: Collection[str] = DEFAULT_TARGETS) -> tuple[LinearShape, ...]:
    """The linear layers of a shape that have one of the roles, cross attention and joint projections included.

    Raises:
        UsageError: there are none.
    """
    found = shape.with_roles(roles)
    if not found:
        raise UsageError(f"model {shape.name!r} has no linear layer that is {' or '.join(sorted(roles))}")
    return found


def first_of(linears: Collection[LinearShape], shape: ModelShape) -> list[LinearShape]:
    """Those of the linears, which are trained or changed, whose inputs come from what is frozen and need no gradient.

    None where blocks run again: all but the first of their runs need one.
    """
    return [linear for linear in shape.front({x.name for x in linears}).entries if linear in linears]
