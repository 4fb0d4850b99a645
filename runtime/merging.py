"""A federated round: one state from those that several devices trained, each on examples of its own.

The mean of the states, weighted by examples, is FederatedAveraging (McMahan et al. 2017, Algorithm 1). Clipping each
device's update and adding noise to the mean is its user-level private form (McMahan et al. 2018, Algorithm 1, with
flat clipping and the estimator of fixed denominator, all devices taking part). No privacy budget is computed here.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import UsageError

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Merged:
    """The merged state; of each state, the L2 norm of its update and the factor (0..1) it was shortened by; the
    standard deviation of the noise on each number.
    """

    state: dict[str, np.ndarray]
    norms: tuple[float, ...]
    factors: tuple[float, ...]
    deviation: float


def merge(
    start: Arrays,
    states: Sequence[Arrays],
    weights: Sequence[float],
    *,
    clip: float | None = None,
    noise: float = 0.0,
    rng: np.random.Generator | None = None,
    rows: Mapping[str, int] | None = None,
    untouched: Collection[str] = (),
) -> Merged:
    """The weighted mean of states (float32, same names and shapes), in float64 until the end.

    Args:
        start: what all states were trained from: updates are differences from it.
        weights: above 0.
        clip: an update with a longer L2 norm, over all tensors together, is shortened to it.
        noise: in multiples of what one device can move the mean by, clip * max(weights) / sum(weights); needs `clip`.
        rng: draws the noise.
        rows: first rows of a tensor that noise is added to; of others, all.
        untouched: tensors without noise.

    Raises:
        UsageError: numbers that no float32 can hold.
    """
    total = math.fsum(weights)
    norms = tuple(_norm(start, state) for state in states)
    factors = tuple(1.0 if clip is None or norm <= clip else clip / norm for norm in norms)
    deviation = 0.0 if clip is None else noise * clip * max(weights) / total
    merged = {}
    for name, origin in sorted(start.items()):  # in the order of names: noise of one seed is the same noise
        mean = sum(
            weight / total * _shortened(origin, state[name], factor)
            for weight, state, factor in zip(weights, states, factors, strict=True)
        )
        mean = np.asarray(mean, np.float64)
        if deviation and rng is not None and name not in untouched:
            part = mean[: (rows or {}).get(name, len(mean))] if mean.ndim else mean
            part += rng.normal(0.0, deviation, part.shape)
        with np.errstate(over="ignore"):
            merged[name] = mean.astype(np.float32)
        if not np.isfinite(merged[name]).all():
            raise UsageError(f"noise of standard deviation {deviation:g} gives numbers beyond those of float32")
    return Merged(merged, norms, factors, deviation)


def _norm(start: Arrays, state: Arrays) -> float:
    squares = (np.square(state[name].astype(np.float64) - value).sum() for name, value in start.items())
    return math.sqrt(math.fsum(map(float, squares)))


def _shortened(origin: np.ndarray, value: np.ndarray, factor: float) -> np.ndarray:
    """The state at `factor` times its update; at 1 the state itself, without the rounding of a difference."""
    wide: np.ndarray = value.astype(np.float64)
    return wide if factor == 1.0 else origin + factor * (wide - origin)
