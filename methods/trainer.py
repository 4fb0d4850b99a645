"""Training and evaluating an `Adaptation`: cross entropy, every random choice from one generator. The backbone's own
dropout is never on; that of what a method adds is on in gradient steps (`Adaptation.dropping`).
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ..errors import UsageError
from ..workloads.batches import IGNORED, Batch, Labels, batches
from ..workloads.images import ImageBatch, Images
from .base import Adaptation
from .costs import EVALUATION_BATCH, head_start_macs
from .layers import set_class_mean_head
from .placement import BackwardNeed
from .recipes import Recipe, ZerothRecipe
from .zeroth import Forward, Look, ZerothStepper

Encoded = Sequence[Sequence[int]] | Images


@dataclass
class PassSize:
    """How much went through the model, padding not counted: what the digital unit and the arrays really process."""

    tokens: int = 0
    attention_pairs: int = 0
    sequences: int = 0
    passes: int = 0

    def add(self, batch: Batch | ImageBatch, passes: int = 1) -> None:
        """Count a batch that went through the model so many times."""
        lengths = batch.attention_mask.sum(axis=1, dtype=np.int64)
        self.tokens += passes * int(lengths.sum())
        self.attention_pairs += passes * int((lengths**2).sum())
        self.sequences += passes * len(lengths)
        self.passes += passes


@dataclass
class TrainLog:
    """What a training run did.

    `losses` holds the mean loss of each optimiser step. `forward_only` is what passed the model without a backward
    pass (the features for the head, and all steps of a zeroth-order recipe), `trained` what passed it forward and
    backward. For the probe, `trained` is empty: its steps work on stored features (`head_sequences` rows of them in
    all). `step_passes`: forward passes of batches that the steps of a zeroth-order recipe took. `head_macs`:
    multiply-accumulates of the head's start. `changes` is how often the trained numbers changed:
    what lives in cells is rewritten so often.

    Of a zeroth-order run, `start` (the state behind the class-mean head) and `looks` are all of it: see
    `zeroth.replay`.
    """

    steps: int = 0
    losses: list[float] = field(default_factory=list)
    forward_only: PassSize = field(default_factory=PassSize)
    trained: PassSize = field(default_factory=PassSize)
    head_sequences: int = 0
    head_macs: int = 0
    changes: int = 0
    step_passes: int = 0
    start: dict[str, Tensor] = field(default_factory=dict)
    looks: list[Look] = field(default_factory=list)
    seconds: float = 0.0


def as_tensors(batch: Batch | ImageBatch) -> tuple[Tensor, Tensor, Tensor]:
    """input_ids (batch, tokens) or pixel_values (batch, channels, side, side), attention_mask (batch, tokens) and
    labels (batch,) as tensors; all but pixels int64.
    """
    return (
        torch.as_tensor(batch.inputs),
        torch.as_tensor(batch.attention_mask, dtype=torch.int64),
        torch.as_tensor(batch.labels, dtype=torch.int64),
    )


@torch.no_grad()
def extract_features(
    adaptation: Adaptation, encoded: Encoded, labels: Labels, size: PassSize | None = None
) -> tuple[Tensor, Tensor]:
    """Features (n, hidden_size) of the examples and their labels (n,), in one forward pass over them; of all words of
    the examples, where these are tagged.

    The rows come in order of length, not in the order given. `size` is added to when given.
    """
    features, ordered = [], []
    for batch in batches(encoded, labels, EVALUATION_BATCH):
        input_ids, mask, target = as_tensors(batch)
        kept = target != IGNORED
        features.append(adaptation.module.features(input_ids, mask)[kept])
        ordered.append(target[kept])
        if size is not None:
            size.add(batch)
    return torch.cat(features), torch.cat(ordered)


@torch.no_grad()
def evaluate(adaptation: Adaptation, encoded: Encoded, labels: Labels) -> float:
    """Share of the examples, or of their words, whose class the adaptation names, 0..1.

    Raises `UsageError` when there are none.
    """
    if not len(encoded):
        raise UsageError("there are no examples to evaluate on")
    features, target = extract_features(adaptation, encoded, labels)
    return (adaptation.module.head(features).argmax(1) == target).double().mean().item()


def train(
    adaptation: Adaptation,
    encoded: Encoded,
    labels: Labels,
    rng: np.random.Generator,
    *,
    recipe: Recipe | None = None,
    on_step: Callable[[int], None] | None = None,
    on_change: Callable[[], None] | None = None,
    again: bool = False,
) -> TrainLog:
    """Adapt to the examples: class-mean head first, then the recipe's epochs.

    Args:
        encoded: token ids of each example, or images.
        labels: class of each example, 0..classes-1, or of each of its tokens.
        rng: draws the order of the examples, the crops of images, and the directions of a zeroth-order recipe.
        recipe: default the adaptation's own.
        on_step: called with the number of steps done after each optimiser step (to show progress, stop).
        on_change: called whenever the trained numbers have changed, before they are read again (to rewrite cells):
            once a step, with a zeroth-order recipe also each time it moves along a direction or back.
        again: the adaptation has been trained before; the recipe may then keep its head (`new_head_again`).

    A gradient step whose loss is not finite raises `UsageError` naming the step: the state is then worthless.
    """
    recipe = recipe or adaptation.recipe
    check_labels(adaptation, encoded, labels)
    log, start = TrainLog(), time.perf_counter()
    head_only = adaptation.backward_need is BackwardNeed.NONE
    if head_only or (not adaptation.plan.keep_head and (recipe.new_head_again or not again)):
        features, target = extract_features(adaptation, encoded, labels, log.forward_only)
        # Most words are in no entity.
        set_class_mean_head(
            adaptation.module.head, features, target, recipe.head_margin, recipe.head_shrinkage,
            prior=adaptation.module.per_token,
        )  # fmt: skip
        classes, width = adaptation.module.head.weight.shape
        log.head_macs = head_start_macs(len(features), width, classes, recipe.head_shrinkage)

    def changed() -> None:
        log.changes += 1
        if on_change is not None:
            on_change()

    def step(forward: Forward, labels: Tensor) -> int:
        passes = stepper.step(forward, labels)
        log.steps += 1
        log.step_passes += passes
        if on_step is not None:
            on_step(log.steps)
        return passes

    if adaptation.parameter_groups(recipe) and recipe.epochs:
        per_epoch = math.ceil(len(encoded) / recipe.batch_size)
        epochs = max(recipe.epochs, math.ceil(recipe.min_steps / per_epoch))
        stepper = make_stepper(adaptation, recipe, epochs * per_epoch, log, rng, changed)
        for _ in range(epochs):
            if head_only:
                for rows in np.array_split(rng.permutation(len(target)), per_epoch):
                    passes = step(partial(_head, adaptation.module.head, features[rows]), target[rows])
                    log.head_sequences += len(rows) * max(1, passes)
                continue
            for batch in batches(encoded, labels, recipe.batch_size, rng):
                input_ids, mask, batch_labels = as_tensors(batch)
                kept = batch_labels != IGNORED
                passes = step(partial(_logits, adaptation.module, input_ids, mask, kept), batch_labels[kept])
                if passes:
                    log.forward_only.add(batch, passes)
                else:
                    log.trained.add(batch)
    log.seconds = time.perf_counter() - start
    return log


def _logits(
    model: nn.Module, inputs: Tensor, mask: Tensor, kept: Tensor, changed: Mapping[str, Tensor] | None = None
) -> Tensor:
    """Logits of what has a label in a batch (`kept`: its examples, or tokens), with some parameters replaced."""
    found = model(inputs, mask) if changed is None else functional_call(model, dict(changed), (inputs, mask))
    return found[kept]


def _head(head: nn.Linear, features: Tensor, changed: Mapping[str, Tensor] | None = None) -> Tensor:
    """Logits of stored features, with the head's parameters replaced."""
    if changed is None:
        return head(features)
    return functional_call(head, {name.removeprefix("head."): value for name, value in changed.items()}, features)


class Stepper(Protocol):
    """One optimiser step at a time, its rates falling linearly to zero."""

    def step(self, forward: Forward, labels: Tensor) -> int:
        """Returns how many times the batch passed forward only; 0: once forward and backward."""
        ...


def make_stepper(
    adaptation: Adaptation,
    recipe: Recipe,
    total_steps: int,
    log: TrainLog,
    rng: np.random.Generator,
    on_change: Callable[[], None],
) -> Stepper:
    """The stepper that a recipe asks for."""
    if isinstance(recipe, ZerothRecipe):
        return ZerothStepper(adaptation, recipe, total_steps, log, rng, on_change)
    return GradientStepper(adaptation, recipe, total_steps, log, on_change)


class GradientStepper:
    """Loss, gradient, clipping, and the step of the recipe's optimiser."""

    def __init__(
        self, adaptation: Adaptation, recipe: Recipe, total_steps: int, log: TrainLog, on_change: Callable[[], None]
    ) -> None:
        self.adaptation = adaptation
        self.recipe = recipe
        self.log = log
        self.on_change = on_change
        groups = adaptation.parameter_groups(recipe)
        self.parameters = [parameter for group in groups for parameter in group["params"]]
        self.optimiser = recipe.make_optimiser(groups)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, lambda done: 1.0 - done / total_steps)

    def step(self, forward: Forward, labels: Tensor) -> int:
        with self.adaptation.dropping():
            logits = forward(None)
        loss = F.cross_entropy(logits, labels) + self.adaptation.regulariser(self.recipe)
        value = loss.item()
        if not math.isfinite(value):
            raise UsageError(
                f"the loss of {self.adaptation.method} is {value} at step {self.log.steps}: lower its learning rates"
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip_norm)
        self.optimiser.step()
        self.schedule.step()
        self.log.losses.append(value)
        self.on_change()
        return 0


def check_labels(adaptation: Adaptation, encoded: Encoded, labels: Labels) -> None:
    """Raise `UsageError` for no examples, a number of labels that differs, or a label outside the head's classes."""
    classes = adaptation.module.head.out_features
    if not len(encoded):
        raise UsageError("there are no examples to train on")
    if len(encoded) != len(labels):
        raise UsageError(f"{len(encoded)} examples have {len(labels)} labels")
    of_words = [label for own in labels if isinstance(own, Sequence) for label in own if label != IGNORED]
    of_examples = [label for label in labels if not isinstance(label, Sequence)]
    if strange := [label for label in (*of_examples, *of_words) if not 0 <= label < classes]:
        raise UsageError(f"label {strange[0]} is outside 0..{classes - 1}, the classes of the head")
