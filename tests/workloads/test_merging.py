"""What the ways of merging do to single matrices: against peft's merge utilities, closed forms and counts."""

import numpy as np
import pytest
import torch
from edge_adapt.workloads.merging import (
    breadcrumbs,
    dropped,
    elected_mean,
    largest,
    lines,
    of_rank,
    relative_distance,
    slerp,
    weighted_sum,
)
from peft.utils import merge_utils

RNG = np.random.default_rng(0)
PARTS = [RNG.normal(size=(6, 9)) for _ in range(4)]
WEIGHTS = (0.7, -0.4, 1.3, 0.25)


def tensors(parts: list[np.ndarray]) -> list[torch.Tensor]:
    return [torch.as_tensor(part) for part in parts]


@pytest.mark.parametrize("density", [0.1, 0.2, 0.5, 0.9])
def test_sum_prune_and_ties_are_pefts(density: float) -> None:
    weights = torch.tensor(WEIGHTS, dtype=torch.float64)
    np.testing.assert_allclose(
        weighted_sum(PARTS, WEIGHTS), merge_utils.task_arithmetic(tensors(PARTS), weights), atol=1e-14
    )
    pruned = [largest(part, density) for part in PARTS]
    np.testing.assert_allclose(
        weighted_sum(pruned, WEIGHTS), merge_utils.magnitude_prune(tensors(PARTS), weights, density), atol=1e-14
    )
    np.testing.assert_allclose(
        elected_mean(pruned, WEIGHTS), merge_utils.ties(tensors(PARTS), weights, density), atol=1e-14
    )


@pytest.mark.parametrize("kind", ["dare_linear", "dare_ties"])
def test_dare_is_pefts_with_the_same_draws(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """peft drops at random: it is given the draws that ours come from."""
    density, theirs, ours = 0.3, np.random.default_rng(5), np.random.default_rng(5)
    monkeypatch.setattr(
        torch, "bernoulli", lambda p: torch.as_tensor((theirs.random(tuple(p.shape)) < p.numpy()) * 1.0)
    )
    expected = getattr(merge_utils, kind)(tensors(PARTS), torch.tensor(WEIGHTS, dtype=torch.float64), density)
    parts = [dropped(part, density, ours) for part in PARTS]
    found = (elected_mean if kind == "dare_ties" else weighted_sum)(parts, WEIGHTS)
    np.testing.assert_allclose(found, expected, atol=1e-14)


def test_dare_expects_what_it_drops_from() -> None:
    rng = np.random.default_rng(1)
    mean = np.mean([dropped(PARTS[0], 0.4, rng) for _ in range(4000)], axis=0)
    deviation = np.abs(PARTS[0]) * np.sqrt(0.6 / 0.4 / 4000)
    assert (np.abs(mean - PARTS[0]) < 5 * deviation).all()


def test_signs_are_elected_by_hand() -> None:
    one, two, three = (
        np.array([3.0, -1.0, 0.0, 2.0]),
        np.array([-1.0, -2.0, 0.0, -2.0]),
        np.array([-1.0, 4.0, 0.0, 0.0]),
    )
    # 3-1-1 > 0: the first alone. -1-2+4 > 0: the third alone. Nothing. 2-2 = 0: plus, the first alone.
    np.testing.assert_array_equal(elected_mean([one, two, three], (1, 1, 1)), [3.0, 4.0, 0.0, 2.0])
    np.testing.assert_array_equal(elected_mean([two, three], (1, 3)), [(-1 - 3) / 2, 12.0, 0.0, -2.0])


def test_breadcrumbs_keeps_the_middle() -> None:
    matrix = np.array([[1.0, -8.0, 3.0, 4.0, -5.0], [6.0, -7.0, 2.0, 9.0, -10.0]])
    found = breadcrumbs(matrix, 0.5, 0.2)  # without 10 and 9: 8, 7, 6, 5, 4
    np.testing.assert_array_equal(found, [[0, -8, 0, 4, -5], [6, -7, 0, 0, 0]])
    np.testing.assert_array_equal(breadcrumbs(matrix, 0.5, 0.0), largest(matrix, 0.5))


@pytest.mark.parametrize("density", [0.1, 0.37, 0.9])
@pytest.mark.parametrize("gamma", [0.0, 0.01, 0.1])
def test_breadcrumbs_counts(density: float, gamma: float) -> None:
    matrix = np.random.default_rng(3).normal(size=(20, 50))
    kept = breadcrumbs(matrix, density, gamma)
    assert np.count_nonzero(kept) == int(density * 1000)
    outside = np.abs(matrix[kept == 0])
    assert (outside > np.abs(kept).max()).sum() == int(gamma * 1000)
    assert (outside < np.abs(kept[kept != 0]).min()).sum() == 1000 - int(density * 1000) - int(gamma * 1000)


def test_slerp_has_its_endpoints_and_keeps_length_and_pace() -> None:
    one, other = PARTS[0], PARTS[1] * np.linalg.norm(PARTS[0]) / np.linalg.norm(PARTS[1])
    at = lambda t: weighted_sum([one, other], slerp(one, other, t))
    np.testing.assert_allclose(at(0.0), one, atol=1e-14)
    np.testing.assert_allclose(at(1.0), other, atol=1e-14)
    angle = lambda a, b: np.arccos(np.vdot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))
    for t in (0.2, 0.5, 0.8):
        assert np.linalg.norm(at(t)) == pytest.approx(np.linalg.norm(one))
        assert angle(one, at(t)) == pytest.approx(t * angle(one, other))
    ends = [np.linalg.norm(one), np.linalg.norm(3 * other)]
    between = weighted_sum([one, 3 * other], slerp(one, 3 * other, 0.5))
    assert min(ends) < np.linalg.norm(between) < max(ends)


def test_slerp_goes_straight_where_there_is_no_arc() -> None:
    one = PARTS[0]
    for other in (one, 2 * one, -one, np.zeros_like(one), one + 1e-6):
        assert slerp(one, other, 0.25) == (0.75, 0.25)


def test_lines() -> None:
    np.testing.assert_array_equal(lines(1.0, 0.0, 5), np.ones(5))
    np.testing.assert_array_equal(lines(0.0, 1.0, 5), [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(lines(0.3, 0.7, 12), [0.3 + 0.7 * block / 11 for block in range(12)])


def test_nearest_of_a_rank() -> None:
    """Eckart and Young: the distance is the root of the sum of the squared singular values that are left out."""
    matrix = PARTS[2]
    values = np.linalg.svd(matrix, compute_uv=False)
    for rank in (1, 3, 6):
        a, b = of_rank(matrix, rank)
        assert a.shape == (rank, 9) and b.shape == (6, rank)
        expected = np.sqrt((values[rank:] ** 2).sum() / (values**2).sum())
        assert relative_distance(b @ a, matrix) == pytest.approx(expected, abs=1e-12)


def test_relative_distance() -> None:
    zero, one = np.zeros((2, 2)), np.eye(2)
    assert relative_distance(3 * one, one) == 2.0
    assert relative_distance(zero, zero) == 0.0
    assert relative_distance(one, zero) == float("inf")
