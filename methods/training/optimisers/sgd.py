"""SGD: plain gradient descent, with the heavy ball of Polyak (1964) where `momentum` is above 0."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ....errors import UsageError
from ..strategies import register
from . import Optimiser

if TYPE_CHECKING:
    import torch


@register
@dataclass(frozen=True)
class Sgd(Optimiser):
    """momentum: share of the last step that is taken again, from 0 to below 1."""

    name: ClassVar[str] = "sgd"
    on_device: ClassVar[str] = "edge-adapt train --optimizer sgd"

    momentum: float = 0.9

    def __post_init__(self) -> None:
        """Raise `UsageError` for values no training can have."""
        if not 0 <= self.momentum < 1:
            raise UsageError(f"momentum of a recipe must be at least 0 and below 1; got {self.momentum}")

    def make(self, groups: list[dict[str, Any]], weight_decay: float) -> "torch.optim.Optimizer":
        import torch

        return torch.optim.SGD(groups, momentum=self.momentum, weight_decay=weight_decay)

    @property
    def kept_numbers(self) -> int:
        """The velocity."""
        return int(self.momentum > 0)

    @property
    def step_macs(self) -> int:
        """The update, and that of the velocity."""
        return 1 + int(self.momentum > 0)
