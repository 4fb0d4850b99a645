"""One-shot rank allocation: before the first write, the least important low-rank pairs get fewer ranks.

CE-SSL (the authors' code, github.com/KAZABANA/CE-SSL). One pass over the labelled examples, before any step,
gives the gradient of each pair's second matrix B; with the frozen W of its linear and the first matrix A,

    importance = mean over all places of (W * (dL/dB A))^2

and of n pairs the floor(n `reduced_share`) least important ones keep r // 4 * 2 of their r ranks. The others keep all.

In that pass B is 0 and a gate is 1, whatever the method starts them at: it is the frozen model that is asked. The ranks
that go are the last ones, which are set to zero in both matrices: no gradient reaches them any more, so they stay given
up, they are not programmed and not read (`beside.LowRank`). Matrices that are trained in their cells are written for
the first time behind the pass: what is given up is never written. Training again, and training on from a state that
has been trained, would take ranks that are in use: the first leaves them as they are, the second is refused.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ....errors import UsageError
from ..strategies import register
from . import Hook

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from ...beside import LowRank
    from ...plan import Plan
    from ...recipes import Recipe
    from ..run import Run


@register
@dataclass(frozen=True)
class RankAllocation(Hook):
    """reduced_share: share of the low-rank pairs that get fewer ranks; 0: none does, and no pass is made."""

    name: ClassVar[str] = "rank-allocation"
    source: ClassVar[str] = "CE-SSL, github.com/KAZABANA/CE-SSL"
    before_first_write: ClassVar[bool] = True

    reduced_share: float = 0.6

    def __post_init__(self) -> None:
        """Raise `UsageError` for a share that cannot be."""
        if not 0 <= self.reduced_share <= 1:
            raise UsageError(f"reduced_share of a recipe must be between 0 and 1; got {self.reduced_share}")

    @property
    def start_passes(self) -> int:
        return int(self.reduced_share > 0)

    def start_macs(self, plan: "Plan", tokens: int) -> int:
        """dL/dB A, its product with W, and the square, for each place."""
        if not self.start_passes:
            return 0
        shapes = [(plan.tensors[pair.first].shape, plan.tensors[pair.second].shape) for pair in plan.low_rank]
        return sum(outputs * inputs * (rank + 2) for (rank, inputs), (outputs, _) in shapes)

    def misfit(self, plan: "Plan", recipe: "Recipe") -> str:
        if not plan.low_rank:
            return (
                f"the hook {self.name} gives ranks to low-rank pairs, and {plan.method} trains none; leave it out of "
                "recipe.hooks"
            )
        if self.start_passes and not recipe.optimiser.by_gradient:
            return (
                f"the hook {self.name} needs gradients, and {recipe.optimiser.name} has none: what is given up would "
                "be moved again; leave it out of recipe.hooks"
            )
        return ""

    def before_training(self, run: "Run") -> None:
        """Raises `UsageError` for a trained state."""
        if run.again or not self.start_passes:
            return
        plan, state = run.adaptation.plan, run.adaptation.state
        if any((state[pair.second] != 0).any() and (not pair.gate or (state[pair.gate] != 0).any())
               for pair in plan.low_rank):  # fmt: skip
            raise UsageError(
                f"the hook {self.name} gives up ranks before they are trained, and this state of {plan.method} has "
                "been trained: leave out warm_start, or the hook"
            )
        found = self._importances(run)
        for place in np.argsort(found, kind="stable")[: int(len(found) * self.reduced_share)].tolist():
            self._reduce(state, plan.low_rank[place])

    def _importances(self, run: "Run") -> list[float]:
        """Of each pair, in the order of the plan."""
        import torch

        adaptation, source = run.adaptation, run.source
        assert source is not None
        pairs, state = adaptation.plan.low_rank, adaptation.state
        seconds = [state[pair.second] for pair in pairs]
        changed = [(second, 0.0) for second in seconds] + [(state[p.gate], 1.0) for p in pairs if p.gate]
        before = [tensor.detach().clone() for tensor, _ in changed]
        with torch.no_grad():
            for tensor, value in changed:
                tensor.fill_(value)
        sums = [torch.zeros_like(second) for second in seconds]
        order, tokens = np.arange(len(source.labels)), run.log.trained.tokens
        for step in source.steps(order, -(-len(order) // run.recipe.batch_size)):
            loss = run.recipe.objective.loss(step.forward(None), step.labels)
            share = len(step.rows) / len(order)
            found = torch.autograd.grad(loss, seconds)
            sums = [total + share * gradient for total, gradient in zip(sums, found, strict=True)]
            step.count(0)
        with torch.no_grad():
            for (tensor, _), old in zip(changed, before, strict=True):
                tensor.copy_(old)
        run.log.hook_macs += self.start_macs(adaptation.plan, run.log.trained.tokens - tokens)
        weights = (adaptation.cell_tensors[pair.linear] for pair in pairs)
        return [
            (weight * (gradient @ state[pair.first].detach())).square().mean().item()
            for pair, weight, gradient in zip(pairs, weights, sums, strict=True)
        ]

    @staticmethod
    def _reduce(state: "Mapping[str, Tensor]", pair: "LowRank") -> None:
        import torch

        with torch.no_grad():
            kept = state[pair.first].shape[0] // 4 * 2
            state[pair.first][kept:] = 0.0
            state[pair.second][:, kept:] = 0.0
            if pair.gate:
                state[pair.gate][kept:] = 0.0
