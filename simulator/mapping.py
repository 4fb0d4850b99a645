"""From weights to conductance levels: pairs or offset columns, bit slices, tiles and scales.

A weight (out, in) becomes a signed integer q times a scale; base-`levels` digits of q sit in the cells of a weight,
one slice each. Two ways to carry the sign:

differential: |q| <= levels^slices - 1, each digit in a pair of cells whose difference is read: in the plus cell for
    w > 0, in the minus cell for w < 0, the partner at g_min.
offset: one cell a digit holds the digits of q + M, with M half of the largest number; each array has one more column a
    slice that holds the digits of M itself (a weight of zero), and every output is taken against it after conversion.

Word lines are inputs; the cells of one output (polarities x slices) are neighbouring columns.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..devices import Cell, Chip
from ..errors import UsageError
from . import kernels
from .retention import fresh_seconds, relaxation_sigma
from .writing import program_cells

PLUS, MINUS = 0, 1
SAMPLE = 256  # cells of each level
CLIPPING = (1.0, 0.85, 0.7, 0.6, 0.5, 0.4, 0.3)
BITS_MOST = 24  # of a weight: the tables of the mapping have an entry for each number


class Some(NamedTuple):
    """Some of the outputs (axis 0) or of the inputs (axis 1) of a matrix, by number."""

    axis: int
    numbers: np.ndarray


@dataclass(frozen=True)
class Layout:
    """How a matrix (out, in) is spread over arrays; all counts are integers.

    columns: bit lines of an array that hold weights or references, spare ones left out. polarities: cells of a digit, 2
    (differential) or 1 (offset).
    """

    outputs: int
    inputs: int
    rows: int
    columns: int
    slices: int
    levels: int
    polarities: int = 2

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
        layout = Layout(
            shape[0], shape[1], array.rows, array.columns - array.spare_columns, array.slices, levels,
            1 if array.mapping == "offset" else 2,
        )  # fmt: skip
        if layout.polarities == 1 and layout.largest < 2:
            raise UsageError(
                f"array.mapping offset needs 3 values of a weight or more; array.slices {array.slices} of "
                f"conductance.levels {levels} have {layout.largest + 1}: give more slices or levels"
            )
        if layout.outputs_per_array < 1:
            needed = layout.cells_per_weight + layout.reference_group
            raise UsageError(
                f"{array.slices} slices need {needed} columns for one output; array.columns is {array.columns}, "
                f"array.spare_columns {array.spare_columns}"
            )
        return layout

    @property
    def cells_per_weight(self) -> int:
        return self.polarities * self.slices

    @property
    def reference_group(self) -> int:
        """Columns of an array that hold its reference."""
        return self.slices if self.polarities == 1 else 0

    @property
    def outputs_per_array(self) -> int:
        return max(0, self.columns - self.reference_group) // self.cells_per_weight

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
    def references(self) -> int:
        """Reference outputs: one for each array beside another, or none."""
        return self.column_tiles if self.polarities == 1 else 0

    @property
    def sensed(self) -> int:
        """Outputs that are sensed and converted: the matrix's, then the references."""
        return self.outputs + self.references

    @property
    def cells(self) -> int:
        return self.cells_per_weight * self.sensed * self.inputs

    @property
    def largest(self) -> int:
        """The largest number that the digits of a weight can hold."""
        return int(self.levels**self.slices) - 1

    @property
    def magnitude_max(self) -> int:
        """The largest integer magnitude a weight can have."""
        return self.largest if self.polarities == 2 else self.largest // 2

    @property
    def offset(self) -> int:
        """What is added to a weight's integer before it is cut into digits."""
        return 0 if self.polarities == 2 else self.magnitude_max

    @property
    def cell_shape(self) -> tuple[int, int, int, int]:
        """(slices, polarities, inputs, sensed): the shape of every per-cell array of this matrix."""
        return (self.slices, self.polarities, self.inputs, self.sensed)

    def array_of_output(self) -> np.ndarray:
        """(sensed,) which of the arrays beside each other an output, or a reference, is in."""
        outputs = np.arange(self.outputs) // self.outputs_per_array
        return np.concatenate([outputs, np.arange(self.references)])


def weight_scale(weight: np.ndarray, layout: Layout, per: str) -> np.ndarray:
    """The weight that the largest magnitude stands for: (row_tiles, outputs) float32.

    `per` "column": one scale an output, shared by its row tiles; "tile": one scale an array. Where all weights that
    share a scale are zero it is 0: what their cells give counts for nothing.
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
    return np.where(size > 1e-30, size, 0.0).astype(np.float32)


def error_variance(chip: Chip, layout: Layout) -> np.ndarray:
    """Expected squared error of the cells of a weight, for each integer from -magnitude_max to magnitude_max, in units
    of the scale squared: (2 magnitude_max + 1,).

    A cell's error is that of the first relaxation measurement, and at least what program-and-verify leaves. UsageError
    for weights of too many bits.
    """
    if layout.largest >= 2**BITS_MOST:
        raise UsageError(
            f"array.slices ({layout.slices}) of conductance.levels ({layout.levels}) make more than {BITS_MOST} bits a "
            "weight"
        )
    cell, levels = chip.cell, level_siemens(chip)
    sigma = relaxation_sigma(cell, levels, fresh_seconds(cell))
    variance = np.maximum(sigma**2, programming_variance(cell)) / (levels[-1] - levels[0]) ** 2
    digits = to_levels(np.arange(-layout.magnitude_max, layout.magnitude_max + 1), layout)
    return (slice_gain(layout)[:, None] ** 2 * variance[digits].sum(1)).sum(0)


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
    shares = np.array(CLIPPING, np.float32)
    errors = np.empty((len(shares), *full.shape))
    kernels.clipping_errors(
        np.ascontiguousarray(weight, np.float32),
        np.where(full > 0, full, np.float32(1.0)),
        layout.rows,
        shares,
        variance.astype(np.float32),
        errors,
    )
    best = np.argmin([_shared(total, layout, per) for total in errors], axis=0)
    return full * shares[best]


def scale_for(chip: Chip, layout: Layout, weight: np.ndarray, known: np.ndarray | None) -> np.ndarray:
    """The scale that weights (out, in) are written with: `known`, and `fit_scale` where it is None, or 0 because all
    weights there were zero so far.
    """
    per = chip.array.scale
    missing = known is None or known == 0
    if known is not None and not (np.any(missing) and weight_scale(weight, layout, per)[missing].any()):
        return known
    fitted = fit_scale(weight, layout, per, error_variance(chip, layout))
    return fitted if known is None else np.where(missing, fitted, known)


def checked_scale(scale: np.ndarray, layout: Layout) -> np.ndarray:
    """A scale that a caller gives, as float32; UsageError for another shape and for values that are no scale."""
    given = np.asarray(scale)
    wanted = (layout.row_tiles, layout.outputs)
    if given.shape != wanted:
        raise UsageError(f"scale must be (row tiles, outputs), here {wanted}; got shape {given.shape}")
    if given.dtype.kind not in "uif" or not np.isfinite(given).all() or (given < 0).any():
        raise UsageError("scale must hold finite numbers of at least 0: the weight that the largest number stands for")
    return given.astype(np.float32)


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
    steps = np.divide(np.float32(layout.magnitude_max), scale, out=np.zeros_like(scale), where=scale > 0)
    normal = weight.T * steps[tile]
    return np.rint(np.clip(normal, -layout.magnitude_max, layout.magnitude_max)).astype(integer_type(layout))


def meant(values: np.ndarray, scale: np.ndarray, layout: Layout) -> np.ndarray:
    """The weights (in, out) float32 that integers (in, out) stand for."""
    tile = np.arange(layout.inputs) // layout.rows
    return values * (scale / np.float32(layout.magnitude_max))[tile]


def integer_type(layout: Layout) -> type[np.signedinteger]:
    """The smallest integer type that holds every magnitude and its sign."""
    for kind in (np.int8, np.int16):
        if layout.magnitude_max <= np.iinfo(kind).max:
            return kind
    return np.int32


def to_levels(values: np.ndarray, layout: Layout) -> np.ndarray:
    """The cell levels of signed integers (any shape): (slices, polarities, ...) uint8, least significant first."""
    levels = np.zeros((layout.slices, layout.polarities, *values.shape), np.uint8)
    rest = np.abs(values.astype(np.int32)) if layout.polarities == 2 else values.astype(np.int32) + layout.offset
    for s in range(layout.slices):
        rest, digit = np.divmod(rest, layout.levels) if layout.slices > 1 else (rest, rest)
        if layout.polarities == 1:
            levels[s, PLUS] = digit
        else:
            levels[s, PLUS] = np.where(values > 0, digit, 0)
            levels[s, MINUS] = np.where(values < 0, digit, 0)
    return levels


def level_siemens(chip: Chip) -> np.ndarray:
    """The target conductance of each level, (levels,) float64, equally spaced from g_min to g_max."""
    cell = chip.cell
    return np.linspace(cell.g_min_siemens, cell.g_max_siemens, cell.levels)


def slice_gain(layout: Layout) -> np.ndarray:
    """What a full-scale digit (a difference of g_max - g_min) of each slice adds, in units of the scale: (slices,)
    float64.
    """
    powers = float(layout.levels) ** np.arange(layout.slices)
    return powers * (layout.levels - 1) / layout.magnitude_max
