"""Proximal AdamW: steps of AdamW, and after each the soft threshold, which makes some numbers exactly 0.

With the rate eta of a group and the threshold lambda, what AdamW's step has made of a number g becomes

    g <- sign(g) max(|g| - eta lambda, 0)

the proximal map of eta lambda |g| (Beck and Teboulle, SIAM J. Imaging Sciences 2009; Ding et al., SoRA, EMNLP 2023,
arXiv:2311.11696, section 3, with a gradient step in front where AdamW's stands here). As the rate falls to zero, so
does the threshold: over a run of T steps a number that nothing else moves comes nearer to 0 by eta lambda T / 2. A step
of AdamW moves a number by about its rate at most: a lambda of 1 or more outweighs it, and in the end all are 0.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ....errors import UsageError, unknown_name
from ..strategies import register
from . import Optimiser
from .adamw import AdamW

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ...plan import Plan
    from ...recipes import Recipe


@register
@dataclass(frozen=True)
class Proximal(AdamW, Optimiser):
    """soft_threshold: lambda, in units of the rate: 0 is AdamW.
    sparse_groups: which groups of a method have numbers that may become 0, with commas between.
    """

    name: ClassVar[str] = "proximal"
    source: ClassVar[str] = "Ding et al., SoRA, EMNLP 2023, arXiv:2311.11696, section 3"
    in_bundles: ClassVar[bool] = False

    soft_threshold: float = 0.4
    sparse_groups: str = "gates"

    def __post_init__(self) -> None:
        """Raise `UsageError` for values no training can have."""
        if not 0 <= self.soft_threshold < math.inf:
            raise UsageError(f"soft_threshold of a recipe must be 0 or more; got {self.soft_threshold}")

    @property
    def _wanted(self) -> list[str]:
        return [word for part in self.sparse_groups.split(",") if (word := part.strip())]

    def misfit(self, plan: "Plan", recipe: "Recipe") -> str:
        trained = {tensor.group for tensor in plan.tensors.values()}
        known = [group for group in plan.groups if group in trained]
        missing = [name for name in self._wanted if name not in known]
        return unknown_name("group of recipe.sparse_groups", missing[0], known, f"of {plan.method}") if missing else ""

    def make(self, groups: list[dict[str, Any]], weight_decay: float) -> "torch.optim.Optimizer":
        optimiser, wanted = super().make(groups, weight_decay), self._wanted
        optimiser.register_step_post_hook(lambda made, *_: self._shrink(made, wanted))
        return optimiser

    def _shrink(self, optimiser: "torch.optim.Optimizer", wanted: list[str]) -> None:
        import torch

        with torch.no_grad():
            for group in (group for group in optimiser.param_groups if group["name"] in wanted):
                for parameter in group["params"]:
                    parameter.copy_(soft_threshold(parameter, group["lr"] * self.soft_threshold))


def soft_threshold(x: "Tensor", distance: float) -> "Tensor":
    """Numbers brought nearer to 0 by a distance, and no further than to 0."""
    return x.sign() * (x.abs() - distance).clamp(min=0.0)
