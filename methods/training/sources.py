"""Where the features of a step come from: through the model, or from what was stored of an earlier pass."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.rnn import pad_sequence

from ...workloads.batches import IGNORED, Labels, batches
from .features import Encoded, as_tensors
from .run import Forward, Run


@dataclass(frozen=True)
class Step:
    """What an optimiser step works on.

    rows: numbers of the source's rows. forward: logits of what has a label among them, of the `labels`. count: tells
    the log, after the step, what went where; it takes the passes that the step returned.
    """

    rows: np.ndarray
    forward: Forward
    labels: Tensor
    count: Callable[[int], None]


class FeatureSource(Protocol):
    """Gives the steps of an epoch. `labels` are those of its rows: what a sampler orders."""

    @property
    def labels(self) -> Any: ...

    def steps(self, order: np.ndarray, steps: int) -> Iterator[Step]:
        """The rows in this order, in so many steps. A step is prepared when it is asked for, after the one before."""
        ...


class ThroughModel:
    """Every step reads its examples through the model. A row is an example."""

    def __init__(self, run: Run, encoded: Encoded, labels: Labels) -> None:
        self.run, self.encoded = run, encoded
        self.labels: Any = labels

    def steps(self, order: np.ndarray, steps: int) -> Iterator[Step]:
        size, rng, model = self.run.recipe.batch_size, self.run.rng, self.run.adaptation.module
        starts = range(0, len(order), size)
        read: Iterator[Any] = batches(self.encoded, self.labels, size, rng, order)
        for start, batch in zip(starts, read, strict=True):
            inputs, mask, target = as_tensors(batch)
            kept = target != IGNORED
            forward = partial(_logits, model, inputs, mask, kept)
            yield Step(order[start : start + size], forward, target[kept], partial(self._count, batch))

    def _count(self, batch: Any, passes: int) -> None:
        if passes:
            self.run.log.forward_only.add(batch, passes)
        else:
            self.run.log.trained.add(batch)


class StoredStates:
    """Every step goes on from the hidden states of the backbone that one earlier pass stored (`plan.Side.cached`,
    `plan.Part.resumes`), so that what is frozen in front is read once for each example. A row is an example.

    On a noisy chip these are the states of the first read, noise included: what is trained sees the same noise in every
    epoch and may learn it, where reading again would draw a new one. Drift between epochs is not seen either. Images
    are the middle of what is kept of them, as in a test: no random crops.
    """

    def __init__(self, run: Run, encoded: Encoded, labels: Labels, stored: Mapping[int, tuple[Tensor, ...]]) -> None:
        self.run, self.encoded, self.stored = run, encoded, stored
        self.labels: Any = labels

    def steps(self, order: np.ndarray, steps: int) -> Iterator[Step]:
        size, model = self.run.recipe.batch_size, self.run.adaptation.module
        read: Iterator[Any] = batches(self.encoded, self.labels, size, None, order)
        for number, batch in enumerate(read):
            rows = order[number * size : (number + 1) * size]
            inputs, mask, target = as_tensors(batch)
            levels = zip(*(self.stored[example] for example in rows.tolist()), strict=True)
            states = tuple(pad_sequence(list(level), batch_first=True) for level in levels)
            kept = target != IGNORED
            forward = partial(_logits, model, inputs, mask, kept, states=states)
            yield Step(rows, forward, target[kept], partial(self._count, batch))

    def _count(self, batch: Any, passes: int) -> None:
        if passes:
            self.run.log.stored_only.add(batch, passes)
        else:
            self.run.log.stored_trained.add(batch)


class StoredFeatures:
    """The head alone is trained, on features (n, hidden_size) of one earlier pass. A row is what has a label: an
    example, or a word.
    """

    def __init__(self, run: Run, features: Tensor, labels: Tensor) -> None:
        self.run, self.features, self.labels = run, features, labels

    def steps(self, order: np.ndarray, steps: int) -> Iterator[Step]:
        head = self.run.adaptation.module.head
        for rows in np.array_split(order, steps):
            forward = partial(_head, head, self.features[rows])
            yield Step(rows, forward, self.labels[rows], partial(self._count, len(rows)))

    def _count(self, rows: int, passes: int) -> None:
        self.run.log.head_sequences += rows * max(1, passes)


def _logits(
    model: nn.Module,
    inputs: Tensor,
    mask: Tensor,
    kept: Tensor,
    changed: Mapping[str, Tensor] | None = None,
    states: tuple[Tensor, ...] | None = None,
) -> Tensor:
    """Logits of what has a label in a batch (`kept`: its examples, or tokens), with some parameters replaced; of hidden
    states, where these are given.
    """
    given = (inputs, mask, states)
    found = model(*given) if changed is None else functional_call(model, dict(changed), given)
    return found[kept]


def _head(head: nn.Linear, features: Tensor, changed: Mapping[str, Tensor] | None = None) -> Tensor:
    """Logits of stored features, with the head's parameters replaced."""
    if changed is None:
        return head(features)
    return functional_call(head, {name.removeprefix("head."): value for name, value in changed.items()}, features)
