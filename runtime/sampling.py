"""Which examples are held out, and which go into which step. Every choice comes from the generator that is given."""

import math
from collections.abc import Sequence

import numpy as np

from .tokens import Encoded


def hold_out(labels: np.ndarray, share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(indices to train on, indices held out), each in the given order; `share` of every class, rounded.

    A class keeps at least one example to train on; one example in all is held out at least.
    """
    held = []
    for label in np.unique(labels):
        mine = rng.permutation(np.flatnonzero(labels == label))
        held.append(mine[: min(round(share * len(mine)), len(mine) - 1)])
    chosen = np.sort(np.concatenate(held))
    if not len(chosen):
        counts = np.bincount(labels)
        chosen = rng.choice(np.flatnonzero(labels == counts.argmax()), 1)
    return np.setdiff1d(np.arange(len(labels)), chosen), chosen


def batch_count(examples: int, batch_size: int) -> int:
    """Steps that one pass over the examples takes."""
    return math.ceil(examples / batch_size)


def epoch_batches(
    labels: np.ndarray, batch_size: int, rng: np.random.Generator, *, balanced: bool = False, even: bool = False
) -> list[np.ndarray]:
    """Indices of the examples of each step of one epoch, drawn anew from `rng`.

    `balanced` draws every class equally often: small ones repeat, large ones have a part of their examples in this
    epoch. `even` makes the steps differ by one example at most instead of a smaller last one.
    """
    order = _balanced_order(labels, rng) if balanced else rng.permutation(len(labels))
    if even:
        return np.array_split(order, batch_count(len(order), batch_size))
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def _balanced_order(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    classes = np.unique(labels)
    quota = math.ceil(len(labels) / len(classes))
    drawn = []
    for label in classes:
        mine = np.flatnonzero(labels == label)
        rounds = [rng.permutation(mine) for _ in range(math.ceil(quota / len(mine)))]
        drawn.append(np.concatenate(rounds)[:quota])
    return rng.permutation(np.concatenate(drawn))[: len(labels)]


class ReplayBuffer:
    """A uniform sample of all the examples ever trained on (reservoir sampling; Vitter, ACM TOMS 1985), kept as token
    ids (int32) or pixels (uint8).
    """

    def __init__(self, encoded: Encoded = (), labels: Sequence[int] = (), seen: int = 0) -> None:
        self.encoded = [_kept(example) for example in encoded]
        self.labels = [int(label) for label in labels]
        self.seen = seen

    def offer(self, encoded: Encoded, labels: Sequence[int], size: int, rng: np.random.Generator) -> None:
        """Let each new example take a place, with the chance that every example seen so far has."""
        del self.encoded[size:], self.labels[size:]
        for example, label in zip(encoded, labels, strict=True):
            self.seen += 1
            place = len(self.labels) if len(self.labels) < size else int(rng.integers(self.seen))
            if place == len(self.labels) < size:
                self.encoded.append(_kept(example))
                self.labels.append(int(label))
            elif place < size:
                self.encoded[place], self.labels[place] = _kept(example), int(label)

    def tensors(self) -> dict[str, np.ndarray]:
        """The buffer as arrays: examples end to end, the length of each, labels; nothing when it is empty."""
        if not self.labels:
            return {}
        return {
            "ids": np.concatenate(self.encoded),
            "lengths": np.array([len(example) for example in self.encoded], np.int32),
            "labels": np.array(self.labels, np.int32),
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, np.ndarray], seen: int) -> "ReplayBuffer":
        """The reverse of `tensors`."""
        if not tensors:
            return cls(seen=seen)
        ends = np.cumsum(tensors["lengths"])
        return cls(np.split(tensors["ids"], ends[:-1]), tensors["labels"].tolist(), seen)


def _kept(example: Sequence[int] | np.ndarray) -> np.ndarray:
    return example if isinstance(example, np.ndarray) else np.array(example, np.int32)
