"""Puts labels beside points so that they cover neither each other nor the points."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_ANGLES = 24
_DISTANCES = (7.0, 12.0, 18.0, 26.0, 36.0, 48.0, 62.0, 80.0, 100.0, 125.0)


@dataclass(frozen=True)
class Box:
    """A rectangle in points (1/72 inch)."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: "Box") -> float:
        """Shared area."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(width, 0.0) * max(height, 0.0)

    def outside(self, bounds: "Box") -> float:
        """Area that lies outside `bounds`."""
        return (self.right - self.left) * (self.top - self.bottom) - self.overlap(bounds)

    def distance(self, point: tuple[float, float]) -> float:
        """How far a point is from the box; 0 inside."""
        x, y = point
        return math.hypot(max(self.left - x, x - self.right, 0.0), max(self.bottom - y, y - self.top, 0.0))

    def grown(self, margin: float) -> "Box":
        """The box with a margin on every side."""
        return Box(self.left - margin, self.bottom - margin, self.right + margin, self.top + margin)


def place_labels(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    obstacles: Sequence[Box],
    bounds: Box,
    rounds: int = 6,
) -> list[Box]:
    """A box for each label: near its point, inside `bounds`, clear of the `obstacles` and of the other labels.

    A label that is nearer to another point than to its own costs extra. Each label takes the cheapest of a ring of
    candidates, the most crowded point first, and then again for some rounds given all the others (iterated conditional
    modes). Deterministic.

    Args:
        points: what the labels belong to, in points.
        sizes: (width, height) of the labels, in points.
        obstacles: what must stay visible (markers, error bars), in points.
        bounds: where labels may be.
    """
    candidates = [_candidates(point, size) for point, size in zip(points, sizes, strict=True)]
    fixed = [
        [
            distance * 0.6
            + 40 * box.outside(bounds)
            + sum(8 * box.overlap(obstacle) for obstacle in obstacles)
            + 12 * sum(box.distance(other) < distance + 4 for j, other in enumerate(points) if j != i)
            for box, distance in ring
        ]
        for i, ring in enumerate(candidates)
    ]
    crowd = [sum(1 / (20 + math.dist(point, other)) for other in points) for point in points]
    order = sorted(range(len(points)), key=lambda i: -crowd[i])
    chosen: dict[int, Box] = {}
    for _ in range(rounds):
        for i in order:
            others = [box.grown(1.5) for j, box in chosen.items() if j != i]
            costs = [
                cost + sum(20 * box.overlap(other) for other in others)
                for cost, (box, _) in zip(fixed[i], candidates[i], strict=True)
            ]
            chosen[i] = candidates[i][costs.index(min(costs))][0]
    return [chosen[i] for i in range(len(points))]


def _candidates(point: tuple[float, float], size: tuple[float, float]) -> list[tuple[Box, float]]:
    """Boxes whose edge is at growing distances around the point, with the distance; right and left of it come first."""
    x, y = point
    width, height = size
    found = []
    for distance in _DISTANCES:
        for step in range(_ANGLES):
            angle = 2 * math.pi * step / _ANGLES
            centre_x = x + (distance + width / 2) * math.cos(angle) if abs(math.cos(angle)) > 0.2 else x
            centre_y = y + (distance + height / 2) * math.sin(angle)
            tilt = 3 * abs(math.sin(angle))
            box = Box(centre_x - width / 2, centre_y - height / 2, centre_x + width / 2, centre_y + height / 2)
            found.append((box, distance + tilt))
    return found


def spread_vertically(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions as near as possible to `wanted`, in the same order, at least `gap` apart, within [low, high].

    Least squares under order constraints by pooling adjacent violators; the gap shrinks when there is no room.
    """
    count = len(wanted)
    if count == 0:
        return []
    gap = min(gap, (high - low) / max(count - 1, 1))
    order = sorted(range(count), key=lambda i: wanted[i])
    blocks: list[tuple[float, int]] = []  # (mean of wanted minus offset, size)
    for rank, i in enumerate(order):
        mean, size = wanted[i] - gap * rank, 1
        while blocks and blocks[-1][0] > mean:
            before, before_size = blocks.pop()
            mean = (before * before_size + mean * size) / (before_size + size)
            size += before_size
        blocks.append((mean, size))
    flat = [mean for mean, size in blocks for _ in range(size)]
    result = [0.0] * count
    for rank, i in enumerate(order):
        result[i] = min(max(flat[rank], low), high - gap * (count - 1)) + gap * rank
    return result
