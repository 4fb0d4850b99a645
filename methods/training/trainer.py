"""Training and evaluating an `Adaptation`: every random choice from one generator.

A run is the start of the head, then the steps of the recipe: its sampler orders the examples of each epoch, a source
says where their features come from, its optimiser takes the steps on its objective, and its hooks are called around
them. The backbone's own dropout is never on; that of what a method adds is on in gradient steps
(`Adaptation.dropping`).
"""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...errors import UsageError
from ...workloads.batches import IGNORED, Labels
from ..heads import HEADS
from ..placement import BackwardNeed
from .features import Encoded, as_tensors, extract_features
from .run import PassSize, Run, TrainLog
from .sources import FeatureSource, StoredFeatures, StoredStates, ThroughModel

if TYPE_CHECKING:
    from ..base import Adaptation
    from ..recipes import Recipe

__all__ = ["Encoded", "PassSize", "TrainLog", "as_tensors", "evaluate", "extract_features", "train"]


@torch.no_grad()
def evaluate(adaptation: "Adaptation", encoded: Encoded, labels: Labels) -> float:
    """Share of the examples, or of their words, whose class the adaptation names, 0..1.

    Raises `UsageError` when there are none.
    """
    if not len(encoded):
        raise UsageError("there are no examples to evaluate on")
    features, target = extract_features(adaptation, encoded, labels)
    return (adaptation.module.head(features).argmax(1) == target).double().mean().item()


def train(
    adaptation: "Adaptation",
    encoded: Encoded,
    labels: Labels,
    rng: np.random.Generator,
    *,
    recipe: "Recipe | None" = None,
    on_step: Callable[[int], None] | None = None,
    on_change: Callable[[], None] | None = None,
    on_start: Callable[[], None] | None = None,
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
        on_start: called once before the first step, behind what the hooks do before the training; not where there are
            no steps.
        again: the adaptation has been trained before; the recipe may then keep its head (`new_head_again`).

    A gradient step whose loss is not finite raises `UsageError` naming the step: the state is then worthless.
    """
    check_labels(adaptation, encoded, labels)
    (recipe or adaptation.recipe).schedule(len(encoded))  # refused before any work
    run = Run(adaptation, recipe or adaptation.recipe, rng, on_step, on_change, on_start, again)
    began = time.perf_counter()
    with adaptation.reading_in_training(rng):
        source = start(run, encoded, labels, again)
        if adaptation.parameter_groups(run.recipe) and run.recipe.epochs:
            take_steps(run, source, len(encoded))
    run.log.seconds = time.perf_counter() - began
    return run.log


def start(run: Run, encoded: Encoded, labels: Labels, again: bool) -> FeatureSource:
    """Start the head from class means, unless it is to be kept; where the features of the steps then come from."""
    adaptation, plan = run.adaptation, run.adaptation.plan
    head_only = adaptation.backward_need is BackwardNeed.NONE
    keeps = not head_only and (plan.keep_head or (again and not run.recipe.new_head_again))
    if keeps and not plan.cached:
        return ThroughModel(run, encoded, labels)
    stored: dict[int, tuple[torch.Tensor, ...]] | None = {} if plan.cached else None
    features, target = extract_features(adaptation, encoded, labels, run.log.forward_only, stored)
    if not keeps:
        head, tagged = HEADS[plan.head_kind], adaptation.module.per_token
        run.log.head_macs = head.start(adaptation.module.head, features, target, run.recipe, tagged)
    if stored is not None:
        return StoredStates(run, encoded, labels, stored)
    return StoredFeatures(run, features, target) if head_only else ThroughModel(run, encoded, labels)


def take_steps(run: Run, source: FeatureSource, examples: int) -> None:
    """The recipe's epochs over so many examples."""
    recipe = run.recipe
    schedule = recipe.schedule(examples)
    run.source = source
    stepper = run.started(schedule.steps)
    for run.epoch in range(schedule.epochs):
        for step in source.steps(recipe.sampler.order(run, source), schedule.steps_per_epoch):
            for hook in recipe.hooks:
                hook.before_step(run)
            passes = stepper.step(step.forward, step.labels)
            step.count(passes)
            run.stepped(passes)
            for hook in recipe.hooks:
                hook.after_step(run)
        for hook in recipe.hooks:
            hook.after_epoch(run)
    for hook in recipe.hooks:
        hook.after_training(run)


def check_labels(adaptation: "Adaptation", encoded: Encoded, labels: Labels) -> None:
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
