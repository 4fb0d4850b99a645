"""Interpolation: forward passes alone, for a few numbers, each kept inside bounds.

The search is Powell's, by linear models of the loss (COBYLA, 1994; steps in `training/box_search.py`), with bounds as
its only constraints. Every step is one forward pass over all examples, at another point; then the numbers go back to
the best point so far, where they are when the training ends. Nothing is drawn at random, and no gradient is estimated.

LoraHub asks NGOpt of the library Nevergrad to search its coefficients. NGOpt chooses another algorithm by budget,
bounds and number of coefficients; with 20 inside +-1.5 and 40 looks it takes COBYLA, with a first step of 0.5 (seen in
version 1.0.12, as for 3 to 100 coefficients). Here it is written again in numpy: on quadratics of 3 to 20 numbers it
comes as near to the minimum in 40 to 60 looks as that of SciPy.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ....errors import UsageError
from ..strategies import register
from . import Optimiser

if TYPE_CHECKING:
    from ...plan import Plan
    from ...recipes import Recipe
    from ..run import Run, Stepper

MOST = 500
"""Numbers that it moves at most: it keeps a point for each of them, and looks at each of these first."""


@register
@dataclass(frozen=True)
class Interpolation(Optimiser):
    """radius: length of the first steps, of the group with the largest rate; those of other groups are shorter as their
    rates are. bound: no number goes further from 0. `batch_size` of the recipe has to hold all examples: losses of
    different batches cannot be compared.
    """

    name: ClassVar[str] = "interpolation"
    source: ClassVar[str] = "Powell, 1994 (COBYLA); Huang et al., LoraHub, COLM 2024, arXiv:2307.13269, section 3.3"
    by_gradient: ClassVar[bool] = False
    whole_batches: ClassVar[bool] = True

    radius: float = 0.5
    bound: float = 1.5

    def __post_init__(self) -> None:
        """Raise `UsageError` for values no training can have."""
        for name in ("radius", "bound"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"{name} of a recipe must be above 0; got {getattr(self, name)}")

    def misfit(self, plan: "Plan", recipe: "Recipe") -> str:
        if any(tensor.slice_axis is not None for tensor in plan.moving):
            return f"{self.name} moves all numbers together, and slices of {plan.method} take turns; take mezo"
        if plan.moving_numbers > MOST:
            return (
                f"{self.name} is for {MOST} numbers at most, and {plan.method} moves {plan.moving_numbers:,} on this "
                "model; take mezo, or set rates of groups to 0"
            )
        return ""

    def stepper(self, run: "Run", total_steps: int) -> "Stepper":
        from ..interpolating import InterpolationStepper

        return InterpolationStepper(run, self)

    def passes(self, directions: int) -> int:
        """A look at one point."""
        return 1

    def changes(self, directions: int) -> int:
        """To the point, and back to the best."""
        return 2

    @property
    def reach(self) -> float:
        """A number may come to stand at the bound."""
        return self.bound

    def kept(self, numbers: int) -> int:
        """A point for each number and one more, and their losses."""
        return (numbers + 1) ** 2

    def macs(self, numbers: int) -> int:
        """An inverse matrix, and four products of it."""
        return numbers**3 + 4 * numbers**2
