"""Cells that do not work: stuck from the start, worn out on the way, and the spare columns that stand in for them.

Stuck at g_min or g_max: drawn once for every array, each cell by itself, or in clusters: runs of cells along a bit line
whose lengths are geometrically distributed with the mean `faults.cluster_cells`; the share of stuck cells is the same.

Worn out: a cell survives a number of writes of its own, lognormal around `endurance.writes` with the spread
`endurance.spread` of its logarithm; after that it stays as it is and takes pulses in vain.

Spare columns: an array has `array.spare_columns` more bit lines than its weights need. The stuck cells are known from a
test before the first write; the outputs of an array with most of them move to the spare columns with fewest.
"""

import numpy as np

from ..devices import Chip
from . import kernels
from .mapping import Layout
from .pulse_kernel import STUCK_HIGH, STUCK_LOW


def draw_faults(chip: Chip, layout: Layout, rng: np.random.Generator) -> np.ndarray:
    """The stuck cells of a matrix, once per chip: uint8 map (slices, polarities, inputs, sensed) of HEALTHY, STUCK_LOW,
    STUCK_HIGH, spare columns already put in.
    """
    stuck = _draw(chip, layout.cell_shape, rng)
    spares = chip.array.spare_columns // layout.cells_per_weight
    if spares and stuck.any():
        groups = layout.column_tiles * spares
        standby = _draw(chip, (*layout.cell_shape[:3], groups), rng)
        _move_to_spares(stuck, standby.reshape(*layout.cell_shape[:3], layout.column_tiles, spares), layout)
    return stuck


def _draw(chip: Chip, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    low, high = chip.cell.stuck_low_fraction or 0.0, chip.cell.stuck_high_fraction or 0.0
    stuck = np.zeros(shape, np.uint8)
    if not (low or high):
        return stuck
    if chip.cell.fault_cluster_cells is None:
        draw = rng.random(shape, dtype=np.float32)
        stuck[draw < low] = STUCK_LOW
        stuck[draw >= 1.0 - high] = STUCK_HIGH
        return stuck
    for fraction, kind in ((low, STUCK_LOW), (high, STUCK_HIGH)):
        _draw_clusters(stuck, fraction, kind, chip.cell.fault_cluster_cells, rng)
    return stuck


def _draw_clusters(stuck: np.ndarray, fraction: float, kind: int, mean: float, rng: np.random.Generator) -> None:
    """Runs of stuck cells along the bit lines of a map (slices, polarities, inputs, sensed), in place.

    Runs begin anywhere and go on at the top of the next bit line; those that overlap count once, which the number of
    runs makes up for: the share of cells that no run covers is exp(-runs mean / cells).
    """
    lines = np.ascontiguousarray(np.moveaxis(stuck, 2, -1)).reshape(-1)
    runs = rng.poisson(-np.log1p(-min(fraction, 1.0 - 1e-12)) * lines.size / mean)
    begins = rng.integers(0, lines.size, runs)
    lengths = rng.geometric(1.0 / mean, runs)
    ends = np.minimum(begins + lengths, lines.size)
    cover = np.zeros(lines.size + 1, np.int32)
    np.add.at(cover, begins, 1)
    np.add.at(cover, ends, -1)
    lines[np.cumsum(cover[:-1]) > 0] = kind
    moved = (*stuck.shape[:2], stuck.shape[3], stuck.shape[2])
    stuck[...] = np.moveaxis(lines.reshape(moved), -1, 2)


def _move_to_spares(stuck: np.ndarray, standby: np.ndarray, layout: Layout) -> None:
    """Put the best spare groups of each array, `standby` (slices, polarities, inputs, arrays, spares), in the place of
    its worst outputs, in place.
    """
    array_of = layout.array_of_output()
    for top in range(0, layout.inputs, layout.rows):
        rows = slice(top, min(top + layout.rows, layout.inputs))
        bad = np.count_nonzero(stuck[:, :, rows], axis=(0, 1, 2))
        spare_bad = np.count_nonzero(standby[:, :, rows], axis=(0, 1, 2))
        for array in range(layout.column_tiles):
            outputs = np.nonzero(array_of == array)[0]
            worst = outputs[np.argsort(-bad[outputs], kind="stable")]
            best = np.argsort(spare_bad[array], kind="stable")
            for output, spare in zip(worst, best, strict=False):
                if spare_bad[array, spare] >= bad[output]:
                    break
                stuck[:, :, rows, output] = standby[:, :, rows, array, spare]


def endurance(chip: Chip, seed: np.uint64, index: np.ndarray) -> np.ndarray | None:
    """Writes that each cell survives, for cells with the numbers `index` (any shape): float64; None if cells of this
    chip do not wear out.
    """
    cell = chip.cell
    if cell.endurance_spread is None or cell.endurance_writes is None or np.isinf(cell.endurance_writes):
        return None
    z = np.empty(index.size)
    kernels.cell_normals(seed, np.ascontiguousarray(index).ravel(), z)
    return cell.endurance_writes * np.exp(cell.endurance_spread * z.reshape(index.shape))
