"""SGD and AdamW in numpy, clipping by the global norm, and how the rates fall: float32, torch's formulas in its order.

Every update makes new arrays and leaves the old ones as they are, so that a step can be undone by keeping the old ones.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

Arrays = dict[str, np.ndarray]

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class Moments:
    """What an optimiser remembers: `updates` made, first and second moments by tensor name (SGD: first only)."""

    updates: int = 0
    first: Mapping[str, np.ndarray] = field(default_factory=dict)
    second: Mapping[str, np.ndarray] = field(default_factory=dict)


class Optimiser(Protocol):
    """One update: (values, gradients, moments, rate of each tensor) -> (new values, new moments)."""

    @property
    def kind(self) -> str: ...

    def update(
        self, values: Arrays, gradients: Arrays, moments: Moments, rates: Mapping[str, float]
    ) -> tuple[Arrays, Moments]: ...


def end_to_end(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The numbers of all arrays, (n,): where they lie end to end in one array already, that one."""
    whole = arrays[0].base
    if isinstance(whole, np.ndarray) and whole.ndim == 1 and whole.flags.c_contiguous:
        at = whole.__array_interface__["data"][0]
        for array in arrays:
            if array.base is not whole or array.__array_interface__["data"][0] != at or not array.flags.c_contiguous:
                break
            at += array.nbytes
        else:
            if at == whole.__array_interface__["data"][0] + whole.nbytes:
                return whole
    return np.concatenate([array.ravel() for array in arrays])


class Joined:
    """Tensors laid end to end in the order of `tensors`: thirty small ones are one operation, not thirty."""

    def __init__(self, tensors: Mapping[str, np.ndarray]) -> None:
        self._shapes = {name: tensor.shape for name, tensor in tensors.items()}
        self._sizes = [tensor.size for tensor in tensors.values()]

    def flat(self, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        """The numbers of the tensors that were joined, (n,); not to be written to."""
        return end_to_end([tensors[name] for name in self._shapes])

    def scale(self, flat: np.ndarray, numbers: Mapping[str, float]) -> None:
        """Multiply the numbers of each tensor by one of its own, in place."""
        start = 0
        for name, size in zip(self._shapes, self._sizes, strict=True):
            flat[start : start + size] *= np.float32(numbers[name])
            start += size

    def parts(self, flat: np.ndarray) -> Arrays:
        """The tensors again: views of `flat`."""
        found: Arrays = {}
        start = 0
        for (name, shape), size in zip(self._shapes.items(), self._sizes, strict=True):
            found[name] = flat[start : start + size].reshape(shape)
            start += size
        return found


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter, arXiv:1711.05101), computed in the order of torch."""

    weight_decay: float = 0.0
    kind: str = "adamw"

    def update(
        self, values: Arrays, gradients: Arrays, moments: Moments, rates: Mapping[str, float]
    ) -> tuple[Arrays, Moments]:
        updates = moments.updates + 1
        correction_1, correction_2 = 1 - BETA_1**updates, math.sqrt(1 - BETA_2**updates)
        joined = Joined(gradients)
        past = lambda kept: joined.flat({n: kept[n] if n in kept else np.zeros_like(g) for n, g in gradients.items()})
        gradient, value = joined.flat(gradients), joined.flat(values)
        first, second = past(moments.first), past(moments.second)
        # In place as far as possible: a new array of this size costs more than what is done with it.
        m = gradient - first
        m *= np.float32(1 - BETA_1)
        m += first
        v = np.float32(1 - BETA_2) * gradient
        v *= gradient
        v += second * np.float32(BETA_2)
        new = np.sqrt(v)
        new /= np.float32(correction_2)
        new += np.float32(EPSILON)
        np.divide(m, new, out=new)
        joined.scale(new, {name: rates[name] / correction_1 for name in gradients})
        if self.weight_decay:
            value = value.copy()
            joined.scale(value, {name: 1 - rates[name] * self.weight_decay for name in gradients})
        np.subtract(value, new, out=new)
        return joined.parts(new), Moments(updates, joined.parts(m), joined.parts(v))


@dataclass(frozen=True)
class SGD:
    """Gradient descent with momentum and decoupled weight decay; without momentum nothing is remembered."""

    momentum: float = 0.0
    weight_decay: float = 0.0
    kind: str = "sgd"

    def update(
        self, values: Arrays, gradients: Arrays, moments: Moments, rates: Mapping[str, float]
    ) -> tuple[Arrays, Moments]:
        new: Arrays = {}
        first: Arrays = {}
        for name, gradient in gradients.items():
            direction = gradient
            if self.momentum:
                if name in moments.first:
                    direction = moments.first[name] * np.float32(self.momentum) + gradient
                first[name] = direction
            decayed = values[name] * np.float32(1 - rates[name] * self.weight_decay)
            new[name] = decayed - np.float32(rates[name]) * direction
        return new, Moments(moments.updates + 1, first)


def clip(gradients: Arrays, limit: float) -> Arrays:
    """The gradients scaled so that their common Euclidean norm is at most `limit` (torch: `clip_grad_norm_`)."""
    flat = (gradient.ravel() for gradient in gradients.values())
    total = np.linalg.norm(np.array([math.sqrt(row.dot(row)) for row in flat], np.float32))
    factor = np.float32(min(1.0, limit / (float(total) + 1e-6)))
    if factor == 1.0:
        return gradients
    return {name: gradient * factor for name, gradient in gradients.items()}


def add_l1(
    loss: float, gradients: Arrays, values: Arrays, names: tuple[str, ...], weight: float
) -> tuple[float, Arrays]:
    """Loss and gradients with `weight` times the mean absolute value of the named tensors' numbers added."""
    if not names or weight == 0.0:
        return loss, gradients
    total = sum(values[name].size for name in names)
    loss += weight * float(sum(np.abs(values[name]).sum(dtype=np.float64) for name in names)) / total
    scale = np.float32(weight / total)
    pulled = {name: gradients[name] + scale * np.sign(values[name]) for name in names if name in gradients}
    return loss, {**gradients, **pulled}


SCHEDULES: dict[str, Callable[[float], float]] = {
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
    "constant": lambda done: 1.0,
}
"""Factor on the peak rates by the share of the planned updates that is done (0 at the first update)."""
