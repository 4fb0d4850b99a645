"""Objectives: what a training run makes smaller. One file each; what methods add to it are `regularisers`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..strategies import Strategy

if TYPE_CHECKING:
    from torch import Tensor

    from ...base import Adaptation
    from ...recipes import Recipe


@dataclass(frozen=True)
class Objective(Strategy):
    """A loss of logits. One that bundles hold (`in_bundles`) has a form for their training graph besides."""

    kind: ClassVar[str] = "objective"

    def loss(self, logits: "Tensor", labels: "Tensor") -> "Tensor":
        """The loss (a scalar) of logits (n, classes) for classes (n,)."""
        raise NotImplementedError

    def traced_loss(self, logits: "Tensor", labels: "Tensor") -> "Tensor":
        """The same, of operators whose gradients the exported graph can hold: none that gathers or scatters."""
        raise NotImplementedError


def total_loss(
    adaptation: "Adaptation",
    recipe: "Recipe",
    logits: "Tensor",
    labels: "Tensor",
    state: "Mapping[str, Tensor] | None" = None,
) -> "Tensor":
    """What a step makes smaller: the recipe's objective, and what the method adds to it (of `state`, by default the
    adaptation's own).
    """
    return recipe.objective.loss(logits, labels) + adaptation.regulariser(recipe, state)
