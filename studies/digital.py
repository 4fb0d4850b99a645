"""Events of the digital unit and its SRAM in one adaptation and in one answer, for simulated runs and for counts."""

from collections.abc import Collection, Mapping
from typing import Protocol

from ..methods.costs import ACTIVATION_BYTES, NUMBER_BYTES, DigitalWork, lengthened, matrix_forward
from ..methods.formats import DEFAULT, FORMATS, NumberFormat
from ..methods.plan import Plan
from ..simulator import EventCounts
from ..simulator.memories import WorkingSets


class Size(Protocol):
    """How much went through the model: `methods.training.run.PassSize` has it."""

    @property
    def tokens(self) -> int: ...
    @property
    def attention_pairs(self) -> int: ...
    @property
    def sequences(self) -> int: ...
    @property
    def passes(self) -> int: ...
    @property
    def batches(self) -> Mapping[tuple[int, ...], int]: ...


class Worker(Protocol):
    """What a method's digital part needs: `methods.plan.Plan` has it."""

    @property
    def inference_work(self) -> DigitalWork: ...
    @property
    def training_work(self) -> DigitalWork: ...
    @property
    def backward_work(self) -> DigitalWork: ...
    @property
    def extra_tokens(self) -> int: ...
    @property
    def stored_work(self) -> DigitalWork: ...
    @property
    def kept_outputs(self) -> int: ...
    @property
    def kept_once(self) -> int: ...
    @property
    def observed(self) -> int: ...
    @property
    def optimiser_macs(self) -> int: ...
    @property
    def state_bytes(self) -> int: ...
    @property
    def moment_bytes(self) -> int: ...
    @property
    def moving_numbers(self) -> int: ...
    @property
    def format(self) -> NumberFormat: ...


def _add_work(
    counts: EventCounts, form: NumberFormat, work: DigitalWork, size: Size, passes: int | None = None
) -> None:
    """Add the multiply-adds and bytes of digital work in a format; `passes`: default those of the size."""
    times = size.passes if passes is None else passes
    flow = work.flow_bytes(size.tokens, size.sequences)
    held = work.sram_bytes(size.tokens, size.sequences, times) - flow
    flowing = form.activation_bytes * flow / ACTIVATION_BYTES
    _add_macs(counts, form, work.macs(size.tokens, size.attention_pairs, size.sequences, times))
    counts.flow_bytes += flowing
    counts.sram_bytes += flowing + form.bytes * held / NUMBER_BYTES


def _add_macs(counts: EventCounts, form: NumberFormat, macs: float) -> None:
    setattr(counts, form.macs, getattr(counts, form.macs) + macs)


def training_events(
    worker: Worker,
    head: tuple[int, int],
    forward: Size,
    trained: Size,
    steps: int,
    head_sequences: int,
    by_gradient: bool = True,
    stored: tuple[Size, Size] | None = None,
) -> EventCounts:
    """One adaptation.

    head: (classes, width) of the classifier. forward: what passed the model forward only; trained: forward and
    backward. head_sequences: rows of stored features that a method which trains only the head went through;
    `by_gradient`: forward and backward. stored: what went on from hidden states that `forward` stored, forward only,
    and forward and backward.
    """
    counts, form = EventCounts(), worker.format
    done = [(worker.training_work, forward), (worker.training_work, trained), (worker.backward_work, trained)]
    if stored is not None:
        only, both = stored
        done += [(worker.stored_work, only), (worker.stored_work, both), (worker.backward_work, both)]
        # Hidden states are kept once, and fetched by every pass; the backward pass fetches them again.
        behind = worker.kept_outputs * both.tokens + worker.kept_once * both.sequences
        kept = worker.observed * (forward.tokens + only.tokens) + 2 * behind
        counts.kept_bytes += form.activation_bytes * kept
    for work, size in done:
        _add_work(counts, form, work, size)
    classes, width = head
    if head_sequences:
        _add_macs(counts, form, (2 if by_gradient else 1) * head_sequences * classes * width)
        # The features are kept once and read in every step.
        counts.feature_bytes += form.bytes * width * (forward.sequences + head_sequences)
    # AdamW reads and writes state and moments every step; activations are kept once and read back once.
    counts.digital_macs += worker.optimiser_macs * steps
    counts.sram_bytes += 2 * worker.state_bytes * steps
    if form.copied:  # the optimiser keeps fp32, and writes the copy that products take
        counts.sram_bytes += form.bytes * worker.moving_numbers * steps
    tokens = trained.tokens + worker.extra_tokens * trained.sequences
    kept = worker.kept_outputs * tokens + worker.kept_once * trained.sequences
    counts.kept_bytes += 2 * form.activation_bytes * kept
    counts.moment_bytes += 2 * worker.moment_bytes * steps
    counts.sram_bytes += counts.kept_bytes + counts.feature_bytes
    return counts


def early_events(plan: Plan, waiting: Collection[str], forward: Size, trained: Size) -> EventCounts:
    """What the digital unit does before the first step in the place of matrices that wait for their first write
    (`Plan.waiting`): their products in what passed the model forward only, and forward and backward, by then.
    """
    counts = EventCounts()
    read, behind = (
        sum(plan.tensors[name].numbers for name in names if name in waiting)
        for names in (plan.read_in_training, plan.transposed)
    )
    for numbers, size in ((read, forward), (read, trained), (behind, trained)):
        _add_work(counts, plan.format, lengthened(matrix_forward(numbers), plan.extra_tokens), size)
    return counts


def training_sets(
    state_bytes: int, moving: int, activations: int, features: int, by_gradient: bool, through: bool, stored: int = 0,
    plan: Plan | None = None, longest: int = 0,
) -> WorkingSets:  # fmt: skip
    """What one adaptation works on beside the frozen weights, in bytes (`WorkingSets.memory` is what it needs at most):
    the state with what its optimiser keeps, a gradient of every number that moves, and what the
    matrices put out for the longest batch (`activations` numbers), or the stored features of a method that trains only
    the head (`features` numbers). Without gradients a copy of what moves takes their place, and nothing is kept between
    layers. `stored`: numbers of hidden states that steps go on from. `plan`: for what flows, in sequences of up to
    `longest` tokens, for moments and copies.

    As in the energy account: of the activations, only what matrices put out is kept.
    """
    form = plan.format if plan else FORMATS[DEFAULT]
    kept = form.activation_bytes * activations if through and by_gradient else 0
    moments = plan.moment_bytes if plan else 0
    copy = form.bytes * plan.state_numbers if plan and form.copied else 0
    return WorkingSets(
        flow=flow_bytes(plan, longest) if plan else 0.0,
        kept=kept + form.activation_bytes * stored,
        features=form.bytes * features,
        weights=state_bytes - moments + copy + form.bytes * moving,
        moments=moments,
        copies=form.bytes * plan.copied_numbers if plan else 0,
    )


def flow_bytes(plan: Plan, longest: int) -> float:
    """Queries, keys, values and contexts of one block, for the longest sequence (in tokens)."""
    each = plan.inference_work.bytes_per_token * plan.format.activation_bytes / ACTIVATION_BYTES
    return each / max(1, len(plan.block_paths)) * (longest + plan.extra_tokens)


def inference_sets(plan: Plan, longest: int) -> WorkingSets:
    """What an answer works on."""
    return WorkingSets(flow=flow_bytes(plan, longest), weights=plan.format.bytes * plan.digital_numbers)


def inference_events(worker: Worker, size: Size) -> EventCounts:
    """Answers to `size.sequences` examples, one at a time: a pass each."""
    counts = EventCounts()
    _add_work(counts, worker.format, worker.inference_work, size, passes=size.sequences)
    return counts
