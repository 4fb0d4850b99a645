"""Hooks: what else happens in a training run, such as a mask that changes or a rank that is given up. One file each.

Those of a recipe are called in its order. What a hook has to remember of a run it keeps in `run.memory`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..strategies import Strategy

if TYPE_CHECKING:
    from ...plan import Plan
    from ..run import Run


@dataclass(frozen=True)
class Hook(Strategy):
    """Does nothing anywhere; a hook replaces what it needs.

    One that changes trained numbers calls `run.changed()` afterwards: what lives in cells is rewritten then. In
    `after_update` that is not needed: cells are not rewritten yet.

    `before_first_write`: matrices that are trained in their cells are not written before `before_training` is over;
    until then they are held digitally.
    """

    kind: ClassVar[str] = "hook"
    before_first_write: ClassVar[bool] = False

    def before_training(self, run: "Run") -> None:
        """The head has its start, no step has been taken."""

    def before_step(self, run: "Run") -> None:
        """In front of every optimiser step."""

    def after_update(self, run: "Run") -> None:
        """The optimiser has moved the trained numbers; their gradients are still there, cells are not rewritten yet."""

    def after_step(self, run: "Run") -> None:
        """Behind every optimiser step."""

    def after_epoch(self, run: "Run") -> None:
        """Behind the last step of an epoch, `run.epoch`."""

    def after_training(self, run: "Run") -> None:
        """Behind the last step."""

    @property
    def kept_numbers(self) -> int:
        """Numbers that are kept for each trained one."""
        return 0

    @property
    def step_macs(self) -> int:
        """Multiplications in a step for each trained number."""
        return 0

    @property
    def start_passes(self) -> int:
        """How often `before_training` sends every example forward and backward; the log counts it as steps."""
        return 0

    def start_macs(self, plan: "Plan", tokens: int) -> int:
        """Multiplications of `before_training` beside those of its passes, over examples of so many tokens in all."""
        return 0

    def last_changes(self, plan: "Plan") -> int:
        """How often `after_training` changes what may live in cells."""
        return 0
