"""What the ways of merging do to the matrices of one linear, in plain numpy: cut, drop, elect signs, add, turn.

TIES: Yadav et al., NeurIPS 2023, arXiv:2306.01708. DARE: Yu et al., ICML 2024, arXiv:2311.03099. Model Breadcrumbs:
Davari and Belilovsky, ECCV 2024, arXiv:2312.06795. SLERP: Shoemake, SIGGRAPH 1985. LiNeS: Wang et al., ICLR 2025,
arXiv:2410.17146. Where a paper leaves a choice open, `peft.utils.merge_utils` decides, so that the same weights and the
same density give the same adapter.
"""

from collections.abc import Sequence

import numpy as np

NEARLY_PARALLEL = 0.9995
"""Above this cosine `slerp` goes in a straight line: the sine that it divides by is too small."""


def kept_of(size: int, density: float) -> int:
    """How many of `size` numbers a density from 0 to 1 keeps."""
    return int(density * size)


def largest(matrix: np.ndarray, density: float) -> np.ndarray:
    """The matrix with its numbers of largest magnitude kept, the share `density` of all, and zeros elsewhere."""
    return _masked(matrix, 0, kept_of(matrix.size, density))


def breadcrumbs(matrix: np.ndarray, density: float, gamma: float) -> np.ndarray:
    """Without the share `gamma` of the numbers, those of largest magnitude (outliers), and of the others the largest
    kept, the share `density` of all.
    """
    outliers = kept_of(matrix.size, gamma)
    return _masked(matrix, outliers, kept_of(matrix.size, density))


def dropped(matrix: np.ndarray, density: float, rng: np.random.Generator) -> np.ndarray:
    """Each number kept with probability `density` and divided by it, or else zero: the same in expectation."""
    return np.where(rng.random(matrix.shape) < density, matrix / density, 0.0)


def weighted_sum(parts: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """sum_k w_k part_k."""
    return sum((w * part for w, part in zip(weights, parts, strict=True)), np.zeros_like(parts[0]))


def elected_mean(parts: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """For every number the mean of w_k part_k over the parts that have the elected sign: that of the plain sum of all
    parts, plus where it is zero. A part that is zero there has no sign and does not count.
    """
    stacked = np.stack(parts)
    agree = np.sign(stacked) == np.where(stacked.sum(0) >= 0, 1.0, -1.0)
    return weighted_sum(list(stacked * agree), weights) / np.maximum(agree.sum(0), 1)


def slerp(one: np.ndarray, other: np.ndarray, t: float) -> tuple[float, float]:
    """The factors f, g of the point f one + g other at `t` (0: `one`, 1: `other`) of the arc from one to the other.

    The angle is that between the two as vectors, f = sin((1-t) angle) / sin(angle) and g = sin(t angle) / sin(angle).
    Of two vectors of one length the result has that length. A straight line (f = 1-t, g = t) takes the place of the arc
    where they are nearly parallel, or one is zero.
    """
    lengths = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    cosine = float(np.vdot(one, other)) / lengths if lengths else 1.0
    if abs(cosine) > NEARLY_PARALLEL:
        return 1.0 - t, t
    angle = float(np.arccos(cosine))
    return float(np.sin((1.0 - t) * angle) / np.sin(angle)), float(np.sin(t * angle) / np.sin(angle))


def lines(alpha: float, beta: float, blocks: int) -> np.ndarray:
    """LiNeS's factor of each block's update, (blocks,): alpha + beta l / (blocks - 1) for block l = 0, 1, ..."""
    return alpha + beta * np.linspace(0.0, 1.0, blocks)


def of_rank(matrix: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """A (rank, in) and B (out, rank) whose product B A is the nearest of that rank to a matrix (out, in) in the
    Frobenius norm (Eckart and Young, 1936). Both have the roots of the singular values.
    """
    u, values, v = np.linalg.svd(matrix, full_matrices=False)
    roots = np.sqrt(values[:rank])
    return roots[:, None] * v[:rank], u[:, :rank] * roots


def relative_distance(matrix: np.ndarray, exact: np.ndarray) -> float:
    """Frobenius norm of the difference over that of `exact`; 0 where both are zero, infinite where only `exact` is."""
    distance, size = float(np.linalg.norm(matrix - exact)), float(np.linalg.norm(exact))
    if not distance:
        return 0.0
    return distance / size if size else float("inf")


def _masked(matrix: np.ndarray, first: int, count: int) -> np.ndarray:
    """Of the numbers from the largest magnitude down, `count` from number `first` on; zeros elsewhere. Of equal
    magnitudes any may be kept.
    """
    ends = sorted({first, first + count} - {matrix.size})
    order = np.argpartition(-np.abs(matrix), ends, axis=None)[first : first + count]
    kept = np.zeros(matrix.size, matrix.dtype)
    kept[order] = matrix.reshape(-1)[order]
    return kept.reshape(matrix.shape)
