"""Training and evaluating an `Adaptation`: AdamW, cross entropy, no dropout, every random choice from one generator."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import UsageError
from ..workloads.batches import Batch, batches
from .base import Adaptation, BackwardNeed, Recipe
from .cells import set_class_mean_head

EVALUATION_BATCH = 32

Encoded = Sequence[Sequence[int]]


@dataclass
class PassSize:
    """How much went through the model, padding not counted: what the digital unit and the arrays really process."""

    tokens: int = 0
    attention_pairs: int = 0
    sequences: int = 0
    passes: int = 0

    def add(self, batch: Batch) -> None:
        lengths = batch.attention_mask.sum(axis=1, dtype=np.int64)
        self.tokens += int(lengths.sum())
        self.attention_pairs += int((lengths**2).sum())
        self.sequences += len(lengths)
        self.passes += 1


@dataclass
class TrainLog:
    """What a training run did.

    `losses` holds the mean loss of each optimiser step. `forward_only` is what passed the model without a backward
    pass (the features for the head), `trained` what passed it forward and backward. For the probe, `trained` is empty:
    its steps work on stored features (`head_sequences` rows of them in all).
    """

    steps: int = 0
    losses: list[float] = field(default_factory=list)
    forward_only: PassSize = field(default_factory=PassSize)
    trained: PassSize = field(default_factory=PassSize)
    head_sequences: int = 0
    seconds: float = 0.0


def as_tensors(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """input_ids, attention_mask (batch, tokens) and labels (batch,) as int64 tensors."""
    return (
        torch.as_tensor(batch.input_ids, dtype=torch.int64),
        torch.as_tensor(batch.attention_mask, dtype=torch.int64),
        torch.as_tensor(batch.labels, dtype=torch.int64),
    )


@torch.no_grad()
def extract_features(
    adaptation: Adaptation, encoded: Encoded, labels: Sequence[int], size: PassSize | None = None
) -> tuple[Tensor, Tensor]:
    """Features (n, hidden_size) of the examples and their labels (n,), in one forward pass over them.

    The rows come in order of length, not in the order given. `size` is added to when given.
    """
    features, ordered = [], []
    for batch in batches(encoded, labels, EVALUATION_BATCH):
        input_ids, mask, target = as_tensors(batch)
        features.append(adaptation.module.features(input_ids, mask))
        ordered.append(target)
        if size is not None:
            size.add(batch)
    return torch.cat(features), torch.cat(ordered)


@torch.no_grad()
def evaluate(adaptation: Adaptation, encoded: Encoded, labels: Sequence[int]) -> float:
    """Share of the examples whose class the adaptation names, 0..1. Raises `UsageError` when there are none."""
    if not len(encoded):
        raise UsageError("there are no examples to evaluate on")
    features, target = extract_features(adaptation, encoded, labels)
    return (adaptation.module.head(features).argmax(1) == target).double().mean().item()


def train(
    adaptation: Adaptation,
    encoded: Encoded,
    labels: Sequence[int],
    rng: np.random.Generator,
    *,
    recipe: Recipe | None = None,
    on_step: Callable[[int], None] | None = None,
    again: bool = False,
) -> TrainLog:
    """Adapt to the examples: class-mean head first, then the recipe's epochs.

    Args:
        encoded: token ids of each example.
        labels: class of each example, 0..classes-1.
        rng: draws the order of the examples.
        recipe: default the adaptation's own.
        on_step: called with the number of steps done after each optimiser step (to rewrite cells, show progress, stop).
        again: the adaptation has been trained before; the recipe may then keep its head (`new_head_again`).

    A gradient step whose loss is not finite raises `UsageError` naming the step: the state is then worthless.
    """
    recipe = recipe or adaptation.recipe
    check_labels(adaptation, encoded, labels)
    log, start = TrainLog(), time.perf_counter()
    if recipe.new_head_again or not again or adaptation.backward_need is BackwardNeed.NONE:
        features, target = extract_features(adaptation, encoded, labels, log.forward_only)
        set_class_mean_head(adaptation.module.head, features, target, recipe.head_margin)
    groups = adaptation.parameter_groups(recipe)
    if groups and recipe.epochs:
        per_epoch = math.ceil(len(encoded) / recipe.batch_size)
        epochs = max(recipe.epochs, math.ceil(recipe.min_steps / per_epoch))
        stepper = Stepper(adaptation, recipe, groups, epochs * per_epoch, log, on_step)
        for _ in range(epochs):
            if adaptation.backward_need is BackwardNeed.NONE:
                for rows in np.array_split(rng.permutation(len(target)), per_epoch):
                    stepper.step(adaptation.module.head(features[rows]), target[rows])
                    log.head_sequences += len(rows)
                continue
            for batch in batches(encoded, labels, recipe.batch_size, rng):
                input_ids, mask, batch_labels = as_tensors(batch)
                stepper.step(adaptation.module(input_ids, mask), batch_labels)
                log.trained.add(batch)
    log.seconds = time.perf_counter() - start
    return log


class Stepper:
    """One optimiser step at a time: loss, gradient clipping, AdamW, a rate that falls linearly to zero."""

    def __init__(
        self,
        adaptation: Adaptation,
        recipe: Recipe,
        groups: list[dict],
        total_steps: int,
        log: TrainLog,
        on_step: Callable[[int], None] | None,
    ) -> None:
        self.adaptation = adaptation
        self.recipe = recipe
        self.log = log
        self.on_step = on_step
        self.parameters = [parameter for group in groups for parameter in group["params"]]
        self.optimiser = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, lambda done: 1.0 - done / total_steps)

    def step(self, logits: Tensor, labels: Tensor) -> None:
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
        self.log.steps += 1
        self.log.losses.append(value)
        if self.on_step is not None:
            self.on_step(self.log.steps)


def check_labels(adaptation: Adaptation, encoded: Encoded, labels: Sequence[int]) -> None:
    """Raise `UsageError` for no examples, a number of labels that differs, or a label outside the head's classes."""
    classes = adaptation.module.head.out_features
    if not len(encoded):
        raise UsageError("there are no examples to train on")
    if len(encoded) != len(labels):
        raise UsageError(f"{len(encoded)} examples have {len(labels)} labels")
    if strange := [label for label in labels if not 0 <= label < classes]:
        raise UsageError(f"label {strange[0]} is outside 0..{classes - 1}, the classes of the head")
