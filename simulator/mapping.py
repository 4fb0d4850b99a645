"""From weights to conductance levels: differential pairs, bit slices, tiles and scales.

A weight (out, in) becomes an integer magnitude q in 0 .. levels^slices - 1 times a scale; each base-`levels` digit
of q sits in a pair of cells whose difference carries the sign: the digit in the plus cell for w > 0, in the minus
cell for w < 0, the partner at g_min. Word lines are inputs; the cells of one output (pair x slices) are neighbouring
columns, so an array of C columns serves C // (2 slices) outputs.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..devices import Cell, Chip
from ..errors import UsageError
from .retention import fresh_seconds, relaxation_sigma
from .writing import program_cells

PLUS, MINUS = 0, 1
SAMPLE = 256  # cells of each level
CLIPPING = (1.0, 0.85, 0.7, 0.6, 0.5, 0.4, 0.3)


@dataclass(frozen=True)
class Layout:
    """How a matrix (out, in) is spread over arrays; all counts are integers."""

    outputs: int
    inputs: int
    rows: int
    columns: int
    slices: int
    levels: int

    @staticmethod
    def of(chip: Chip, shape: tuple[int, int]) -> "Layout":
        """The layout of a matrix of `shape` (out, in) on the chip's arrays; UsageError where it cannot be mapped."""
        if len(shape) != 2 or min(shape) < 1:
            raise UsageError(f"only matrices (out, in) sit in crossbars; got shape {tuple(shape)}")
        array, levels = chip.array, chip.cell.levels
        if levels is None or levels < 2:
            raise UsageError(f"cell {chip.cell.name!r} has {levels} conductance levels; at least 2 are needed")
        if levels > 256:
            raise UsageError(f"cell {chip.cell.name!r} has {levels} levels; at most 256 are supported, use bit slices")
        if array.columns < 2 * array.slices:
            raise UsageError(
                f"{array.slices} slices need {2 * array.slices} columns an output; the array has {array.columns}"
            )
        return Layout(shape[0], shape[1], array.rows, array.columns, array.slices, levels)

    @property
    def outputs_per_array(self) -> int:
        return self.columns // (2 * self.slices)

    @property
    def row_tiles(self) -> int:
        return -(-self.inputs // self.rows)

    @property
    def column_tiles(self) -> int:
        return -(-self.outputs // self.outputs_per_array)

    @property
    def arrays(self) -> int:
        return self.row_tiles * self.column_tiles

    @property
    def cells(self) -> int:
        return 2 * self.slices * self.outputs * self.inputs

    @property
    def magnitude_max(self) -> int:
        """The largest integer magnitude a weight can have."""
        return self.levels**self.slices - 1

    @property
    def cell_shape(self) -> tuple[int, int, int, int]:
        """(slices, 2, inputs, outputs): the shape of every per-cell array of this matrix."""
        return (self.slices, 2, self.inputs, self.outputs)


def weight_scale(weight: np.ndarray, layout: Layout, per: str) -> np.ndarray:
    """The weight that the largest magnitude stands for: (row_tiles, outputs) float32.

    `per` "column": one scale an output, shared by its row tiles; "tile": one scale an array. All-zero columns get
    scale 1.
    """
    size = np.zeros((layout.row_tiles, layout.outputs), np.float64)
    for tile in range(layout.row_tiles):
        size[tile] = np.abs(weight[:, tile * layout.rows : (tile + 1) * layout.rows]).max(1)
    if per == "column":
        size[:] = size.max(0)
    else:
        step = layout.outputs_per_array
        for first in range(0, layout.outputs, step):
            size[:, first : first + step] = size[:, first : first + step].max(1, keepdims=True)
    # A column below 1e-30 counts as zero: its reciprocal would not be a float32.
    return np.where(size > 1e-30, size, 1.0).astype(np.float32)


def error_variance(chip: Chip, layout: Layout) -> np.ndarray:
    """Expected squared error of pairs that hold each magnitude, in units of the scale squared: (magnitude_max + 1,).

    A cell's error is that of the first relaxation measurement, and at least what program-and-verify leaves.
    """
    cell, levels = chip.cell, level_siemens(chip)
    sigma = relaxation_sigma(cell, levels, fresh_seconds(cell))
    variance = np.maximum(sigma**2, programming_variance(cell)) / (levels[-1] - levels[0]) ** 2
    digits = to_levels(np.arange(layout.magnitude_max + 1), layout)[:, PLUS]
    return (slice_gain(layout)[:, None] ** 2 * (variance[digits] + variance[0])).sum(0)


@lru_cache(maxsize=32)
def programming_variance(cell: Cell) -> np.ndarray:
    """Mean squared error (siemens^2) that program-and-verify leaves at each level, (levels,), from a programmed sample.

    The sample and its seed are fixed: the mapping of a model must not depend on the noise of the chip it goes to.
    """
    levels = np.linspace(cell.g_min_siemens, cell.g_max_siemens, cell.levels)
    target = np.repeat(levels[:, None], SAMPLE, axis=1)
    written, _ = program_cells(target, cell, np.random.default_rng(0))
    return ((written - target) ** 2).mean(1)


def fit_scale(weight: np.ndarray, layout: Layout, per: str, variance: np.ndarray) -> np.ndarray:
    """The scale (row_tiles, outputs) float32 with the least expected squared weight error.

    A smaller scale cuts the largest weights off, but makes every step, and every error of a cell (`variance`, see
    `error_variance`), count for less. Each column (or tile) takes the best of `CLIPPING` times its largest weight.
    """
    full = weight_scale(weight, layout, per)
    top = layout.magnitude_max
    best_error = np.full(full.shape, np.inf)
    best = np.ones(full.shape, np.float32)
    table = variance.astype(np.float32)
    starts = np.arange(0, layout.inputs, layout.rows)
    tile = np.arange(layout.inputs) // layout.rows
    normal = np.ascontiguousarray(weight.T, np.float32) / full[tile]
    for share in CLIPPING:
        scaled = normal * np.float32(top / share)
        q = np.clip(np.rint(scaled), -top, top)
        error = ((scaled - q) / np.float32(top)) ** 2 + table[np.abs(q).astype(np.int32)]
        total = np.add.reduceat(error, starts, axis=0) * share**2
        total = _shared(total, layout, per)
        better = total < best_error
        best_error, best = np.where(better, total, best_error), np.where(better, np.float32(share), best)
    return full * best


def _shared(total: np.ndarray, layout: Layout, per: str) -> np.ndarray:
    """Sums (row_tiles, outputs) over what shares a scale, given back to each."""
    if per == "column":
        return np.broadcast_to(total.sum(0), total.shape)
    starts = np.arange(0, layout.outputs, layout.outputs_per_array)
    sums = np.add.reduceat(total, starts, axis=1)
    return np.repeat(sums, np.diff(np.append(starts, layout.outputs)), axis=1)


def integers(weight: np.ndarray, scale: np.ndarray, layout: Layout) -> np.ndarray:
    """Quantise a matrix (out, in) to signed integer magnitudes (in, out); values beyond the scale saturate."""
    if not np.all(np.isfinite(weight)):
        raise UsageError("a weight matrix holds NaN or infinite values; it cannot be written to cells")
    tile = np.arange(layout.inputs) // layout.rows
    normal = weight.T * (np.float32(layout.magnitude_max) / scale)[tile]
    return np.rint(np.clip(normal, -layout.magnitude_max, layout.magnitude_max)).astype(integer_type(layout))


def integer_type(layout: Layout) -> type[np.signedinteger]:
    """The smallest integer type that holds every magnitude and its sign."""
    return np.int16 if layout.magnitude_max < 2**15 else np.int32


def to_levels(values: np.ndarray, layout: Layout) -> np.ndarray:
    """The cell levels of signed integers (any shape): (slices, 2, ...) uint8, least significant slice first."""
    levels = np.zeros((layout.slices, 2, *values.shape), np.uint8)
    magnitude = np.abs(values)
    for s in range(layout.slices):
        magnitude, digit = np.divmod(magnitude, layout.levels)
        levels[s, PLUS] = np.where(values > 0, digit, 0)
        levels[s, MINUS] = np.where(values < 0, digit, 0)
    return levels


def level_siemens(chip: Chip) -> np.ndarray:
    """The target conductance of each level, (levels,) float64, equally spaced from g_min to g_max."""
    cell = chip.cell
    return np.linspace(cell.g_min_siemens, cell.g_max_siemens, cell.levels)


def slice_gain(layout: Layout) -> np.ndarray:
    """What a full-scale pair (G+ - G- = g_max - g_min) of each slice adds, in units of the scale: (slices,) float64."""
    powers = float(layout.levels) ** np.arange(layout.slices)
    return powers * (layout.levels - 1) / layout.magnitude_max
