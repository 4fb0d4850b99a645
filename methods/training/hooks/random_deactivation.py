"""Random deactivation: in every step some low-rank updates are left out at random.

CE-SSL (the authors' code, github.com/KAZABANA/CE-SSL). In each step every linear is without its update with the
probability p, for the whole batch; with D x what its pair of matrices adds,

    a step:        y = W x + bias + m D x        m = 0 with the probability p, else 1
    afterwards:    y = W x + bias + (1 - p) D x

which is the mean over m. Behind the last step 1 - p is multiplied into the gates where the method has some, and else
into the second matrix of each pair, which is then written once more where it sits in cells. Arrays of an update that is
left out are not read. A count, which knows no chance, counts all reads: an upper bound.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ....errors import UsageError
from ..strategies import register
from . import Hook

if TYPE_CHECKING:
    from ...layers import ChangedLinear
    from ...plan import Plan
    from ...recipes import Recipe
    from ..run import Run


@register
@dataclass(frozen=True)
class RandomDeactivation(Hook):
    """skip_probability: p, from 0 to below 1."""

    name: ClassVar[str] = "random-deactivation"
    source: ClassVar[str] = "CE-SSL, github.com/KAZABANA/CE-SSL"

    skip_probability: float = 0.2

    def __post_init__(self) -> None:
        """Raise `UsageError` for a probability that cannot be."""
        if not 0 <= self.skip_probability < 1:
            raise UsageError(
                f"skip_probability of a recipe must be at least 0 and below 1; got {self.skip_probability}"
            )

    def misfit(self, plan: "Plan", recipe: "Recipe") -> str:
        if plan.low_rank:
            return ""
        return (
            f"the hook {self.name} leaves out low-rank updates, and {plan.method} has none; leave it out of "
            "recipe.hooks"
        )

    def before_training(self, run: "Run") -> None:
        from ...layers import ChangedLinear

        linears = {pair.linear for pair in run.adaptation.plan.low_rank}
        run.memory[self.name] = [
            module
            for module in run.adaptation.module.modules()
            if isinstance(module, ChangedLinear) and module.cell_name in linears
        ]

    def before_step(self, run: "Run") -> None:
        if self.skip_probability:
            for linear in self._linears(run):
                linear.skipped = bool(run.rng.random() < self.skip_probability)

    def after_update(self, run: "Run") -> None:
        """What comes next may be a look at the state as it is: converters are set."""
        for linear in self._linears(run):
            linear.skipped = False

    def after_step(self, run: "Run") -> None:
        self.after_update(run)

    def after_training(self, run: "Run") -> None:
        import torch

        if not self.skip_probability:
            return
        plan, state = run.adaptation.plan, run.adaptation.state
        with torch.no_grad():
            for pair in plan.low_rank:
                state[pair.gate or pair.second].mul_(1.0 - self.skip_probability)
        if self.last_changes(plan):
            run.changed()

    def last_changes(self, plan: "Plan") -> int:
        """One, unless all that changes are gates."""
        return int(self.skip_probability > 0 and not all(pair.gate for pair in plan.low_rank))

    def _linears(self, run: "Run") -> "list[ChangedLinear]":
        found: list[ChangedLinear] = run.memory[self.name]
        return found
