"""Variants on one chip through time: adapted, tested, aged, tested, adapted again, tested."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..methods import Placement
from ..methods.formats import DEFAULT
from ..methods.placement import BackwardNeed
from ..methods.plan import Plan
from ..methods.recipes import Recipe
from ..simulator import EventCounts, ProgrammedModel
from . import expected
from .encoding import Encoded, Graded
from .exact import ExactResult, test_exactly
from .progress import Progress
from .trial import ChipTrial, Cost, reads_backbone_alone
from .variants import Variant
from .wiring import prepare_wires
from .workbench import Workbench


@dataclass
class ChipResult:
    """A variant on the chip, filled in as time passes."""

    variant: Variant
    trial: ChipTrial
    cost: Cost
    adapted: Graded | None = None
    inference: EventCounts | None = None
    drift: list[dict[str, float]] = dataclasses.field(default_factory=list)
    compensation: EventCounts = dataclasses.field(default_factory=EventCounts)
    drifted: Graded | None = None
    readapted: Graded | None = None
    again: Cost | None = None
    exact: ExactResult | None = None
    exact_gradients: Graded | None = None


def groups(variants: list[Variant]) -> list[list[Variant]]:
    """Variants that belong together: those that train only a head (they read the same features), and the placements
    of a method where one training serves two of them (`digital_twin`), the digital one first.
    """
    heads = [v for v in variants if v.method.backward_need is BackwardNeed.NONE]
    twins: dict[Any, list[Variant]] = {}
    for variant in variants:
        if variant not in heads:
            key = variant.method.name, variant.placement is Placement.NVM_STEP
            twins.setdefault(key, []).append(variant)
    paired = [sorted(group, key=lambda v: v.placement is not Placement.DIGITAL) for group in twins.values()]
    return [group for group in (*paired, heads) if group]


def live(
    bench: Workbench, base: ProgrammedModel, variants: list[Variant], data: Encoded, held_out: Encoded, shots: int,
    seed: int, where: str, progress: Progress,
) -> list[ChipResult]:  # fmt: skip
    """Adapt, test, let time pass, test, adapt again (those that do), test: the variants side by side, so that the chip
    ages once for all of them.
    """
    results: list[ChipResult] = []
    shared, test = SharedFeatures(), bench.tests(seed)
    for variant in variants:
        progress.stage(f"{where}: {variant.title} on the chip")
        trial = ChipTrial(bench, variant, base, shots, seed)
        trial.deploy(data)
        twin = digital_twin(variant, results)
        with training_shown(progress, variant, trial.adaptation.recipe, shots, twin is not None) as on_step:
            cost = trial.adapt(data, trial.adaptation.recipe, as_in=twin, on_step=on_step)
        result = ChipResult(variant, trial, cost)
        if trains_without_chip(trial.adaptation.plan):
            with trial.bypassing():
                result.exact = test_exactly(trial.adaptation, bench, test, held_out)
        found, counts = shared.inference(trial, test)
        result.adapted = trial.grade(test, found)
        result.inference = counts
        if bench.chip.array.backward == "analog" and bench.config.fidelity != "ideal" and reads_gradients(trial):
            progress.stage(f"{where}: {variant.title} with exact gradients")
            result.exact_gradients = with_exact_gradients(trial, base, data, test)
        results.append(result)
        progress.advance(expected.testing(bench), expected.TESTING)
    for seconds in bench.config.age_seconds:
        base.set_time(seconds)
        prepare_wires(base, progress, f"{where}, after {age_text(seconds)}")
        shared.clear()
        for result in results:
            progress.stage(f"{where}: {result.variant.title} after {age_text(seconds)}")
            result.compensation = _events_of_time(result.trial.model, seconds)
            result.drifted = result.trial.grade(test, shared.features(result.trial, test))
            result.drift.append({"age_seconds": seconds, "accuracy": result.drifted.score})
            progress.advance(expected.testing(bench), expected.TESTING)
    shared.clear()
    for result in results:
        if not bench.config.adapts_again(result.variant.method.name):
            continue
        progress.stage(f"{where}: {result.variant.title} adapts again")
        recipe = shorter(result.trial.adaptation.recipe, bench.config.readapt_share)
        twin = digital_twin(result.variant, results)
        with training_shown(progress, result.variant, recipe, shots, twin is not None) as on_step:
            result.again = result.trial.adapt(data, recipe, again=True, as_in=twin, on_step=on_step)
        result.readapted = result.trial.grade(test, shared.features(result.trial, test))
        progress.advance(expected.testing(bench), expected.TESTING)
    return results


@contextmanager
def training_shown(
    progress: Progress, variant: Variant, recipe: Recipe, shots: int, twin: bool
) -> Iterator[Callable[[int], None]]:
    """Show a training step by step: gives what is to be called after each, and shows the rest at the end."""
    units, steps, shown = expected.training(variant, recipe, shots, twin), expected.steps(recipe, shots), 0.0

    def on_step(done: int) -> None:
        nonlocal shown
        upto = units * min(1.0, done / steps)
        progress.advance(upto - shown, expected.TRAINING)
        shown = upto

    yield on_step
    progress.advance(units - shown, expected.TRAINING)


def _events_of_time(model: ProgrammedModel, seconds: float) -> EventCounts:
    """Let time pass on a chip; the events of its drift compensation."""
    before = dataclasses.replace(model.counts)
    model.set_time(seconds)
    return model.counts.minus(before)


def reads_gradients(trial: ChipTrial) -> bool:
    """Whether gradients went through cells when it adapted."""
    return trial.last_counts is not None and trial.last_counts.transposed_reads > 0


def with_exact_gradients(trial: ChipTrial, base: ProgrammedModel, data: Encoded, test: Encoded) -> Graded:
    """The same adaptation on the same chip, its gradients exact: what their noise costs in accuracy."""
    twin = ChipTrial(trial.bench, trial.variant, base, trial.shots, trial.seed)
    twin.model.exact_backward = True
    twin.deploy(data)
    twin.adapt(data, twin.adaptation.recipe)
    return twin.grade(test, twin.features(test))


def trains_without_chip(plan: Plan) -> bool:
    """Whether the training is the one with exact weights: every matrix is trained, digitally and in fp32."""
    return not plan.read_in_training and plan.recipe.numbers == DEFAULT


def takes_over(variant: Variant) -> bool:
    """Whether a variant needs no training of its own where the method is also trained digitally."""
    return variant.placement is Placement.NVM_TASK and variant.method.shares_training


def digital_twin(variant: Variant, results: list[ChipResult]) -> ChipTrial | None:
    """The trial of the same method with its matrices held digitally, whose training an NVM_TASK variant shares."""
    if not takes_over(variant):
        return None
    twins = [r for r in results if r.variant == Variant(variant.method, Placement.DIGITAL)]
    return twins[0].trial if twins else None


class SharedFeatures:
    """Methods that train only a head on the backbone's features read the same cells: once for all of them that compute
    in one format of numbers.
    """

    def __init__(self) -> None:
        self._kept: dict[str, tuple[tuple[Tensor, Tensor], Any]] = {}
        self._features: dict[str, tuple[Tensor, Tensor]] = {}

    def clear(self) -> None:
        """Forget them: time has passed."""
        self._kept, self._features = {}, {}

    def inference(self, trial: ChipTrial, data: Encoded) -> tuple[tuple[Tensor, Tensor], Any]:
        if not reads_backbone_alone(trial.adaptation):
            return trial.inference(data)
        numbers = trial.adaptation.plan.recipe.numbers
        if numbers not in self._kept:
            self._kept[numbers] = trial.inference(data)
        return self._kept[numbers]

    def features(self, trial: ChipTrial, data: Encoded) -> tuple[Tensor, Tensor]:
        if not reads_backbone_alone(trial.adaptation):
            return trial.features(data)
        numbers = trial.adaptation.plan.recipe.numbers
        if numbers not in self._features:
            self._features[numbers] = trial.features(data)
        return self._features[numbers]


def shorter(recipe: Recipe, share: float) -> Recipe:
    """The recipe of the second adaptation: fewer epochs, from the state the first one left."""
    return dataclasses.replace(recipe, epochs=round(recipe.epochs * share), min_steps=round(recipe.min_steps * share))


def age_text(seconds: float) -> str:
    """ "30 days", "1 hour": an age in the largest unit that gives one or more."""
    unit, length = next(((u, n) for u, n in (("day", 86400), ("hour", 3600)) if seconds >= n), ("second", 1))
    number = f"{seconds / length:g}"
    return f"{number} {unit}{'' if number == '1' else 's'}"
