"""How one update is found: by gradients (SGD, AdamW) or by two forward passes (MeZO)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from .mezo import directions, moved, pair_seed
from .optim import Arrays, Moments, Optimiser, add_l1, clip, end_to_end
from .tokens import Batch


class Objective(Protocol):
    """What is minimised: mean loss over a batch, and its gradient by every trained tensor.

    `loss` may use the training graph; `loss_forward_only` does not.
    """

    def loss_and_gradients(self, values: Arrays, batch: Batch) -> tuple[float, Arrays]: ...

    def loss(self, values: Arrays, batch: Batch) -> float: ...

    def loss_forward_only(self, values: Arrays, batch: Batch) -> float: ...


@dataclass(frozen=True)
class Pairs:
    """What MeZO remembers: the (seed, scalar) of every update, the mean square of the slopes, and where it began."""

    start: Mapping[str, np.ndarray]
    seeds: tuple[int, ...] = ()
    scalars: tuple[float, ...] = ()
    mean_square: float = 0.0

    @property
    def updates(self) -> int:
        return len(self.seeds)

    def first(self, updates: int) -> "Pairs":
        """The first pairs only."""
        return replace(self, seeds=self.seeds[:updates], scalars=self.scalars[:updates])


Memory = Moments | Pairs


class Rule(Protocol):
    """How an update is found: (loss, new trained values, new memory)."""

    @property
    def kind(self) -> str: ...

    def propose(
        self, values: Arrays, memory: Memory, batches: Sequence[Batch], factor: float
    ) -> tuple[float, Arrays, Memory]: ...

    def look(self, values: Arrays, batch: Batch) -> float:
        """The loss of one batch."""
        ...


@dataclass(frozen=True)
class GradientRule:
    """Mean gradient over the parts of a batch, L1, clipping, then SGD or AdamW."""

    objective: Objective
    optimiser: Optimiser
    rates: Mapping[str, float]
    clip_norm: float
    l1: float
    l1_names: tuple[str, ...]

    @property
    def kind(self) -> str:
        return self.optimiser.kind

    def propose(
        self, values: Arrays, memory: Memory, batches: Sequence[Batch], factor: float
    ) -> tuple[float, Arrays, Memory]:
        assert isinstance(memory, Moments)
        total = sum(map(len, batches))
        loss = 0.0
        gradients: Arrays = {}
        for batch in batches:
            share = len(batch) / total
            part, found = self.objective.loss_and_gradients(values, batch)
            loss += share * part
            if len(batches) == 1:
                gradients = found
                continue
            for name, gradient in found.items():
                gradients[name] = gradients.get(name, np.float32(0)) + np.float32(share) * gradient
        loss, gradients = add_l1(loss, gradients, values, self.l1_names, self.l1)
        if not (math.isfinite(loss) and all_finite(gradients)):
            return math.nan, {}, memory
        rates = {name: rate * factor for name, rate in self.rates.items()}
        return (loss, *self.optimiser.update(values, clip(gradients, self.clip_norm), memory, rates))

    def look(self, values: Arrays, batch: Batch) -> float:
        return self.objective.loss(values, batch)


@dataclass(frozen=True)
class MezoRule:
    """Two forward passes along random signs (see `mezo`), the slope scaled by its own running size.

    The slope along random signs is dominated by chance and about as large as the gradient's norm: divided by the root
    of its running mean square, the rates do not depend on the scale of the loss.
    """

    objective: Objective
    rates: Mapping[str, float]
    epsilon: float
    seed: int
    l1: float
    l1_names: tuple[str, ...]
    kind: str = "mezo"

    def propose(
        self, values: Arrays, memory: Memory, batches: Sequence[Batch], factor: float
    ) -> tuple[float, Arrays, Memory]:
        assert isinstance(memory, Pairs)
        seed = pair_seed(self.seed, memory.updates)
        along = directions(seed, {name: values[name].shape for name in self.rates})
        largest = max(self.rates.values()) or 1.0
        reach = {name: np.float32(self.epsilon * rate / largest) for name, rate in self.rates.items()}
        above, below = (
            self._loss(
                {**values, **{name: values[name] + sign * reach[name] * z for name, z in along.items()}}, batches
            )
            for sign in (np.float32(1), np.float32(-1))
        )
        slope = (above - below) / (2 * self.epsilon)
        if not math.isfinite(slope):
            return math.nan, {}, memory
        weight = 1 / min(memory.updates + 1, 20)
        mean_square = memory.mean_square + weight * (slope * slope - memory.mean_square)
        scalar = float(np.float32(factor * slope / math.sqrt(mean_square))) if mean_square else 0.0
        pairs = Pairs(memory.start, (*memory.seeds, seed), (*memory.scalars, scalar), mean_square)
        return (above + below) / 2, moved(values, along, self.rates, scalar), pairs

    def look(self, values: Arrays, batch: Batch) -> float:
        return self.objective.loss_forward_only(values, batch)

    def _loss(self, values: Arrays, batches: Sequence[Batch]) -> float:
        total = sum(map(len, batches))
        loss = sum(len(batch) / total * self.objective.loss_forward_only(values, batch) for batch in batches)
        return add_l1(loss, {}, values, self.l1_names, self.l1)[0]


def all_finite(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether no number in the arrays is infinite or NaN."""
    return not arrays or bool(np.isfinite(end_to_end(list(arrays.values()))).all())
