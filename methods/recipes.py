"""How a method is trained: a recipe, which puts an objective, a sampler, an optimiser and hooks together. No torch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..errors import UsageError, unknown_name
from .formats import DEFAULT, FORMATS, NumberFormat
from .training.hooks import Hook
from .training.objectives import Objective
from .training.objectives.cross_entropy import CrossEntropy
from .training.optimisers import Optimiser
from .training.optimisers.adamw import AdamW
from .training.samplers import Sampler, Schedule
from .training.samplers.epochs import Epochs
from .training.strategies import KINDS, Strategy, known, named

if TYPE_CHECKING:
    from .plan import Plan

S = TypeVar("S", bound=Strategy)

KEYS: Mapping[str, str] = {kind: "hooks" if kind == "hook" else kind for kind in KINDS}
"""The key of a recipe for each kind of strategy."""
NO_HOOKS = "none"
"""As `recipe.hooks`: takes away those of the method's own recipe."""

_CROSS_ENTROPY, _EPOCHS, _ADAMW = CrossEntropy(), Epochs(), AdamW()


@dataclass(frozen=True)
class Recipe:
    """How a method is trained. The default of each method stands in its file, with how it was found.

    `learning_rates` maps each parameter group of the method ("head", "coefficients", ...) to its peak rate, which
    decays linearly to zero. `epochs` passes are made over the training examples, more where fewer than `min_steps`
    optimiser steps would result. `l1` weighs the regulariser of that name, where the method has it. `head_margin` is
    the mean logit margin on the training examples that the class-mean head starts with; `head_shrinkage` below 1 starts
    it from discriminant analysis (`class_means`). `new_head_again`: whether adapting
    once more starts from a new class-mean head, or goes on with the head it has: a method that has learnt its examples
    by heart sees them wide apart, and their class means mislead. `numbers`: the format of digital products and of what
    is kept digitally (`formats.FORMATS`), in training and afterwards.

    The rest are strategies (`training.strategies`), whose options are set like the recipe's own (`with_options`).
    """

    learning_rates: Mapping[str, float]
    epochs: int = 8
    min_steps: int = 0
    batch_size: int = 16
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    l1: float = 0.0
    head_margin: float = 2.0
    head_shrinkage: float = 1.0
    new_head_again: bool = True
    numbers: str = DEFAULT
    objective: Objective = _CROSS_ENTROPY
    sampler: Sampler = _EPOCHS
    optimiser: Optimiser = _ADAMW
    hooks: tuple[Hook, ...] = ()

    def __post_init__(self) -> None:
        """Raise `UsageError` for values no training can have."""
        if self.batch_size < 1:
            raise UsageError(f"batch_size of a recipe must be at least 1; got {self.batch_size}")
        for name in ("epochs", "min_steps", "weight_decay", "l1", "head_margin"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{name} of a recipe must not be negative, nor infinite; got {getattr(self, name)}")
        if not 0 < self.head_shrinkage <= 1:
            raise UsageError(f"head_shrinkage of a recipe must be above 0, and 1 at most; got {self.head_shrinkage}")
        if not self.clip_norm > 0:
            raise UsageError(f"clip_norm of a recipe must be above 0; got {self.clip_norm}")
        if self.numbers not in FORMATS:
            raise UsageError(unknown_name("format of numbers", self.numbers, FORMATS))
        for group, rate in self.learning_rates.items():
            if not 0 <= rate < math.inf:
                raise UsageError(f"the learning rate of {group} must be 0 or more; got {rate}")

    @property
    def format(self) -> NumberFormat:
        """The format of digital numbers."""
        return FORMATS[self.numbers]

    @property
    def strategies(self) -> tuple[Strategy, ...]:
        """All of them: one of each kind, and the hooks."""
        return (self.objective, self.sampler, self.optimiser, *self.hooks)

    @property
    def unusual(self) -> tuple[Strategy, ...]:
        """Those that are not what a recipe has unless told otherwise."""
        usual = [field.default for field in fields(self)]
        return tuple(strategy for strategy in self.strategies if strategy not in usual)

    @property
    def options(self) -> dict[str, Any]:
        """Every option that can be set, by its key: the recipe's own, then those of its strategies."""
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in KEYS.values()}
        del own["learning_rates"]
        return own | {name: value for strategy in self.strategies for name, value in strategy.options.items()}

    def with_options(self, **options: Any) -> "Recipe":
        """The recipe with options replaced, its own and those of its strategies; strategies, by name, come first.

        Raises:
            UsageError: an unknown strategy, or a value that cannot be.
            ValueError: an option that neither the recipe nor one of its strategies has.
        """
        recipe = self
        for kind, key in KEYS.items():
            if isinstance(chosen := options.get(key), str):
                recipe = recipe.with_strategy(kind, chosen)
                del options[key]
        if strange := options.keys() - recipe.options.keys() - {field.name for field in fields(self)}:
            raise ValueError(f"a recipe of {', '.join(s.name for s in recipe.strategies)} has no {min(strange)!r}")
        changed: dict[str, Any] = {
            "objective": _having(recipe.objective, options),
            "sampler": _having(recipe.sampler, options),
            "optimiser": _having(recipe.optimiser, options),
            "hooks": tuple(_having(hook, options) for hook in recipe.hooks),
        }
        own = {field.name for field in fields(self)}
        return replace(recipe, **changed | {key: value for key, value in options.items() if key in own})

    def with_strategy(self, kind: str, name: str) -> "Recipe":
        """The recipe with another strategy of a kind, the options of that one at their defaults; hooks by their names
        with commas between, or `NO_HOOKS`. Raises `UsageError` for an unknown one.
        """
        if kind == "hook":
            names = [word for part in name.split(",") if (word := part.strip()) and name.strip() != NO_HOOKS]
            return replace(self, hooks=tuple(cast(Hook, named(kind, word)) for word in names))
        chosen: dict[str, Any] = {KEYS[kind]: named(kind, name)}
        return replace(self, **chosen)

    def kept(self, numbers: int) -> int:
        """Numbers that training keeps of so many trained ones: the optimiser's and the hooks'."""
        return self.optimiser.kept(numbers) + numbers * sum(hook.kept_numbers for hook in self.hooks)

    def macs(self, numbers: int) -> int:
        """Multiplications of the optimiser and the hooks in a step, for so many trained numbers."""
        return self.optimiser.macs(numbers) + numbers * sum(hook.step_macs for hook in self.hooks)

    def require_fit(self, plan: "Plan") -> None:
        """Raise `UsageError` where one of the strategies is not for a method of this plan."""
        if plan.moving and not self.format.trains:
            raise UsageError(
                f"{plan.method} trains, and numbers of {self.numbers} are too coarse for that: give recipe.numbers "
                f"{', '.join(name for name, form in FORMATS.items() if form.trains)}"
            )
        for strategy in self.strategies:
            if why := strategy.misfit(plan, self):
                raise UsageError(why)

    def schedule(self, examples: int) -> Schedule:
        """Epochs and steps of a training on so many examples.

        Raises `UsageError` for batches that are too small for an optimiser that has to see all of them.
        """
        schedule = self.sampler.schedule(examples, self)
        if self.optimiser.whole_batches and schedule.steps_per_epoch > 1:
            raise UsageError(
                f"the optimiser {self.optimiser.name} compares losses of all {schedule.rows} examples: set "
                f"recipe.batch_size to that at least; got {self.batch_size}"
            )
        return schedule

    def recorded(self) -> dict[str, Any]:
        """The recipe as plain data: rates and options, and those strategies that are not the usual ones by name."""
        names = {KEYS[s.kind]: s.name for s in self.unusual if s.kind != "hook"}
        hooks = {"hooks": [hook.name for hook in self.hooks]} if self.hooks else {}
        options = {key: value for key, value in self.options.items() if (key, value) != ("numbers", DEFAULT)}
        return {"learning_rates": dict(self.learning_rates)} | options | names | hooks


def _having(strategy: S, options: Mapping[str, Any]) -> S:
    """A strategy with those of the options that are its own."""
    return replace(strategy, **{name: options[name] for name in strategy.options.keys() & options.keys()})


def with_optimiser(recipe: Recipe, optimiser: str, forward_only: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe for another optimiser: the same rates, epochs and head, and its own options at their defaults.

    `forward_only`: what was found for training by forward passes alone (`Method.forward_only`), for a recipe that does,
    as far as that optimiser has it.

    Raises `UsageError` for an unknown one.
    """
    turned = recipe.with_strategy("optimiser", optimiser)
    if turned.optimiser.by_gradient or not forward_only:
        return turned
    known = turned.options.keys() | {"learning_rates"}
    return turned.with_options(**{name: value for name, value in forward_only.items() if name in known})


def belongs_to(option: str) -> str:
    """Which strategies have this option, in words for a message: "" where none has."""
    for kind, key in KEYS.items():
        if owners := [name for name, strategy in known(kind).items() if option in _fields(strategy)]:
            return f"; {option} belongs to the {kind} {' and '.join(owners)}: set recipe.{key}"
    return ""


def _fields(strategy: type[Strategy]) -> list[str]:
    return [field.name for field in fields(strategy)]
