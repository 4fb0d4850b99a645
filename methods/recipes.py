"""How a method is trained: recipes, one class for each optimiser, and turning a recipe over to another one.

Nothing here needs torch until an optimiser is made: `count` works from recipes, too.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import UsageError, unknown_name

if TYPE_CHECKING:
    import torch

RULES = ("sgd", "sign", "momentum", "adam", "conservative")
ESTIMATES = ("two-sided", "one-sided", "forward-gradient")
DIRECTIONS = ("normal", "signs")


@dataclass(frozen=True)
class Recipe:
    """How a method is trained. The default of each method stands in its file, with how it was found.

    `learning_rates` maps each parameter group of the method ("head", "coefficients", ...) to AdamW's peak rate, which
    decays linearly to zero. `epochs` passes are made over the training examples, more where fewer than `min_steps`
    optimiser steps would result. `l1` weighs the mean absolute fusion coefficient in the loss. `head_margin` is the
    mean logit margin on the training examples that the class-mean head starts with; `head_shrinkage` below 1 starts it
    from discriminant analysis (`layers.set_class_mean_head`). `new_head_again`: whether adapting
    once more starts from a new class-mean head, or goes on with the head it has: a method that has learnt its examples
    by heart sees them wide apart, and their class means mislead.

    A recipe of this class trains by AdamW; other optimisers have subclasses (`OPTIMISERS`).
    """

    optimiser: ClassVar[str] = "adamw"
    by_gradient: ClassVar[bool] = True
    """Whether a step goes forward and backward; else it takes `passes_of` forward passes."""

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

    def __post_init__(self) -> None:
        """Raise `UsageError` for values no training can have."""
        if self.batch_size < 1:
            raise UsageError(f"batch_size of a recipe must be at least 1; got {self.batch_size}")
        for name in ("epochs", "min_steps", "weight_decay", "l1", "head_margin"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} of a recipe must not be negative; got {getattr(self, name)}")
        if not 0 < self.head_shrinkage <= 1:
            raise UsageError(f"head_shrinkage of a recipe must be above 0, and 1 at most; got {self.head_shrinkage}")
        if self.clip_norm <= 0:
            raise UsageError(f"clip_norm of a recipe must be above 0; got {self.clip_norm}")
        for group, rate in self.learning_rates.items():
            if not 0 <= rate < float("inf"):
                raise UsageError(f"the learning rate of {group} must be 0 or more; got {rate}")

    def make_optimiser(self, groups: list[dict[str, Any]]) -> "torch.optim.Optimizer":
        """torch's optimiser of parameter groups (`Adaptation.parameter_groups`)."""
        import torch

        return torch.optim.AdamW(groups, weight_decay=self.weight_decay)

    def passes_of(self, directions: int) -> int:
        """Forward passes of a step without a backward pass, along so many sets of directions."""
        return 0

    def changes_of(self, directions: int) -> int:
        """How often a step changes the trained numbers: what lives in cells is rewritten so often."""
        return 1

    @property
    def reach(self) -> float:
        """How far from where it stands a trained number is put while a step looks around."""
        return 0.0

    @property
    def kept_numbers(self) -> int:
        """Numbers the optimiser keeps for each trained one: AdamW's two moments."""
        return 2

    @property
    def step_macs(self) -> int:
        """Multiplications of one step for each trained number. AdamW: moments 2 + 3, correction 2, update 1."""
        return 8


@dataclass(frozen=True)
class SgdRecipe(Recipe):
    """Plain gradient descent, with heavy-ball `momentum` where it is above 0."""

    optimiser: ClassVar[str] = "sgd"

    momentum: float = 0.9

    def __post_init__(self) -> None:
        """Raise `UsageError` for values no training can have."""
        super().__post_init__()
        if not 0 <= self.momentum < 1:
            raise UsageError(f"momentum of a recipe must be at least 0 and below 1; got {self.momentum}")

    def make_optimiser(self, groups: list[dict[str, Any]]) -> "torch.optim.Optimizer":
        import torch

        return torch.optim.SGD(groups, momentum=self.momentum, weight_decay=self.weight_decay)

    @property
    def kept_numbers(self) -> int:
        """The velocity."""
        return int(self.momentum > 0)

    @property
    def step_macs(self) -> int:
        """The update, and that of the velocity."""
        return 1 + int(self.momentum > 0)


@dataclass(frozen=True)
class ZerothRecipe(Recipe):
    """A recipe without a backward pass.

    rule: what becomes of the estimated gradient: "sgd", its "sign", "momentum", "adam", or "conservative": the better
        of staying, the step and the step back, by three more losses.
    estimate: "two-sided" differences as above, "one-sided" ones against the loss at p, or the exact slope along z by
        forward-mode differentiation ("forward-gradient": needs exact reads).
    directions: "normal" numbers or random "signs".
    queries: directions in each step, averaged: the variance of the estimate falls as 1 / queries.
    sparsity: share of the numbers that a direction leaves out (random; the others are stretched: still unbiased).
    block_wise: one direction for each Transformer block (and the head) in turn instead of one for all numbers.
    normalise: divide the slopes by the root of their running mean square, so that the rates do not depend on the scale
        of the loss (no effect on "sign" and "adam").
    """

    optimiser: ClassVar[str] = "mezo"
    by_gradient: ClassVar[bool] = False

    rule: str = "sgd"
    estimate: str = "two-sided"
    directions: str = "normal"
    epsilon: float = 1e-3
    queries: int = 1
    sparsity: float = 0.0
    block_wise: bool = False
    normalise: bool = True
    momentum: float = 0.9

    def __post_init__(self) -> None:
        """Raise `UsageError` for values no training can have."""
        super().__post_init__()
        for kind, given, allowed in (
            ("rule", self.rule, RULES),
            ("estimate", self.estimate, ESTIMATES),
            ("directions", self.directions, DIRECTIONS),
        ):
            if given not in allowed:
                raise UsageError(unknown_name(f"{kind} of a zeroth-order recipe", given, allowed))
        if not 0 < self.epsilon < math.inf:
            raise UsageError(f"epsilon of a recipe must be above 0; got {self.epsilon}")
        if self.queries < 1:
            raise UsageError(f"queries of a recipe must be at least 1; got {self.queries}")
        for name in ("sparsity", "momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} of a recipe must be at least 0 and below 1; got {getattr(self, name)}")

    def make_optimiser(self, groups: list[dict[str, Any]]) -> "torch.optim.Optimizer":
        """What takes the estimated gradient as if it were exact."""
        import torch

        if self.rule == "adam":
            return torch.optim.AdamW(groups, weight_decay=self.weight_decay)
        momentum = self.momentum if self.rule == "momentum" else 0.0
        return torch.optim.SGD(groups, momentum=momentum, weight_decay=self.weight_decay)

    def passes_of(self, directions: int) -> int:
        """The loss on both sides of a step, or on one; what the conservative rule looks at comes on top."""
        each = 1 if self.estimate == "one-sided" else 2
        return each * directions + (self.estimate == "one-sided") + (3 if self.rule == "conservative" else 0)

    def changes_of(self, directions: int) -> int:
        """There and back along each direction, the conservative rule's two sides and the way back, and the update."""
        each = {"two-sided": 3, "one-sided": 2, "forward-gradient": 0}[self.estimate]
        return each * directions + (3 if self.rule == "conservative" else 0) + 1

    @property
    def reach(self) -> float:
        """Five standard deviations of a move along a normal direction, of the group with the largest rate."""
        moves = 5.0 if self.directions == "normal" else 1.0
        return 0.0 if self.estimate == "forward-gradient" else moves * self.epsilon / math.sqrt(1.0 - self.sparsity)

    @property
    def kept_numbers(self) -> int:
        """The start of a step, to come back to, and the moments of the rule."""
        return 1 + {"momentum": 1, "adam": 2}.get(self.rule, 0)

    @property
    def step_macs(self) -> int:
        """Two multiplications for each direction that is gone along, one to add it up, and those of the rule."""
        return 3 * self.queries + {"momentum": 2, "adam": 8}.get(self.rule, 1)


OPTIMISERS: dict[str, type[Recipe]] = {kind.optimiser: kind for kind in (Recipe, SgdRecipe, ZerothRecipe)}


def with_optimiser(recipe: Recipe, optimiser: str, forward_only: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe for another optimiser: the same rates, epochs and head, and its own options at their defaults.

    `forward_only`: what was found for training by forward passes alone (`Method.forward_only`), for a recipe that does.

    Raises `UsageError` for an unknown one.
    """
    if optimiser not in OPTIMISERS:
        raise UsageError(unknown_name("optimiser", optimiser, OPTIMISERS))
    shared = {name: value for name, value in asdict(recipe).items() if name in Recipe.__dataclass_fields__}
    turned = OPTIMISERS[optimiser](**shared)
    return turned if turned.by_gradient else replace(turned, **(forward_only or {}))


def belongs_to(option: str) -> str:
    """Where a recipe has this option, in words for a message: "" where none has."""
    owners = [name for name, kind in OPTIMISERS.items() if option in {field.name for field in fields(kind)}]
    return f"; {option} belongs to the optimiser {' and '.join(owners)}: set recipe.optimiser" if owners else ""


def blocks_of(names: Sequence[str], paths: Sequence[str]) -> list[set[int]]:
    """Places of the names of each Transformer block, the blocks given by their paths, and of the names that belong to
    none (each group by itself).
    """
    found: dict[str, set[int]] = {}
    for place, name in enumerate(names):
        block = next((path for path in paths if name.startswith(f"{path}.")), name.split(".")[0])
        found.setdefault(block, set()).add(place)
    return list(found.values())
