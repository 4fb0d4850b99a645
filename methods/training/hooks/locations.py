"""Coefficients and their places are learnt in turns at first, and then the coefficients alone.

Du et al., "LoCA: Location-Aware Cosine Adaptation for Parameter-Efficient Fine-Tuning", ICLR 2025, arXiv:2502.06820.
In the first tenth of the steps (the paper's default) a third of each turn moves the coefficients and the rest moves
their places; the authors' turns have 10 and 20 steps. Whatever else is trained, the head for one, moves in every step.
Places only have a gradient where the coefficient is not zero, so coefficients begin.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ....errors import UsageError
from ..strategies import register
from . import Hook

if TYPE_CHECKING:
    from ...plan import Plan
    from ...recipes import Recipe
    from ..run import Run

PLACES, VALUES = "locations", "coefficients"


@register
@dataclass(frozen=True)
class Locations(Hook):
    """`location_share`: the share of the steps in which places move. `turn`: steps of a turn at most; a shorter phase
    is one turn.
    """

    name = "locations"
    source = "Du et al., LoCA, ICLR 2025, arXiv:2502.06820"

    location_share: float = 0.1
    turn: int = 30

    def __post_init__(self) -> None:
        """Raise `UsageError` for a share that is none, or a turn below 2 steps."""
        if not 0 <= self.location_share <= 1:
            raise UsageError(f"location_share of a recipe must be 0 to 1; got {self.location_share}")
        if self.turn < 2:
            raise UsageError(f"turn of a recipe must be at least 2; got {self.turn}")

    def misfit(self, plan: "Plan", recipe: "Recipe") -> str:
        if {PLACES, VALUES} <= set(plan.groups):
            return ""
        return (
            f"the hook {self.name} moves coefficients and their places in turns, and {plan.method} has no places; "
            "leave it out of recipe.hooks"
        )

    def moves(self, step: int, total: int) -> str:
        """The group that moves in a step, of so many in all."""
        phase = math.ceil(self.location_share * total)
        turn = min(self.turn, phase)
        if step >= phase or step % turn < max(1, turn // 3):
            return VALUES
        return PLACES

    def before_training(self, run: "Run") -> None:
        """Raise `UsageError` for a method that has no places."""
        if not {PLACES, VALUES} <= run.adaptation.groups.keys():
            raise UsageError(
                f"the hook locations moves places of coefficients, and {run.adaptation.method} has none; take it for "
                "loca, or leave it out of recipe.hooks"
            )

    def before_step(self, run: "Run") -> None:
        self._set(run, self.moves(run.log.steps, run.total_steps))

    def after_step(self, run: "Run") -> None:
        self._set(run, "")

    def _set(self, run: "Run", moves: str) -> None:
        """Let one of the two groups rest: without a gradient the optimiser leaves it as it is. "" for none."""
        groups = run.adaptation.groups
        for group in (PLACES, VALUES):
            for name in groups[group]:
                run.adaptation.state[name].requires_grad_(moves in ("", group))
