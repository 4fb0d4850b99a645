"""Merge the modules of a pool into one LoRA module: a way (`merge_ways`), its numbers, and how exact the outcome is."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import UsageError
from ..merge_ways import DEFAULT_GAMMA, WAYS, Way
from .merging import (
    breadcrumbs,
    dropped,
    elected_mean,
    kept_of,
    largest,
    of_rank,
    relative_distance,
    slerp,
    weighted_sum,
)
from .peft_folder import LoraModule
from .pools import Pool


@dataclass(frozen=True)
class Merge:
    """A way with its numbers. None: the way's own density, gamma or rank, and seed 0. seed: of the numbers that DARE
    drops.
    block_factors: LiNeS's factor of the update of each linear, by its name; 1 for others.
    """

    way: Way
    weights: tuple[float, ...] = ()
    density: float | None = None
    gamma: float | None = None
    rank: int | None = None
    seed: int | None = None
    block_factors: Mapping[str, float] = field(default_factory=dict)

    @property
    def density_used(self) -> float:
        return self.way.density if self.density is None else self.density

    @property
    def seed_used(self) -> int:
        return self.seed or 0

    @property
    def gamma_used(self) -> float:
        """By default the usual share, or what the density leaves of it."""
        return min(DEFAULT_GAMMA, 1 - self.density_used) if self.gamma is None else self.gamma

    def weights_for(self, modules: Sequence[LoraModule]) -> tuple[float, ...]:
        return self.weights or self.way.even_weights(len(modules))


@dataclass(frozen=True)
class MergedMatrix:
    """One linear of a merged module. `norm`: Frobenius norm of the merged update, as the way means it."""

    linear: str
    rank: int
    norm: float
    error: float


def check(merge: Merge, pool: Pool) -> None:
    """Raise `UsageError` for a merge that makes no sense: numbers that cannot be, or modules that do not match."""
    way, names = merge.way, [module.name for module in pool.modules]
    if merge.weights and len(merge.weights) != len(names):
        raise UsageError(
            f"--weights needs one number for each module, in the order {', '.join(names)}; got {len(merge.weights)} "
            f"for {len(names)} modules"
        )
    if not all(map(math.isfinite, merge.weights)) or (merge.weights and not any(merge.weights)):
        raise UsageError(f"--weights must be finite, and not all zero; got {', '.join(map(str, merge.weights))}")
    _check_numbers(merge)
    if way.join == "slerp":
        if len(names) != 2:
            raise UsageError(
                f"slerp goes from one module to another, and this pool has {len(names)}: {', '.join(names)}; name the "
                "folders of two"
            )
        if merge.weights and min(merge.weights) < 0:
            raise UsageError("slerp takes weights of 0 or more: their ratio is the place on the way between the two")
    if way.needs_same_targets:
        _check_same_targets(way, pool)
    if merge.rank is not None:
        _check_rank(merge.rank, pool)
    for linear in pool.target_names if way.cut in ("smallest", "crumbs") else ():
        if not min(kept_of(size, merge.density_used) for size in _sizes(way, pool, linear)):
            raise UsageError(f"--density {merge.density_used:g} keeps no number of {linear}; give more")


def _check_numbers(merge: Merge) -> None:
    way = merge.way
    for option, given, works in (
        ("density", merge.density, lambda way: way.cut != "nothing"),
        ("gamma", merge.gamma, lambda way: way.cut == "crumbs"),
        ("rank", merge.rank, lambda way: way.settable_rank),
        ("seed", merge.seed, lambda way: way.cut == "random"),
    ):
        if given is not None and not works(way):
            others = ", ".join(other.name for other in WAYS.values() if works(other))
            raise UsageError(f"--{option} has no effect on {way.name}; it has one on: {others}")
    if merge.seed_used < 0:
        raise UsageError(f"--seed must be 0 or more; got {merge.seed}")
    if not 0 < merge.density_used <= 1:
        raise UsageError(f"--density is a share of the numbers, above 0 and 1 at most; got {merge.density_used:g}")
    if way.cut == "crumbs" and not (merge.gamma_used >= 0 and merge.gamma_used + merge.density_used <= 1 + 1e-9):
        raise UsageError(
            f"--gamma is the share of the largest numbers that is left out, 0 or more, and at most 1 together with "
            f"--density; got {merge.gamma_used:g} with density {merge.density_used:g}"
        )


def _check_same_targets(way: Way, pool: Pool) -> None:
    what = "the factors" if way.of == "factors" else "two directions"
    for linear in pool.target_names:
        ranks = {module.name: len(module.a[linear]) for module in pool.modules}
        absent = [name for name, rank in ranks.items() if not rank]
        if absent:
            there = next(name for name, rank in ranks.items() if rank)
            raise UsageError(
                f"{way.name} merges {what}, and {there!r} changes {linear}, which {absent[0]!r} does not; take a way "
                "that sums updates, such as task-arithmetic"
            )
        if way.of == "factors" and len(set(ranks.values())) > 1:
            found = ", ".join(f"{rank} in {name!r}" for name, rank in ranks.items())
            raise UsageError(
                f"{way.name} merges the factors, which must have one rank, and that of {linear} is {found}; take a "
                "way that merges updates, such as task-arithmetic or svd"
            )


def _check_rank(rank: int, pool: Pool) -> None:
    most = max(min(shape_of(pool, linear)) for linear in pool.target_names)
    if not 1 <= rank <= most:
        raise UsageError(f"--rank must be from 1 to {most}, the rank of the largest matrix; got {rank}")


def shape_of(pool: Pool, linear: str) -> tuple[int, int]:
    """(out, in) of a linear."""
    first = pool.modules[0]
    return first.b[linear].shape[0], first.a[linear].shape[1]


def _sizes(way: Way, pool: Pool, linear: str) -> list[int]:
    """Numbers in each matrix of a linear that the way cuts."""
    if way.of == "factors":
        return [matrix.size for module in pool.modules for matrix in (module.a[linear], module.b[linear])]
    return [math.prod(shape_of(pool, linear))]


def absences(pool: Pool) -> Iterator[str]:
    """What to say of modules that do not change every linear: there their update is zero."""
    for module in pool.modules:
        if absent := [linear for linear in pool.target_names if not len(module.a[linear])]:
            more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
            yield f"module {module.name} does not change {absent[0]}{more}: its update counts as zero there"


def merged(
    merge: Merge, pool: Pool, name: str, on_matrix: Callable[[], None] = lambda: None
) -> tuple[LoraModule, list[MergedMatrix]]:
    """The pool as one module, float32, and what became of each linear.

    on_matrix: called after each linear.

    Raises:
        UsageError: what `check` refuses, or a merge in which nothing is left of the updates.
    """
    check(merge, pool)
    a, b, matrices = {}, {}, []
    for number, linear in enumerate(pool.target_names):
        exact, (part_a, part_b) = _one(merge, pool, linear, number)
        factor = merge.block_factors.get(linear, 1.0)
        with np.errstate(over="ignore"):
            a[linear], b[linear] = part_a.astype(np.float32), (factor * part_b).astype(np.float32)
        if not (np.isfinite(a[linear]).all() and np.isfinite(b[linear]).all()):
            raise UsageError(f"the merged update of {linear} is too large for float32; give smaller weights")
        written = b[linear].astype(np.float64) @ a[linear].astype(np.float64)
        exact = factor * exact
        error = relative_distance(written, exact)
        matrices.append(MergedMatrix(linear, len(part_a), float(np.linalg.norm(exact)), error))
        on_matrix()
    if not any(b[linear].any() and a[linear].any() for linear in a):
        raise UsageError(f"nothing is left of the updates after {merge.way.name}: the merged adapter would be zero")
    known = [module for module in pool.modules if module.base_fingerprint]
    recorded = pool.metadata.get("base_fingerprint")  # of a file that anyone may have written
    fingerprint = known[0].base_fingerprint if known else recorded if isinstance(recorded, str) else None
    base = next((module.base_model for module in pool.modules if module.base_model), None)
    rank = max(matrix.rank for matrix in matrices)
    module = LoraModule(name, rank, 1.0, a, b, base_model=base, base_fingerprint=fingerprint)
    return module, matrices


def _one(merge: Merge, pool: Pool, linear: str, number: int) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """The merged update (out, in) of one linear as the way means it, and A and B that are written for it. float64."""
    way, weights = merge.way, merge.weights_for(pool.modules)
    parts_a = [module.a[linear].astype(np.float64) for module in pool.modules]
    parts_b = [module.b[linear].astype(np.float64) for module in pool.modules]
    scales = [module.scale for module in pool.modules]
    updates = [s * b @ a for s, a, b in zip(scales, parts_a, parts_b, strict=True)]
    rng = np.random.default_rng([merge.seed_used, number])
    if way.of == "factors":
        roots = [math.sqrt(abs(w * s)) for w, s in zip(weights, scales, strict=True)]
        signed = [math.copysign(root, w) for root, w in zip(roots, weights, strict=True)]
        written = _joined(merge, parts_a, signed, rng), _joined(merge, parts_b, roots, rng)
        return _joined(merge, updates, weights, rng), written
    if way.join == "slerp":
        weights = slerp(updates[0], updates[1], weights[1] / sum(weights))
    exact = _joined(merge, updates, weights, rng)
    whole, sum_of_ranks, most = way.cut == "nothing", sum(map(len, parts_a)), min(exact.shape)
    if way.keeps_rank == "sum" and merge.rank is None and (way.name == "cat" or sum_of_ranks <= most):
        stretched = [w * s * b for w, s, b in zip(weights, scales, parts_b, strict=True)]
        return exact, (np.concatenate(parts_a), np.concatenate(stretched, axis=1))
    rank = merge.rank or max(module.rank for module in pool.modules)
    if way.keeps_rank == "sum" and merge.rank is None:
        rank = most
    return exact, of_rank(exact, min(most, rank, sum_of_ranks if whole else most))


def _joined(
    merge: Merge, parts: Sequence[np.ndarray], weights: Sequence[float], rng: np.random.Generator
) -> np.ndarray:
    """Matrices of one shape, one for each module, cut and made one."""
    if merge.density_used < 1 and merge.way.cut != "nothing":
        parts = [_cut(merge, part, rng) for part in parts]
    return (elected_mean if merge.way.join == "elected" else weighted_sum)(parts, weights)


def _cut(merge: Merge, part: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if merge.way.cut == "random":
        return dropped(part, merge.density_used, rng)
    if merge.way.cut == "crumbs":
        return breadcrumbs(part, merge.density_used, merge.gamma_used)
    return largest(part, merge.density_used)
