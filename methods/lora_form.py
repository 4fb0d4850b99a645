"""What a method has trained, written as a LoRA of other libraries: for the methods whose mathematics is one."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..workloads.pools import Pool
from ..workloads.shapes import ModelShape

State = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class LoraForm:
    """W + scale B A for each linear, by its name: a (rank, in), b (out, rank). `magnitudes` (out,): row norms of that
    sum, as DoRA has them (Liu et al., ICML 2024, arXiv:2402.09353); none for a plain LoRA.
    """

    a: Mapping[str, np.ndarray]
    b: Mapping[str, np.ndarray]
    scale: float = 1.0
    magnitudes: Mapping[str, np.ndarray] = field(default_factory=dict)


def trained_pair(state: State, scale: float) -> LoraForm:
    """A state that holds the two matrices of every linear as "linear.lora_a" and "linear.lora_b"."""
    part = lambda end: {name.removesuffix(end): value for name, value in state.items() if name.endswith(end)}
    return LoraForm(part(".lora_a"), part(".lora_b"), scale)


def fused_pool(state: State, shape: ModelShape, pool: Pool, cross_terms: bool, magnitude: bool) -> LoraForm:
    """A pool with its trained coefficients multiplied in: with cross terms the fused B times the fused A, of the rank
    of one module; without them the modules side by side, of the sum of their ranks. Sums are in float64, so that
    nothing but the last rounding is lost.
    """
    places = {name: shape.block_of(name) for name in pool.target_names}
    columns = {block: column for column, block in enumerate(sorted(set(places.values())))}
    a, b = {}, {}
    scales = np.array([module.scale for module in pool.modules])
    for name in pool.target_names:
        coefficients = state["coefficients"][:, columns[places[name]]].astype(np.float64)
        parts = [(module.a[name].astype(np.float64), module.b[name].astype(np.float64)) for module in pool.modules]
        if cross_terms:
            factors, rank = coefficients * np.sqrt(scales), max(len(part_a) for part_a, _ in parts)
            a[name] = sum(f * _padded(part_a, rank) for f, (part_a, _) in zip(factors, parts, strict=True))
            b[name] = sum(f * _padded(part_b.T, rank).T for f, (_, part_b) in zip(factors, parts, strict=True))
        else:
            a[name] = np.concatenate([part_a for part_a, _ in parts])
            factors = coefficients * scales
            b[name] = np.concatenate([f * part_b for f, (_, part_b) in zip(factors, parts, strict=True)], axis=1)
    magnitudes = {name: state[f"{name}.magnitude"] for name in pool.target_names} if magnitude else {}
    return LoraForm(a, b, magnitudes=magnitudes)


def _padded(matrix: np.ndarray, rank: int) -> np.ndarray:
    return np.pad(matrix, ((0, rank - len(matrix)), (0, 0)))
