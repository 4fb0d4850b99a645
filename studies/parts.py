"""The parts of a simulation. Each stands alone: a process of its own that does it gets the same result.

A part says what it takes (`reads`, for the progress; `duration`, to be dealt out longest first), and does it
(`perform`).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from ..methods import Method, Placement, get_method
from ..methods.library.frozen import AsProgrammed
from ..methods.placement import BackwardNeed
from ..reports.records.programming import ChipFacts
from ..reports.records.results import Result
from ..simulator import ProgrammedModel
from ..workloads.task import VALIDATION_SHARE
from . import expected
from .chips import Chips, facts
from .encoding import Encoded
from .exact import ExactResult, cross_validated, run_exact
from .life import groups, live, shorter, takes_over, trains_without_chip
from .pool_check import checked
from .progress import Progress
from .records import record
from .trial import ChipTrial
from .variants import Variant
from .wiring import prepare_wires
from .workbench import Workbench

AS_IT_IS = Method.start
"""The method that leaves the model as it is: what others are before they adapt."""


class Before(NamedTuple):
    """Accuracy before any adaptation."""

    exact: float | None
    chip: float | None


class OnChip(NamedTuple):
    """Of a chip part: a record for each variant, and what was found by the way with exact weights, by method."""

    records: list[Result]
    exact: dict[str, ExactResult]


@dataclass(frozen=True)
class Part(ABC):
    """One piece of work on one draw of examples; `variants`: numbers of the variants in the workbench."""

    shots: int
    seed: int
    variants: tuple[int, ...] = ()

    @abstractmethod
    def perform(self, bench: Workbench, chips: Chips, progress: Progress) -> Any:
        """Do it; what comes back can be sent between processes."""

    def reads(self, bench: Workbench) -> dict[str, float]:
        """For the progress: kind of work -> examples read, as `perform` reports them."""
        return {}

    def duration(self, bench: Workbench) -> int:
        """Roughly how long it takes, beside the other parts."""
        return 1

    def chosen(self, bench: Workbench) -> list[Variant]:
        """The variants themselves."""
        return [bench.variants[n] for n in self.variants]

    def trains(self, bench: Workbench) -> bool:
        """Whether more than a head is trained."""
        return any(variant.method.backward_need is not BackwardNeed.NONE for variant in self.chosen(bench))

    @property
    def where(self) -> str:
        """For the progress."""
        return f"{self.shots} shots, seed {self.seed}"

    def examples(self, bench: Workbench) -> tuple[Encoded, Encoded]:
        """What is trained on, and what is held back."""
        few = bench.task.few_shot(self.shots, self.seed)
        return bench.encode(few.train), bench.encode(few.validation)

    def done(self, bench: Workbench, progress: Progress) -> None:
        """Tell the progress of everything at once."""
        for kind, reads in self.reads(bench).items():
            progress.advance(reads, kind)


class ChipPart(Part):
    """Variants that live through time together on the run's chip."""

    def reads(self, bench: Workbench) -> dict[str, float]:
        variants = self.chosen(bench)
        twins = [Variant(v.method, Placement.DIGITAL) in variants[:n] and takes_over(v) for n, v in enumerate(variants)]
        config = bench.config
        again = [v for v in variants if config.adapts_again(v.method.name)]
        trained = sum(
            expected.training(v, recipe, self.shots, twin)
            for v, twin in zip(variants, twins, strict=True)
            for recipe in (v.method.recipe, *([shorter(v.method.recipe, config.readapt_share)] if v in again else []))
        )
        tests = (1 + len(config.age_seconds)) * len(variants) + len(again)
        return {expected.TRAINING: trained, expected.TESTING: tests * expected.testing(bench)}

    def duration(self, bench: Workbench) -> int:
        # Training through the chip takes as long as all the tests, and one training serves the whole part.
        return 8 + len(self.variants) if self.trains(bench) else 3

    def perform(self, bench: Workbench, chips: Chips, progress: Progress) -> OnChip:
        data, held_out = self.examples(bench)
        base = at_start(chips, bench.config.chip_of(self.seed), progress)
        prepare_wires(base, progress, self.where)
        results = live(
            bench, base, self.chosen(bench), data, held_out, self.shots, self.seed, self.where, progress
        )  # fmt: skip
        exact = {result.variant.method.name: result.exact for result in results if result.exact is not None}
        return OnChip([record(bench, result, self.shots, self.seed) for result in results], exact)


class ExactPart(Part):
    """A method with exact weights; its one variant stands for the method."""

    def reads(self, bench: Workbench) -> dict[str, float]:
        (variant,) = self.chosen(bench)
        return {expected.EXACT: expected.exact(variant, variant.method.recipe, self.shots, bench)}

    def duration(self, bench: Workbench) -> int:
        return 2 if self.trains(bench) else 1

    def perform(self, bench: Workbench, chips: Chips, progress: Progress) -> ExactResult:
        (variant,) = self.chosen(bench)
        data, held_out = self.examples(bench)
        progress.stage(f"{self.where}: {variant.method.name} with exact weights")
        found = run_exact(bench, variant, data, bench.tests(self.seed), held_out, self.shots, self.seed)
        self.done(bench, progress)
        return found


class FoldsPart(Part):
    """The cross-validation of a method over all shots, with exact weights: right answers ("0110"), or None."""

    def reads(self, bench: Workbench) -> dict[str, float]:
        (variant,) = self.chosen(bench)
        number = bench.config.check_pool
        shots = round(self.shots * (1 - 1 / number) / (1 - VALIDATION_SHARE))  # a fifth less are trained on
        return {expected.EXACT: number * expected.training(variant, variant.method.recipe, shots) + self.shots}

    def duration(self, bench: Workbench) -> int:
        return 2 * bench.config.check_pool if self.trains(bench) else 1

    def perform(self, bench: Workbench, chips: Chips, progress: Progress) -> str | None:
        (variant,) = self.chosen(bench)
        few = bench.task.few_shot(self.shots, self.seed)
        progress.stage(f"{self.where}: {variant.method.name}, does the pool fit?")
        found = cross_validated(bench, variant, (*few.train, *few.validation), self.shots, self.seed)
        self.done(bench, progress)
        return found


class BeforePart(Part):
    """The model as it is, where that is not among the methods; with a variant, as its method has it programmed."""

    def reads(self, bench: Workbench) -> dict[str, float]:
        return {expected.TESTING: expected.testing(bench)}

    def duration(self, bench: Workbench) -> int:
        return 1

    def perform(self, bench: Workbench, chips: Chips, progress: Progress) -> Before:
        data, held_out = self.examples(bench)
        progress.stage(f"{self.where}: before adaptation")
        as_it_is = get_method(AS_IT_IS)
        if self.variants:
            (variant,) = self.chosen(bench)
            as_it_is = AsProgrammed(recipe=as_it_is.recipe, other=variant.method)
        frozen = Variant(as_it_is, Placement.DIGITAL)
        base = at_start(chips, bench.config.chip_of(self.seed), progress)
        prepare_wires(base, progress, self.where)
        trial = ChipTrial(bench, frozen, base, self.shots, self.seed)
        trial.deploy(data)
        trial.adapt(data, trial.adaptation.recipe)
        test = bench.tests(self.seed)
        yardstick = run_exact(bench, frozen, data, test, held_out, self.shots, self.seed)
        found = Before(yardstick.test.score, trial.grade(test, trial.features(test)).score)
        self.done(bench, progress)
        return found


class FactsPart(Part):
    """What the report says of the chip of a run alone."""

    def perform(self, bench: Workbench, chips: Chips, progress: Progress) -> ChipFacts:
        number = bench.config.chip_of(self.seed)
        return facts(bench, number, at_start(chips, number, progress))


P = TypeVar("P", bound=Part)


def of_kind(kind: type[P], parts: Sequence[Part]) -> list[P]:
    """The parts of one kind."""
    return [part for part in parts if isinstance(part, kind)]


def at_start(chips: Chips, number: int, progress: Progress) -> ProgrammedModel:
    """The chip of a run as it was programmed."""
    progress.stage(f"chip {number}")
    base = chips.get(number)
    base.set_time(0.0)
    return base


def starts_elsewhere(bench: Workbench, variant: int) -> bool:
    """Whether a variant is trained from other weights than the model's: its chip is programmed with these."""
    plan = bench.plan(bench.variants[variant])
    return bool(plan.kept_weights and plan.moving)


def parts_of(bench: Workbench) -> list[Part]:
    """Everything a simulation does after programming the first chip: chip by chip, the longest parts first. What order
    they are done in, and in which processes, decides nothing.
    """
    config = bench.config
    methods = {variant.method.name: n for n, variant in enumerate(bench.variants)}
    found_on_chip = {variant.method.name for variant in bench.variants if trains_without_chip(bench.plan(variant))}
    parts: list[Part] = []
    for shots in config.shots:
        for seed in config.seed_numbers:
            parts += [
                ChipPart(shots, seed, tuple(bench.variants.index(variant) for variant in group))
                for group in groups(bench.variants)
            ]
            parts += [ExactPart(shots, seed, (n,)) for name, n in methods.items() if name not in found_on_chip]
            if AS_IT_IS not in methods:
                parts.append(BeforePart(shots, seed))
            parts += [BeforePart(shots, seed, (n,)) for n in methods.values() if starts_elsewhere(bench, n)]
            if config.check_pool:
                parts += [FoldsPart(shots, seed, (methods[name],)) for name in checked(list(methods))]
    chips = list(config.chip_numbers)
    parts += [FactsPart(0, config.chip_numbers[number][0]) for number in chips[1:]]
    return sorted(parts, key=lambda part: (chips.index(config.chip_of(part.seed)), -part.duration(bench)))
