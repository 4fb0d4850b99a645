"""Which optimisers there are, each a class of recipe, and how a recipe is turned over to another one."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar

import torch

from ..errors import UsageError, unknown_name
from .base import Recipe
from .zeroth import ZerothRecipe
from .zeroth_recipes import ZEROTH_RECIPES


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

    def make_optimiser(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups, momentum=self.momentum, weight_decay=self.weight_decay)

    @property
    def kept_numbers(self) -> int:
        """The velocity."""
        return int(self.momentum > 0)

    @property
    def step_macs(self) -> int:
        """The update, and that of the velocity."""
        return 1 + int(self.momentum > 0)


OPTIMISERS: dict[str, type[Recipe]] = {kind.optimiser: kind for kind in (Recipe, SgdRecipe, ZerothRecipe)}


def with_optimiser(recipe: Recipe, optimiser: str, method: str = "") -> Recipe:
    """The recipe for another optimiser: the same rates, epochs and head, its own options at their defaults, and with
    `mezo` what was found for the method of this name.

    Raises `UsageError` for an unknown one.
    """
    if optimiser not in OPTIMISERS:
        raise UsageError(unknown_name("optimiser", optimiser, OPTIMISERS))
    shared = {name: value for name, value in asdict(recipe).items() if name in Recipe.__dataclass_fields__}
    turned = OPTIMISERS[optimiser](**shared)
    found = ZEROTH_RECIPES.get(method, {}) if isinstance(turned, ZerothRecipe) else {}
    return replace(turned, **found)


def belongs_to(option: str) -> str:
    """Where a recipe has this option, in words for a message: "" where none has."""
    owners = [name for name, kind in OPTIMISERS.items() if option in {field.name for field in fields(kind)}]
    return f"; {option} belongs to the optimiser {' and '.join(owners)}: set recipe.optimiser" if owners else ""
