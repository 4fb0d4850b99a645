"""SGD and AdamW in numpy, clipping by the global norm, and how the rates fall: float32, torch's formulas in its order.

Every update makes new arrays and leaves the old ones as they are, so that a step can be undone by keeping the old ones.
"""

import math
from collections.abc import Callable, Mapping
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
        new: Arrays = {}
        first: Arrays = {}
        second: Arrays = {}
        for name, gradient in gradients.items():
            m = moments.first.get(name, np.zeros_like(gradient))
            v = moments.second.get(name, np.zeros_like(gradient))
            first[name] = m + np.float32(1 - BETA_1) * (gradient - m)
            second[name] = v * np.float32(BETA_2) + np.float32(1 - BETA_2) * gradient * gradient
            scale = np.sqrt(second[name]) / np.float32(correction_2) + np.float32(EPSILON)
            decayed = values[name] * np.float32(1 - rates[name] * self.weight_decay)
            new[name] = decayed - np.float32(rates[name] / correction_1) * (first[name] / scale)
        return new, Moments(updates, first, second)


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
    norms = [np.linalg.norm(gradient.ravel()) for gradient in gradients.values()]
    total = np.linalg.norm(np.array(norms, np.float32))
    factor = np.float32(min(1.0, limit / (float(total) + 1e-6)))
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
