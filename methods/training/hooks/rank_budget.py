"""A budget of ranks: of all the ranks of a model, the most important are kept, fewer and fewer of them.

Zhang et al., "AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning", ICLR 2023, arXiv:2303.10512,
sections 3.2 and 3.3. A rank is a row of the first matrix, a number of the gate and a column of the second; after the
optimiser's step t, with w any of their numbers and the gradient of that step,

    I = |w dL/dw|          smoothed:  I' <- b1 I' + (1 - b1) I       U <- b2 U + (1 - b2) |I - I'|       s(w) = I' U
    importance of a rank = s(gate) + mean of s over its row + mean of s over its column

and every `budget_interval` steps the gates of all ranks but the b(t) most important are set to 0. With b0 ranks in all,
bT in the end and T steps, of which the first t0 and the last t1 change nothing,

    b(t) = int(bT + (b0 - bT) (1 - (t - t0) / (T - t1 - t0))^3)

A gate that was set to 0 is moved by the optimiser again, and may come back until step T - t1. From then on the kept
ranks are fixed.

The masks are those of peft's AdaLoRA from the same gradients (tests/methods/test_adalora.py). Where a run is so short
that nothing has been measured by then, the importance is that of the step itself. Under NVM_STEP the cells of a rank
are not rewritten at a step that leaves its gate at 0.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from ....errors import UsageError
from ..strategies import register
from . import Hook

if TYPE_CHECKING:
    from torch import Tensor

    from ...beside import LowRank
    from ...plan import Plan
    from ...recipes import Recipe
    from ..run import Run


@dataclass
class _Memory:
    """Of a run: steps done, smoothed sensitivity and uncertainty by name, and which gates stay in the end."""

    pairs: "tuple[LowRank, ...]"
    done: int = 0
    sensitivity: "dict[str, Tensor]" = field(default_factory=dict)
    uncertainty: "dict[str, Tensor]" = field(default_factory=dict)
    stays: "dict[str, Tensor]" = field(default_factory=dict)


@register
@dataclass(frozen=True)
class RankBudget(Hook):
    """kept_share: bT, as a share of all ranks.
    budget_warmup, budget_rest: t0 and t1, as shares of the steps.
    budget_interval: steps from one choice to the next.
    sensitivity_memory, uncertainty_memory: b1 and b2.
    """

    name: ClassVar[str] = "rank-budget"
    source: ClassVar[str] = "Zhang et al., AdaLoRA, ICLR 2023, arXiv:2303.10512, sections 3.2 and 3.3"

    kept_share: float = 2 / 3
    budget_warmup: float = 0.1
    budget_rest: float = 0.3
    budget_interval: int = 1
    sensitivity_memory: float = 0.85
    uncertainty_memory: float = 0.85

    def __post_init__(self) -> None:
        """Raise `UsageError` for values no training can have."""
        for name in ("kept_share", "budget_warmup", "budget_rest"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} of a recipe must be between 0 and 1; got {getattr(self, name)}")
        if self.budget_warmup + self.budget_rest >= 1:
            raise UsageError(
                "budget_warmup and budget_rest of a recipe must leave steps between them, and be below 1 together; got "
                f"{self.budget_warmup} and {self.budget_rest}"
            )
        if self.budget_interval < 1:
            raise UsageError(f"budget_interval of a recipe must be at least 1; got {self.budget_interval}")
        for name in ("sensitivity_memory", "uncertainty_memory"):
            if not 0 < getattr(self, name) < 1:
                raise UsageError(f"{name} of a recipe must be above 0 and below 1; got {getattr(self, name)}")

    @property
    def kept_numbers(self) -> int:
        """Sensitivity and uncertainty."""
        return 2

    @property
    def step_macs(self) -> int:
        """The sensitivity 1, two running means 2 + 2, their product 1."""
        return 6

    def budget(self, step: int, steps: int, ranks: int) -> int:
        """How many of so many ranks are kept behind a step of a run, 1..steps."""
        first, last = self.ends(steps)
        kept = int(self.kept_share * ranks + 0.5)
        if step <= first:
            return ranks
        if step >= last:
            return kept
        return int((ranks - kept) * (1 - (step - first) / (last - first)) ** 3 + kept)

    def ends(self, steps: int) -> tuple[int, int]:
        """The last step before the budget falls, and the first at which it has fallen."""
        return int(self.budget_warmup * steps), steps - int(self.budget_rest * steps)

    def misfit(self, plan: "Plan", recipe: "Recipe") -> str:
        if any(pair.gate for pair in plan.low_rank):
            return ""
        return (
            f"the hook {self.name} closes gates of ranks, and {plan.method} has none; take it for adalora or sora, or "
            "leave it out of recipe.hooks"
        )

    def before_training(self, run: "Run") -> None:
        run.memory[self.name] = _Memory(tuple(pair for pair in run.adaptation.plan.low_rank if pair.gate))

    def after_update(self, run: "Run") -> None:
        import torch

        memory: _Memory = run.memory[self.name]
        memory.done += 1
        step, (first, last) = memory.done, self.ends(run.total_steps)
        with torch.no_grad():
            if step < last or not memory.sensitivity:
                self._measure(memory, run)
            if step <= last and (step == last or (step > first and step % self.budget_interval == 0)):
                self._choose(memory, run, self.budget(step, run.total_steps, self._ranks(memory, run)))
            if step > first and (step >= last or step % self.budget_interval == 0):
                for pair in memory.pairs:
                    run.adaptation.state[pair.gate].mul_(memory.stays[pair.gate])

    @staticmethod
    def _ranks(memory: _Memory, run: "Run") -> int:
        return sum(run.adaptation.state[pair.gate].numel() for pair in memory.pairs)

    def _measure(self, memory: _Memory, run: "Run") -> None:
        """Bring sensitivity and uncertainty up to date with the gradients of the step."""
        import torch

        b1, b2 = self.sensitivity_memory, self.uncertainty_memory
        for name in (name for pair in memory.pairs for name in (pair.first, pair.gate, pair.second)):
            weight = run.adaptation.state[name]
            gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
            now = (weight * gradient).abs()
            before, spread = (of.get(name, torch.zeros_like(now)) for of in (memory.sensitivity, memory.uncertainty))
            memory.sensitivity[name] = mean = b1 * before + (1 - b1) * now
            memory.uncertainty[name] = b2 * spread + (1 - b2) * (now - mean).abs()

    def _choose(self, memory: _Memory, run: "Run", kept: int) -> None:
        """The gates of the most important ranks stay; of equals the first."""
        import torch

        score = lambda name: memory.sensitivity[name] * memory.uncertainty[name]
        found = [score(p.gate) + score(p.first).mean(1) + score(p.second).mean(0) for p in memory.pairs]
        order = torch.cat(found).argsort(descending=True, stable=True)
        stays = torch.zeros(len(order), dtype=torch.bool).index_fill(0, order[:kept], True)
        parts = stays.split([len(part) for part in found])
        memory.stays = {pair.gate: part for pair, part in zip(memory.pairs, parts, strict=True)}
