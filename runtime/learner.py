"""One update at a time on a state, and the undoing of updates that led to a loss that is no number."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import EdgeAdaptError
from .manifest import Manifest
from .optim import SGD, AdamW, Arrays, Moments, Optimiser
from .options import Plan, TrainOptions
from .rules import GradientRule, Memory, MezoRule, Objective, Pairs, Rule, all_finite
from .state import OptimiserRecord
from .tokens import Batch

log = logging.getLogger(__name__)

MOST_UNDONE = 10
"""Updates of one run that may be undone: the rates are then below a thousandth of what they were."""

Tensors = dict[str, np.ndarray]


class Learner:
    """A state under training. `step` makes one update; nothing is changed in place."""

    def __init__(self, values: Arrays, rule: Rule, memory: Memory, rate_factor: float = 1.0, undone: int = 0) -> None:
        self.values, self.rule, self.memory = dict(values), rule, memory
        self.rate_factor, self.undone = rate_factor, undone
        self._before: tuple[Arrays, Memory] | None = None

    def step(self, batches: Sequence[Batch], factor: float = 1.0) -> float:
        """One update from the parts of a batch, at `factor` times the rates; returns the mean loss before it.

        A loss, gradient or update that is not finite changes nothing; the update before it, which led there, is undone,
        and all rates are halved from then on. The loss is then NaN, and the log says so.

        Raises:
            EdgeAdaptError: that happened ten times.
        """
        with np.errstate(all="ignore"):
            loss, trained, memory = self.rule.propose(self.values, self.memory, batches, factor * self.rate_factor)
        if not (math.isfinite(loss) and all_finite(trained)):
            self._undo()
            return math.nan
        self._before = self.values, self.memory
        self.values, self.memory = {**self.values, **trained}, memory
        return loss

    def settle(self, batch: Batch) -> None:
        """Undo the last update if the loss of `batch` is not finite after it: no later step will find out."""
        if self._before is not None and not math.isfinite(self.rule.look(self.values, batch)):
            self._undo()

    def _undo(self) -> None:
        self.undone += 1
        self.rate_factor /= 2
        if self._before is not None:
            self.values, self.memory = self._before
            self._before = None
        if self.undone >= MOST_UNDONE:
            raise EdgeAdaptError(
                f"the loss was not finite {self.undone} times, even at {self.rate_factor:.1g} times the learning "
                "rates; the state saved before is unharmed: check the examples, or lower the rates"
            )
        log.warning("the loss is not finite: the last step is undone, learning rates halved to %g", self.rate_factor)

    @property
    def proven(self) -> tuple[Arrays, Memory] | None:
        """Values and memory before the last update: the loss is known to be finite there. None after an undone one."""
        return self._before

    def record(self, memory: Memory | None = None) -> OptimiserRecord:
        """Where the optimiser stands with the given memory (default the present one), without its tensors."""
        memory = memory or self.memory
        mean_square = memory.mean_square if isinstance(memory, Pairs) else 0.0
        return OptimiserRecord(self.rule.kind, memory.updates, self.rate_factor, mean_square)


@dataclass(frozen=True)
class Restored:
    """An optimiser's record and tensors, read back from a slot."""

    record: OptimiserRecord
    tensors: Tensors = field(default_factory=dict)

    def memory(self) -> Memory:
        part = lambda prefix: {n[len(prefix) :]: v for n, v in self.tensors.items() if n.startswith(prefix)}
        if self.record.kind == "mezo":
            seeds, scalars = self.tensors["seeds"].tolist(), self.tensors["scalars"].tolist()
            return Pairs(part("start/"), tuple(seeds), tuple(scalars), self.record.mean_square)
        return Moments(self.record.updates, part("m/"), part("v/"))


def memory_tensors(memory: Memory) -> Tensors:
    """The tensors of an optimiser's memory, as a slot holds them."""
    if isinstance(memory, Pairs):
        start = {f"start/{name}": value for name, value in memory.start.items()}
        return {"seeds": np.array(memory.seeds, np.uint64), "scalars": np.array(memory.scalars, np.float32), **start}
    first = {f"m/{name}": value for name, value in memory.first.items()}
    return {**first, **{f"v/{name}": value for name, value in memory.second.items()}}


def make_learner(
    values: Arrays,
    objective: Objective,
    manifest: Manifest,
    options: TrainOptions,
    plan: Plan,
    restored: Restored | None = None,
    undone: int = 0,
) -> Learner:
    """A learner with the chosen optimiser, fresh or going on where `restored` stands."""
    l1, names = manifest.recipe.l1, manifest.l1_names
    rule: Rule
    if options.optimizer == "mezo":
        rule = MezoRule(objective, plan.rates, options.epsilon, options.seed, l1, names)
    else:
        decay = plan.weight_decay
        optimiser: Optimiser = AdamW(decay) if options.optimizer == "adamw" else SGD(options.momentum, decay)
        rule = GradientRule(objective, optimiser, plan.rates, plan.clip_norm, l1, names)
    if restored is not None and restored.record.kind == rule.kind:
        return Learner(values, rule, restored.memory(), restored.record.rate_factor, undone)
    memory: Memory = Pairs(dict(values)) if rule.kind == "mezo" else Moments()
    return Learner(values, rule, memory)
