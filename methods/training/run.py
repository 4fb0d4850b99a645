"""A training run: what it works on, and what it did."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from torch import Tensor

from ...workloads.batches import Batch
from ...workloads.images import ImageBatch

if TYPE_CHECKING:
    import torch

    from ..base import Adaptation
    from ..recipes import Recipe
    from .sources import FeatureSource

Forward = Callable[[Mapping[str, Tensor] | None], Tensor]
"""forward(changed): logits of a batch; `changed` holds tensors, by module path, to use in place of the parameters."""


@dataclass(frozen=True)
class Look:
    """What a step without a backward pass came to: the seed of its directions, and how far to go against each, before
    the learning rate. `turn`: the slice that moved, where slices take turns.
    """

    seed: int
    weights: tuple[float, ...]
    turn: int = 0


@dataclass
class PassSize:
    """How much went through the model, padding not counted: what the digital unit and the arrays really process.

    batches: how often sequences of these lengths passed together, in this order.
    """

    tokens: int = 0
    attention_pairs: int = 0
    sequences: int = 0
    passes: int = 0
    batches: Counter[tuple[int, ...]] = field(default_factory=Counter)

    def add(self, batch: Batch | ImageBatch, passes: int = 1) -> None:
        """Count a batch that went through the model so many times."""
        lengths = batch.attention_mask.sum(axis=1, dtype=np.int64)
        self.tokens += passes * int(lengths.sum())
        self.attention_pairs += passes * int((lengths**2).sum())
        self.sequences += passes * len(lengths)
        self.passes += passes
        self.batches[tuple(lengths.tolist())] += passes

    def copy(self) -> "PassSize":
        """The size so far: what is added later is not in it."""
        return replace(self, batches=Counter(self.batches))


@dataclass
class TrainLog:
    """What a training run did.

    `losses` holds the mean loss of each optimiser step. `forward_only` is what passed the model without a backward
    pass (the features for the head, and all steps of a zeroth-order recipe), `trained` what passed it forward and
    backward. For the probe, `trained` is empty: its steps work on stored features (`head_sequences` rows of them in
    all). `stored_only` and `stored_trained`: what went on from stored hidden states of the backbone, forward only, and
    forward and backward; `forward_only` is then the pass that stored them. `step_passes`: forward passes of batches
    that the steps of a zeroth-order recipe took. `head_macs`: multiply-accumulates of the head's start, `hook_macs`
    those of hooks before the first step. `early_only` and `early_trained`: what of `forward_only` and `trained` came
    before the first step. `changes` is how often the trained numbers changed: what lives in cells is
    rewritten so often.

    Of a zeroth-order run, `start` (the state behind the class-mean head) and `looks` are all of it: see
    `zeroth.replay`.
    """

    steps: int = 0
    losses: list[float] = field(default_factory=list)
    forward_only: PassSize = field(default_factory=PassSize)
    trained: PassSize = field(default_factory=PassSize)
    stored_only: PassSize = field(default_factory=PassSize)
    stored_trained: PassSize = field(default_factory=PassSize)
    early_only: PassSize = field(default_factory=PassSize)
    early_trained: PassSize = field(default_factory=PassSize)
    head_sequences: int = 0
    head_macs: int = 0
    hook_macs: int = 0
    changes: int = 0
    step_passes: int = 0
    start: dict[str, Tensor] = field(default_factory=dict)
    looks: list[Look] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class Run:
    """One training of an adaptation, as its sampler, its optimiser and its hooks see it.

    `rng` draws everything that is random. `epoch` is the number of the one that is under way, `total_steps` how many
    optimiser steps there will be. `on_step` and `on_change` are told of every optimiser step and of every change of the
    trained numbers, `on_start` that the first step comes next. `again`: the adaptation has been trained before.
    `source`: where the features of the steps come from. `memory` is the hooks'.
    """

    adaptation: "Adaptation"
    recipe: "Recipe"
    rng: np.random.Generator
    on_step: Callable[[int], None] | None = None
    on_change: Callable[[], None] | None = None
    on_start: Callable[[], None] | None = None
    again: bool = False
    source: "FeatureSource | None" = None
    total_steps: int = 0
    log: TrainLog = field(default_factory=TrainLog)
    epoch: int = 0
    memory: dict[str, Any] = field(default_factory=dict)

    def started(self, total_steps: int) -> "Stepper":
        """What takes the steps, so many of them; the hooks have had their say before the first.

        Raises `UsageError` for a recipe that is not for the method.
        """
        self.recipe.require_fit(self.adaptation.plan)
        self.total_steps = total_steps
        stepper = self.recipe.optimiser.stepper(self, total_steps)
        stepper.optimiser.register_step_post_hook(lambda *_: self._updated())
        for hook in self.recipe.hooks:
            hook.before_training(self)
        self.log.early_only, self.log.early_trained = self.log.forward_only.copy(), self.log.trained.copy()
        if self.on_start is not None:
            self.on_start()
        return stepper

    def _updated(self) -> None:
        for hook in self.recipe.hooks:
            hook.after_update(self)

    def changed(self) -> None:
        """To be called whenever the trained numbers have changed, before they are read again."""
        self.log.changes += 1
        if self.on_change is not None:
            self.on_change()

    def stepped(self, passes: int) -> None:
        """To be called after every optimiser step, with the forward passes it took (0: one forward and backward)."""
        self.log.steps += 1
        self.log.step_passes += passes
        if self.on_step is not None:
            self.on_step(self.log.steps)


class Stepper(Protocol):
    """One optimiser step at a time, its rates falling linearly to zero."""

    @property
    def optimiser(self) -> "torch.optim.Optimizer":
        """What moves the trained numbers."""
        ...

    def step(self, forward: Forward, labels: Tensor) -> int:
        """Returns how many times the batch passed forward only; 0: once forward and backward."""
        ...
