"""Samplers: which examples a training run sees, how often and in which order. One file each."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..strategies import Strategy

if TYPE_CHECKING:
    import numpy as np

    from ...recipes import Recipe
    from ..run import Run
    from ..sources import FeatureSource


@dataclass(frozen=True)
class Schedule:
    """How long a run is: `epochs` of so many `steps_per_epoch`, in which `rows` examples are seen."""

    epochs: int
    rows: int
    steps_per_epoch: int

    @property
    def steps(self) -> int:
        """Optimiser steps of the run."""
        return self.epochs * self.steps_per_epoch


@dataclass(frozen=True)
class Sampler(Strategy):
    """What the examples of a run are."""

    kind: ClassVar[str] = "sampler"

    def rows(self, examples: int) -> int:
        """How many examples are seen in an epoch, of so many there are."""
        return examples

    def schedule(self, examples: int, recipe: "Recipe") -> Schedule:
        """The length of a run: the recipe's epochs, or as many whole ones as its `min_steps` need. `count` takes it
        from here, too.
        """
        rows = self.rows(examples)
        per_epoch = math.ceil(rows / recipe.batch_size)
        epochs = max(recipe.epochs, math.ceil(recipe.min_steps / per_epoch)) if recipe.epochs else 0
        return Schedule(epochs, rows, per_epoch)

    def order(self, run: "Run", source: "FeatureSource") -> "np.ndarray":
        """Numbers of the source's rows that make the next epoch (`run.epoch`), in the order they are seen.

        It draws from `run.rng` alone. A row may come more than once, or not at all; `source.labels` may be changed for
        the epochs to come.
        """
        raise NotImplementedError
