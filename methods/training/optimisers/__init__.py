"""Optimisers: how a step is found, and what it costs. One file each; `count` and `explain` go by what they say."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..strategies import Strategy

if TYPE_CHECKING:
    import torch

    from ..run import Run, Stepper


@dataclass(frozen=True)
class Optimiser(Strategy):
    """By default a step goes forward and backward once, and changes the trained numbers once."""

    kind: ClassVar[str] = "optimiser"
    by_gradient: ClassVar[bool] = True
    """Whether a step goes forward and backward; else it takes `passes` forward passes."""
    leaves_looks: ClassVar[bool] = False
    """Whether a run can be made again from what its steps came to (`zeroth.replay`)."""
    whole_batches: ClassVar[bool] = False
    """Whether every step has to see all examples."""

    def make(self, groups: list[dict[str, Any]], weight_decay: float) -> "torch.optim.Optimizer":
        """torch's optimiser of parameter groups (`Adaptation.parameter_groups`)."""
        raise NotImplementedError

    def stepper(self, run: "Run", total_steps: int) -> "Stepper":
        """What takes the steps of a run."""
        from ..gradient import GradientStepper

        return GradientStepper(run, total_steps)

    def direction_count(self, names: Sequence[str], block_paths: Sequence[str]) -> int:
        """Directions that a step without a backward pass goes along: `names` are what it moves."""
        return 0

    def passes(self, directions: int) -> int:
        """Forward passes of a step without a backward pass, along so many directions."""
        return 0

    def changes(self, directions: int) -> int:
        """How often a step changes the trained numbers: what lives in cells is rewritten so often."""
        return 1

    @property
    def reach(self) -> float:
        """How far from where it stands a trained number is put while a step looks around."""
        return 0.0

    @property
    def kept_numbers(self) -> int:
        """Numbers that are kept for each trained one."""
        raise NotImplementedError

    @property
    def step_macs(self) -> int:
        """Multiplications of one step for each trained number."""
        raise NotImplementedError

    def kept(self, numbers: int) -> int:
        """Numbers that are kept of so many trained ones."""
        return self.kept_numbers * numbers

    def macs(self, numbers: int) -> int:
        """Multiplications of one step for so many trained numbers."""
        return self.step_macs * numbers

    @property
    def needs_exact_reads(self) -> str:
        """Why reads of cells will not do, in words for a message; "" where they do."""
        return ""
