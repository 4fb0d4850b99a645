"""MeZO and its relatives: training with forward passes only, what they are asked for and what they cost.

The equations and papers stand in `training/zeroth.py`, which takes the steps.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ....errors import UsageError, unknown_name
from ..strategies import register
from . import Optimiser

if TYPE_CHECKING:
    import torch

    from ..run import Run, Stepper

RULES = ("sgd", "sign", "momentum", "adam", "conservative")
ESTIMATES = ("two-sided", "one-sided", "forward-gradient")
DIRECTIONS = ("normal", "signs")


@register
@dataclass(frozen=True)
class Mezo(Optimiser):
    """An optimiser without a backward pass.

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

    name: ClassVar[str] = "mezo"
    source: ClassVar[str] = "Malladi et al., NeurIPS 2023, arXiv:2305.17333; Zhang et al., ICML 2024, arXiv:2402.11592"
    by_gradient: ClassVar[bool] = False
    leaves_looks: ClassVar[bool] = True
    on_device: ClassVar[str] = "edge-adapt train --optimizer mezo"

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

    def make(self, groups: list[dict[str, Any]], weight_decay: float) -> "torch.optim.Optimizer":
        """What takes the estimated gradient as if it were exact."""
        import torch

        if self.rule == "adam":
            return torch.optim.AdamW(groups, weight_decay=weight_decay)
        momentum = self.momentum if self.rule == "momentum" else 0.0
        return torch.optim.SGD(groups, momentum=momentum, weight_decay=weight_decay)

    def stepper(self, run: "Run", total_steps: int) -> "Stepper":
        from ..zeroth import ZerothStepper

        return ZerothStepper(run, self, total_steps)

    def blocks(self, names: Sequence[str], block_paths: Sequence[str]) -> list[set[int]]:
        """Places of the names that a direction moves together: all, or those of one block after the other."""
        return blocks_of(names, block_paths) if self.block_wise else [set(range(len(names)))]

    def direction_count(self, names: Sequence[str], block_paths: Sequence[str]) -> int:
        return self.queries * len(self.blocks(names, block_paths))

    def passes(self, directions: int) -> int:
        """The loss on both sides of a step, or on one; what the conservative rule looks at comes on top."""
        each = 1 if self.estimate == "one-sided" else 2
        return each * directions + (self.estimate == "one-sided") + (3 if self.rule == "conservative" else 0)

    def changes(self, directions: int) -> int:
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

    @property
    def needs_exact_reads(self) -> str:
        if self.estimate != "forward-gradient":
            return ""
        return (
            "forward-gradient needs exact reads, and those of cells cannot be differentiated; take two-sided or "
            "one-sided"
        )


def blocks_of(names: Sequence[str], paths: Sequence[str]) -> list[set[int]]:
    """Places of the names of each Transformer block, the blocks given by their paths, and of the names that belong to
    none (each group by itself).
    """
    found: dict[str, set[int]] = {}
    for place, name in enumerate(names):
        block = next((path for path in paths if name.startswith(f"{path}.")), name.split(".")[0])
        found.setdefault(block, set()).add(place)
    return list(found.values())
