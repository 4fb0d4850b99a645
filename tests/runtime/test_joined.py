"""Tensors laid end to end, and updates of all of them at once: equal to each tensor's own, bit for bit."""

import math

import numpy as np
import pytest
from edge_adapt.runtime.optim import BETA_1, BETA_2, EPSILON, AdamW, Joined, Moments, clip, end_to_end

SHAPES = {"a": (3, 5), "b": (7,), "c": (1,), "d": (16, 4)}


def draw(rng, scale=1.0):
    return {name: (scale * rng.standard_normal(shape)).astype(np.float32) for name, shape in SHAPES.items()}


def test_what_lies_end_to_end_is_not_copied():
    tensors = draw(np.random.default_rng(0))
    joined = Joined(tensors)
    flat = joined.flat(tensors)
    parts = joined.parts(flat)
    assert joined.flat(parts) is flat
    assert np.array_equal(flat, np.concatenate([tensor.ravel() for tensor in tensors.values()]))


@pytest.mark.parametrize(
    "pick",
    [
        lambda p: [p["b"], p["a"], p["c"], p["d"]],
        lambda p: [p["a"], p["b"], p["c"]],
        lambda p: [p["b"], p["c"], p["d"]],
        lambda p: [p["a"], p["b"], p["c"], p["d"].T],
        lambda p: [p["a"], p["b"], p["c"], p["d"].copy()],
        lambda p: [p["a"], p["a"], p["c"], p["d"]],
    ],
)
def test_what_does_not_is_laid_so(pick):
    parts = Joined(draw(np.random.default_rng(0))).parts(np.arange(15 + 7 + 1 + 64, dtype=np.float32))
    arrays = pick(parts)
    assert np.array_equal(end_to_end(arrays), np.concatenate([array.ravel() for array in arrays]))


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_adamw_is_that_of_each_tensor(weight_decay):
    rng, rates = np.random.default_rng(1), dict(zip(SHAPES, (1e-3, 2e-3, 0.0, 0.5), strict=True))
    values = draw(rng)
    own, moments = dict(values), Moments(0)
    first, second = ({name: np.zeros_like(value) for name, value in values.items()} for _ in range(2))
    kept = {name: value.copy() for name, value in values.items()}
    for step in range(1, 6):
        gradients = draw(rng, 10.0**-step)
        before = {name: gradient.copy() for name, gradient in gradients.items()}
        given, (values, moments) = values, AdamW(weight_decay).update(values, gradients, moments, rates)
        assert step > 1 or all(np.array_equal(given[name], kept[name]) for name in kept), "nothing changes in place"
        for name, gradient in gradients.items():
            assert np.array_equal(gradient, before[name])
            first[name] = first[name] + np.float32(1 - BETA_1) * (gradient - first[name])
            second[name] = second[name] * np.float32(BETA_2) + np.float32(1 - BETA_2) * gradient * gradient
            scale = np.sqrt(second[name]) / np.float32(math.sqrt(1 - BETA_2**step)) + np.float32(EPSILON)
            decayed = own[name] * np.float32(1 - rates[name] * weight_decay)
            own[name] = decayed - np.float32(rates[name] / (1 - BETA_1**step)) * (first[name] / scale)
            assert np.array_equal(values[name], own[name]) and np.array_equal(moments.second[name], second[name])


def test_gradients_within_the_limit_are_left_alone():
    gradients = draw(np.random.default_rng(0), 1e-3)
    assert clip(gradients, 1.0) is gradients
    norm = math.sqrt(sum(float((g.astype(float) ** 2).sum()) for g in clip(gradients, 1e-4).values()))
    assert norm == pytest.approx(1e-4, rel=1e-3)
