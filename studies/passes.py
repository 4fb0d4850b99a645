"""What passes a model in an adaptation that is counted: sequences of equal length, batch by batch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ..methods.costs import EVALUATION_BATCH
from ..methods.placement import BackwardNeed
from ..methods.plan import Plan
from .count_config import CountConfig


@dataclass(frozen=True)
class Passes:
    """Sequences of equal length that pass a model (`digital.Size`)."""

    batches: Mapping[tuple[int, ...], int] = field(default_factory=dict)

    @staticmethod
    def of(sequences: int, length: int, batch: int) -> "Passes":
        """`sequences` of `length` tokens each, in passes of `batch` sequences; the last one may be smaller."""
        found: dict[tuple[int, ...], int] = {}
        for size, times in ((batch, sequences // batch), (sequences % batch, 1)):
            if size and times:
                found[(length,) * size] = found.get((length,) * size, 0) + times
        return Passes(found)

    def plus(self, other: "Passes", times: int) -> "Passes":
        """This, and another so many times."""
        found = dict(self.batches)
        for lengths, passes in other.batches.items():
            found[lengths] = found.get(lengths, 0) + times * passes
        return Passes(found)

    @property
    def tokens(self) -> int:
        return sum(times * sum(lengths) for lengths, times in self.batches.items())

    @property
    def attention_pairs(self) -> int:
        return sum(times * sum(n * n for n in lengths) for lengths, times in self.batches.items())

    @property
    def sequences(self) -> int:
        return sum(times * len(lengths) for lengths, times in self.batches.items())

    @property
    def passes(self) -> int:
        return sum(self.batches.values())


class Sizes(NamedTuple):
    """What passes in one adaptation: forward only, and forward and backward; the same on from stored hidden states; and
    of the first two, what comes before the first step. seen: rows of all steps. steps: of the optimiser.
    """

    passed: tuple[Passes, Passes]
    stored: tuple[Passes, Passes]
    early: tuple[Passes, Passes]
    seen: int
    steps: int


def adaptation_sizes(config: CountConfig, plan: Plan) -> Sizes:
    """In the order of `methods.training.trainer`: features of every example for the class means, then the epochs; those
    of a recipe without a backward pass are forward passes alone. Where hidden states are stored, that pass is there in
    any case, and the epochs go on from what it stored.
    """
    recipe, examples, length = plan.recipe, config.examples, config.tokens
    size = config.batch_size or recipe.batch_size
    schedule = replace(recipe, batch_size=size).schedule(examples)
    epochs = schedule.epochs if config.epochs is None else config.epochs
    if not plan.moving:
        epochs = 0
    steps, seen, optimiser = epochs * schedule.steps_per_epoch, epochs * schedule.rows, recipe.optimiser
    head_only, passes = plan.backward_need is BackwardNeed.NONE, optimiser.passes(plan.directions)
    batches = Passes() if head_only else Passes().plus(Passes.of(schedule.rows, length, size), epochs)
    starts = head_only or not plan.keep_head
    once = Passes.of(examples, length, EVALUATION_BATCH) if starts or plan.cached else Passes()
    looked = Passes()
    if steps:  # hooks look at the examples first
        look = Passes.of(examples, length, size)
        looked = looked.plus(look, sum(hook.start_passes for hook in recipe.hooks))
        batches = batches.plus(looked, 1)
    only, both = (Passes(), batches) if optimiser.by_gradient else (Passes().plus(batches, passes), Passes())
    stored = (only, both) if plan.cached else (Passes(), Passes())
    passed = (once, Passes()) if plan.cached else (once.plus(only, 1), both)
    return Sizes(passed, stored, (once, looked), seen, steps)
