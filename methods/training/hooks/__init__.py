"""Hooks: what else happens in a training run, such as a mask that changes or a rank that is given up. One file each.

Those of a recipe are called in its order. What a hook has to remember of a run it keeps in `run.memory`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..strategies import Strategy

if TYPE_CHECKING:
    from ..run import Run


@dataclass(frozen=True)
class Hook(Strategy):
    """Does nothing anywhere; a hook replaces what it needs.

    One that changes trained numbers calls `run.changed()` afterwards: what lives in cells is rewritten then.
    """

    kind: ClassVar[str] = "hook"

    def before_training(self, run: "Run") -> None:
        """The head has its start, no step has been taken."""

    def before_step(self, run: "Run") -> None:
        """In front of every optimiser step."""

    def after_step(self, run: "Run") -> None:
        """Behind every optimiser step."""

    def after_epoch(self, run: "Run") -> None:
        """Behind the last step of an epoch, `run.epoch`."""
