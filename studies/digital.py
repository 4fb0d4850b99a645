"""Events of the digital unit and its SRAM in one adaptation and in one answer, for simulated runs and for counts."""

from typing import Protocol

from ..methods.costs import ACTIVATION_BYTES, NUMBER_BYTES, DigitalWork
from ..methods.placement import BackwardNeed
from ..simulator import EventCounts


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


class Worker(Protocol):
    """What a method's digital part needs: `methods.Adaptation` and `methods.plan.Plan` have it."""

    @property
    def inference_work(self) -> DigitalWork: ...
    @property
    def training_work(self) -> DigitalWork: ...
    @property
    def backward_work(self) -> DigitalWork: ...
    @property
    def backward_need(self) -> BackwardNeed: ...
    @property
    def extra_tokens(self) -> int: ...
    @property
    def optimiser_macs(self) -> int: ...
    @property
    def state_bytes(self) -> int: ...


def training_events(
    worker: Worker,
    head: tuple[int, int],
    outputs: int,
    forward: Size,
    trained: Size,
    steps: int,
    head_sequences: int,
    by_gradient: bool = True,
) -> EventCounts:
    """One adaptation.

    head: (classes, width) of the classifier. outputs: numbers that the matrices in cells put out for one token.
    forward: what passed the model forward only; trained: forward and backward. head_sequences: rows of stored features
    that a method which trains only the head went through; `by_gradient`: forward and backward.
    """
    counts = EventCounts()
    for work, size in (
        (worker.training_work, forward), (worker.training_work, trained), (worker.backward_work, trained)
    ):  # fmt: skip
        counts.digital_macs += work.macs(size.tokens, size.attention_pairs, size.sequences, size.passes)
        counts.sram_bytes += work.sram_bytes(size.tokens, size.sequences, size.passes)
    classes, width = head
    if head_sequences:
        counts.digital_macs += (2 if by_gradient else 1) * head_sequences * classes * width
        # The features are kept once and read in every step.
        counts.sram_bytes += NUMBER_BYTES * width * (forward.sequences + head_sequences)
    # AdamW reads and writes state and moments every step; activations are kept once and read back once.
    counts.digital_macs += worker.optimiser_macs * steps
    counts.sram_bytes += 2 * worker.state_bytes * steps
    if worker.backward_need in (BackwardNeed.THROUGH, BackwardNeed.FULL):
        tokens = trained.tokens + worker.extra_tokens * trained.sequences
        counts.sram_bytes += 2 * ACTIVATION_BYTES * outputs * tokens
    return counts


def training_memory_bytes(
    state_bytes: int, moving: int, activations: int, features: int, by_gradient: bool, through: bool
) -> int:
    """Memory that one adaptation needs at most beside the frozen weights: the state with what its optimiser keeps, a
    gradient of every number that moves, and what the matrices put out for the longest batch (`activations` numbers),
    or the stored features of a method that trains only the head (`features` numbers). Without gradients a copy of what
    moves takes their place, and nothing is kept between layers.

    As in the energy account: of the activations, only what matrices put out is kept.
    """
    kept = ACTIVATION_BYTES * activations if through and by_gradient else 0
    return state_bytes + NUMBER_BYTES * (moving + features) + kept


def inference_events(worker: Worker, size: Size) -> EventCounts:
    """Answers to `size.sequences` examples, one at a time: a pass each."""
    work = worker.inference_work
    return EventCounts(
        digital_macs=work.macs(size.tokens, size.attention_pairs, size.sequences, size.sequences),
        sram_bytes=work.sram_bytes(size.tokens, size.sequences, size.sequences),
    )
