"""AdamW: Adam with decoupled decay (Loshchilov and Hutter, ICLR 2019, arXiv:1711.05101)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..strategies import register
from . import Optimiser

if TYPE_CHECKING:
    import torch


@register
@dataclass(frozen=True)
class AdamW(Optimiser):
    """No options beside the recipe's rates and decay."""

    name: ClassVar[str] = "adamw"
    source: ClassVar[str] = "Loshchilov and Hutter, ICLR 2019, arXiv:1711.05101"
    in_bundles: ClassVar[bool] = True

    def make(self, groups: list[dict[str, Any]], weight_decay: float) -> "torch.optim.Optimizer":
        import torch

        return torch.optim.AdamW(groups, weight_decay=weight_decay)

    @property
    def kept_numbers(self) -> int:
        """Two moments."""
        return 2

    @property
    def step_macs(self) -> int:
        """Moments 2 + 3, correction 2, update 1."""
        return 8
