"""The parts of a simulation that stand alone: each can run in a process of its own and gives the same result there."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..methods import Adaptation, Placement, get_method
from ..methods.placement import BackwardNeed
from ..methods.recipes import Recipe
from ..methods.trainer import extract_features, train
from ..simulator import CostTable, EventCounts, ProgrammedModel
from ..simulator.autograd import ExactReader
from ..simulator.compensation import compensates
from ..simulator.counting import input_cycles
from ..workloads.tasks import VALIDATION_SHARE, Example
from . import amortise, expected
from .chips import Chips, facts
from .encoding import Encoded, Graded
from .pool_check import checked, folds
from .progress import Progress
from .trial import ChipTrial, Cost, reads_backbone_alone
from .wiring import prepare_wires
from .workbench import Variant, Workbench


@dataclass(frozen=True)
class Part:
    """One piece of work: `kind` "before" (`frozen`, where it is not among the methods), "exact" (a method with exact
    weights), "folds" (its cross-validation over all shots), "chip", or "facts" (of the chip alone).

    `variants`: numbers of the variants in the workbench; those of one "chip" part live through time together, the one
    of an "exact" or "folds" part stands for its method.
    """

    kind: str
    shots: int
    seed: int
    variants: tuple[int, ...] = ()

    def reads(self, bench: Workbench) -> dict[str, float]:
        """For the progress: kind of work -> examples read, as `perform` reports them."""
        if self.kind == "facts":
            return {}
        if self.kind == "before":
            return {expected.TESTING: expected.testing(bench)}
        variants = [bench.variants[n] for n in self.variants]
        if self.kind == "folds":
            (variant,) = variants
            number = bench.config.check_pool
            shots = round(self.shots * (1 - 1 / number) / (1 - VALIDATION_SHARE))  # a fifth less are trained on
            return {expected.EXACT: number * expected.training(variant, variant.method.recipe, shots) + self.shots}
        if self.kind == "exact":
            (variant,) = variants
            return {expected.EXACT: expected.exact(variant, variant.method.recipe, self.shots, bench)}
        twins = [Variant(v.method, Placement.DIGITAL) in variants[:n] and v.placement is Placement.NVM_TASK
                 for n, v in enumerate(variants)]  # fmt: skip
        again = bench.config.readapt_share
        trained = sum(
            expected.training(v, recipe, self.shots, twin)
            for v, twin in zip(variants, twins, strict=True)
            for recipe in (v.method.recipe, shorter(v.method.recipe, again))
        )
        tests = (2 + len(bench.config.age_seconds)) * len(variants)
        return {expected.TRAINING: trained, expected.TESTING: tests * expected.testing(bench)}


@dataclass
class ExactResult:
    """A method trained and tested with exact weights: the digital yardstick."""

    test: Graded
    held_out: Graded


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
    exact: "ExactResult | None" = None


def parts_of(bench: Workbench) -> list[Part]:
    """Everything a simulation does after programming the first chip: chip by chip, the longest parts first. What order
    they are done in, and in which processes, decides nothing.
    """
    config = bench.config
    methods = {variant.method.name: n for n, variant in enumerate(bench.variants)}
    found_on_chip = {variant.method.name for variant in bench.variants if trains_without_chip(variant)}
    parts = []
    for shots in config.shots:
        for seed in config.seed_numbers:
            parts += [
                Part("chip", shots, seed, tuple(bench.variants.index(variant) for variant in group))
                for group in groups(bench.variants)
            ]
            parts += [Part("exact", shots, seed, (n,)) for name, n in methods.items() if name not in found_on_chip]
            if "frozen" not in methods:
                parts.append(Part("before", shots, seed))
            if config.check_pool:
                parts += [Part("folds", shots, seed, (methods[name],)) for name in checked(list(methods))]
    chips = list(config.chip_numbers)
    parts += [Part("facts", 0, config.chip_numbers[number][0]) for number in chips[1:]]
    return sorted(parts, key=lambda part: (chips.index(config.chip_of(part.seed)), -duration(bench, part)))


def duration(bench: Workbench, part: Part) -> int:
    """Roughly how long a part takes; parts are dealt out longest first. Training through the chip takes as long as
    all the tests, and one training serves the whole part.
    """
    variants = [bench.variants[n] for n in part.variants]
    trains = any(variant.method.backward_need is not BackwardNeed.NONE for variant in variants)
    if part.kind == "chip":
        return 4 * trains + (4 + len(variants) if trains else 3)
    if part.kind == "folds":
        return 2 * bench.config.check_pool if trains else 1
    return 2 if trains else 1


def perform(part: Part, bench: Workbench, chips: Chips, progress: Progress) -> Any:
    """Do one part: (accuracy exact, on the chip) for "before", an `ExactResult` for "exact", answers ("0110") for
    "folds", what the report says of the chip for "facts"; for "chip" a list of records and the `ExactResult` of the
    methods that it found by the way.
    """
    number = bench.config.chip_of(part.seed)
    if part.kind == "facts":
        return facts(bench, number, _at_start(chips, number, progress))
    few = bench.task.few_shot(part.shots, part.seed)
    data, held_out = bench.encode(few.train), bench.encode(few.validation)
    variants = [bench.variants[n] for n in part.variants]
    where = f"{part.shots} shots, seed {part.seed}"
    if part.kind == "chip":
        base = _at_start(chips, number, progress)
        prepare_wires(base, progress, where)
        results = live(bench, base, variants, data, held_out, part.shots, part.seed, where, progress)
        exact = {result.variant.method.name: result.exact for result in results if result.exact is not None}
        return [record(bench, result, part.shots, part.seed) for result in results], exact
    if part.kind == "exact":
        progress.stage(f"{where}: {variants[0].method.name} with exact weights")
        outcome: Any = run_exact(bench, variants[0], data, bench.tests(part.seed), held_out, part.shots, part.seed)
    elif part.kind == "folds":
        progress.stage(f"{where}: {variants[0].method.name}, does the pool fit?")
        outcome = cross_validated(bench, variants[0], (*few.train, *few.validation), part.shots, part.seed)
    else:
        progress.stage(f"{where}: before adaptation")
        frozen = Variant(get_method("frozen"), Placement.DIGITAL)
        base = _at_start(chips, number, progress)
        prepare_wires(base, progress, where)
        trial = ChipTrial(bench, frozen, base, part.shots, part.seed)
        trial.deploy(data)
        trial.adapt(data, trial.adaptation.recipe)
        test = bench.tests(part.seed)
        yardstick = run_exact(bench, frozen, data, test, held_out, part.shots, part.seed)
        outcome = yardstick.test.score, trial.grade(test, trial.features(test)).score
    for kind, reads in part.reads(bench).items():
        progress.advance(reads, kind)
    return outcome


def _at_start(chips: Chips, number: int, progress: Progress) -> ProgrammedModel:
    """The chip of a run as it was programmed."""
    progress.stage(f"chip {number}")
    base = chips.get(number)
    base.set_time(0.0)
    return base


def cross_validated(
    bench: Workbench, variant: Variant, examples: tuple[Example, ...], shots: int, seed: int
) -> str | None:
    """Right answers ("0110") to all labelled examples, each of a training with exact weights that did not see it."""
    right = [""] * len(examples)
    for held in folds([example.label for example in examples], bench.config.check_pool):
        out = set(held.tolist())
        data = bench.encode(tuple(example for n, example in enumerate(examples) if n not in out))
        test = bench.encode(tuple(examples[n] for n in held))
        bits = run_exact(bench, variant, data, test, test, shots, seed).test.right
        if bits is None:
            return None
        for n, bit in zip(held, bits, strict=True):
            right[n] = bit
    return "".join(right)


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
    """Adapt, test, let time pass, test, adapt again, test: the variants side by side, so that the chip ages once for
    all of them.
    """
    results: list[ChipResult] = []
    shared, test = SharedFeatures(), bench.tests(seed)
    for variant in variants:
        progress.stage(f"{where}: {variant.title} on the chip")
        trial = ChipTrial(bench, variant, base, shots, seed)
        trial.deploy(data)
        twin = digital_twin(variant, results)
        recipe = trial.adaptation.recipe
        cost = trial.adapt(data, recipe, as_in=twin)
        result = ChipResult(variant, trial, cost)
        if trains_without_chip(variant):
            with trial.bypassing():
                result.exact = test_exactly(trial.adaptation, bench, test, held_out)
        progress.advance(
            expected.training(variant, trial.adaptation.recipe, shots, twin is not None), expected.TRAINING
        )
        found, counts = shared.inference(trial, test)
        result.adapted = trial.grade(test, found)
        result.inference = counts
        results.append(result)
        progress.advance(expected.testing(bench), expected.TESTING)
    for seconds in bench.config.age_seconds:
        base.set_time(seconds)
        prepare_wires(base, progress, f"{where}, after {seconds / 3600:g} hours")
        shared.clear()
        for result in results:
            progress.stage(f"{where}: {result.variant.title} after {seconds / 3600:g} hours")
            result.compensation = _events_of_time(result.trial.model, seconds)
            result.drifted = result.trial.grade(test, shared.features(result.trial, test))
            result.drift.append({"age_seconds": seconds, "accuracy": result.drifted.score})
            progress.advance(expected.testing(bench), expected.TESTING)
    shared.clear()
    for result in results:
        progress.stage(f"{where}: {result.variant.title} adapts again")
        recipe = shorter(result.trial.adaptation.recipe, bench.config.readapt_share)
        twin = digital_twin(result.variant, results)
        result.again = result.trial.adapt(data, recipe, again=True, as_in=twin)
        progress.advance(expected.training(result.variant, recipe, shots, twin is not None), expected.TRAINING)
        result.readapted = result.trial.grade(test, shared.features(result.trial, test))
        progress.advance(expected.testing(bench), expected.TESTING)
    return results


def _events_of_time(model: ProgrammedModel, seconds: float) -> EventCounts:
    """Let time pass on a chip; the events of its drift compensation."""
    before = dataclasses.replace(model.counts)
    model.set_time(seconds)
    return model.counts.minus(before)


def trains_without_chip(variant: Variant) -> bool:
    """Whether the variant's training is the one with exact weights: every matrix is trained, and digitally."""
    return variant.placement is Placement.NVM_TASK and variant.method.backward_need is BackwardNeed.FULL


def digital_twin(variant: Variant, results: list[ChipResult]) -> ChipTrial | None:
    """The trial of the same method with its matrices held digitally, whose training an NVM_TASK variant shares."""
    if variant.placement is not Placement.NVM_TASK:
        return None
    twins = [r for r in results if r.variant == Variant(variant.method, Placement.DIGITAL)]
    return twins[0].trial if twins else None


def run_exact(
    bench: Workbench, variant: Variant, data: Encoded, test: Encoded, held_out: Encoded, shots: int, seed: int
) -> ExactResult:
    """Train and test a method without any chip; same initial values and, in torch, order of examples as on the
    chip.
    """
    rng = np.random.default_rng([seed, shots])
    in_bundle = bench.config.trainer == "onnxruntime" and Placement.DIGITAL in variant.method.placements
    placement = Placement.DIGITAL if in_bundle else variant.placement
    adaptation = variant.method.attach(bench.backbone, bench.classes, rng, placement=placement, pool=bench.pool)
    if in_bundle and type(adaptation.recipe) is Recipe:  # others have optimisers of their own
        from .in_bundle import answers_of_bundle  # onnx takes a second to import

        answers = answers_of_bundle(bench, variant, adaptation, data, seed, {"test": test, "held": held_out})
        return ExactResult(*(
            asked.grade_in_order(bench.task, answers[name]) for name, asked in (("test", test), ("held", held_out))
        ))  # fmt: skip
    reader = ExactReader()
    adaptation.use(reader)
    reader.watch(adaptation.module.encoder)
    train(adaptation, data.ids, data.labels, rng)
    return test_exactly(adaptation, bench, test, held_out)


def test_exactly(adaptation: Adaptation, bench: Workbench, test: Encoded, held_out: Encoded) -> ExactResult:
    """Test a method that reads exact weights."""
    graded = []
    with torch.no_grad():
        for examples in (test, held_out):
            features, labels = extract_features(adaptation, examples.ids, examples.labels)
            answers = adaptation.module.head(features).argmax(1)
            graded.append(examples.grade(bench.task, answers.numpy(), labels.numpy()))
    return ExactResult(*graded)


class SharedFeatures:
    """Methods that train only a head on the backbone's features read the same cells: once for all of them."""

    def __init__(self) -> None:
        self._kept: tuple[tuple[Tensor, Tensor], Any] | None = None
        self._features: tuple[Tensor, Tensor] | None = None

    def clear(self) -> None:
        """Forget them: time has passed."""
        self._kept = self._features = None

    def inference(self, trial: ChipTrial, data: Encoded) -> tuple[tuple[Tensor, Tensor], Any]:
        if not reads_backbone_alone(trial.adaptation):
            return trial.inference(data)
        if self._kept is None:
            self._kept = trial.inference(data)
        return self._kept

    def features(self, trial: ChipTrial, data: Encoded) -> tuple[Tensor, Tensor]:
        if not reads_backbone_alone(trial.adaptation):
            return trial.features(data)
        if self._features is None:
            self._features = trial.features(data)
        return self._features


def shorter(recipe: Recipe, share: float) -> Recipe:
    """The recipe of the second adaptation: fewer epochs, from the state the first one left."""
    return dataclasses.replace(recipe, epochs=round(recipe.epochs * share), min_steps=round(recipe.min_steps * share))


def record(bench: Workbench, result: ChipResult, shots: int, seed: int) -> dict[str, Any]:
    """What the report says of a variant on the chip; `simulate` adds what the other parts found."""
    table, again = CostTable.of(bench.chip), result.again
    adaptation, model = result.trial.adaptation, result.trial.model
    share, tasks = amortise.wear(bench.chip, result.cost.writes_max)
    assert result.inference is not None and again is not None
    assert result.adapted is not None and result.drifted is not None and result.readapted is not None
    method = result.variant.method
    starts = method.start if not method.warm_start else ""
    written = [n for n in result.trial.trained_cells if n in model]
    arrays = sum(model.matrix(n).layout.arrays for n in model.names)
    counts, again_counts, inference_counts = (
        table.powered(c, arrays) for c in (result.cost.counts, again.counts, result.inference)
    )
    cost, again_cost, inference = (table.cost(c) for c in (counts, again_counts, inference_counts))
    looks = table.powered(result.compensation, arrays) if compensates(bench.chip) else None
    looked = looks and table.cost(looks)
    return {
        "method": method.name,
        "placement": result.variant.placement.value,
        "optimiser": adaptation.recipe.optimiser,
        "forward_pairs": result.cost.forward_pairs,
        "forward_passes": result.cost.forward_passes,
        "backward_need": (BackwardNeed.NONE if result.cost.forward_passes else adaptation.backward_need).value,
        "shots": shots,
        "seed": seed,
        "chip_seed": bench.config.chip_of(seed),
        "start": starts or None,
        "trained_parameters": adaptation.trained_parameters,
        "head_parameters": adaptation.head_parameters if adaptation.groups["head"] else 0,
        "cells_written": result.cost.cells_written,
        "initial_cells_written": result.cost.initial_cells_written,
        "cells_in_placement": sum(model.matrix(n).layout.cells for n in written),
        "accuracy_chip": result.adapted.score,
        "accuracy_drifted": result.drifted.score,
        "accuracy_readapted": result.readapted.score,
        "right_chip": result.adapted.right,
        "right_drifted": result.drifted.right,
        "right_readapted": result.readapted.right,
        "drift": result.drift,
        "write_energy_joules": table.write_joules(counts),
        "initial_write_energy_joules": table.write_joules(result.cost.initial_counts),
        "write_time_seconds": cost.seconds["writes"],
        "adaptation_energy_joules": cost.total_joules,
        "adaptation_time_seconds": cost.total_seconds,
        "adaptation_energy_by_component_joules": cost.joules,
        "adaptation_time_by_component_seconds": cost.seconds,
        "adaptation_event_counts": counts.as_dict(),
        "readaptation_energy_joules": again_cost.total_joules,
        "readaptation_time_seconds": again_cost.total_seconds,
        "readaptation_event_counts": again_counts.as_dict(),
        "readaptation_cells_written": again.cells_written,
        "compensation_energy_joules": looked and looked.total_joules,
        "compensation_time_seconds": looked and looked.total_seconds,
        "compensation_event_counts": looks and looks.as_dict(),
        "training_memory_bytes": result.cost.memory_bytes,
        "inference_energy_joules": inference.total_joules,
        "inference_time_seconds": inference.total_seconds,
        "inference_interval_seconds": _interval(bench, seed, table, inference.seconds["digital"]),
        "inference_energy_by_component_joules": inference.joules,
        "inference_event_counts": inference_counts.as_dict(),
        "endurance_share_per_task": share,
        "tasks_until_worn_out": tasks,
        "train_steps": result.cost.steps,
        "train_tokens": result.cost.tokens,
        "label": "simulated",
        "note": _note(result.variant, result.cost.forward_passes > 0),
    }


def _interval(bench: Workbench, seed: int, table: CostTable, digital_seconds: float) -> float:
    """Seconds from one example to the next when every matrix and the digital unit work on examples of their own."""
    size = bench.tests(seed).size()
    matrix = size.tokens / size.sequences * input_cycles(bench.chip) * table.array_cycle_seconds
    return max(matrix, digital_seconds)


def _note(variant: Variant, forward_only: bool) -> str:
    if variant.placement is Placement.NVM_STEP:
        when = "along each direction, back, and after each step" if forward_only else "after each step"
        return (
            f"a digital master copy is trained; its initial values are written first, and {when} the cells "
            "whose target level changed are rewritten"
        )
    if variant.placement is Placement.NVM_TASK:
        return "trained digitally, then written to its cells once"
    return ""
