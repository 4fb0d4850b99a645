"""Cells that do not work: stuck from the start, worn out on the way, and the spare columns that stand in for them.

Stuck at g_min or g_max: drawn once for every array, each cell by itself, or in clusters: runs of cells along a bit line
whose lengths are geometrically distributed with the mean `faults.cluster_cells`; the share of each kind is the same.

Worn out: a cell survives a number of writes of its own, lognormal around `endurance.writes` with the spread
`endurance.spread` of its logarithm; after that it stays as it is and takes pulses in vain.

Spare columns: an array has `array.spare_columns` more bit lines than its weights need. The first write of a matrix
tells: of each array, the outputs with most cells that verify found outside their tolerance are written to its spare
columns too, and stay there if fewer cells fail. These writes are counted as all others. Spare cells are as good or bad
as any; a column that was given up is read no more. Cells that fail later stay where they are.
"""

import numpy as np

from ..devices import Chip
from . import kernels
from .mapping import Layout
from .pulse_kernel import STUCK_HIGH, STUCK_LOW


def spare_groups(chip: Chip, layout: Layout) -> int:
    """Outputs that find room in the spare columns of an array."""
    return int(chip.array.spare_columns // layout.cells_per_weight)


def draw_faults(chip: Chip, shape: tuple[int, int, int, int], rng: np.random.Generator) -> np.ndarray:
    """The stuck cells of columns, once per chip: uint8 map (slices, polarities, inputs, columns) of HEALTHY, STUCK_LOW,
    STUCK_HIGH.
    """
    low, high = chip.cell.stuck_low_fraction or 0.0, chip.cell.stuck_high_fraction or 0.0
    stuck = np.zeros(shape, np.uint8)
    if not (low or high):
        return stuck
    if chip.cell.fault_cluster_cells is None:
        draw = rng.random(shape, dtype=np.float32)
        stuck[draw < low] = STUCK_LOW
        stuck[draw >= 1.0 - high] = STUCK_HIGH
        return stuck
    # Where a run of each kind lies, the cell is stuck high: lows are drawn as the share of the cells that are not.
    left = max(1.0 - high, low)
    for fraction, kind in ((low / left if left else 0.0, STUCK_LOW), (high, STUCK_HIGH)):
        _draw_clusters(stuck, fraction, kind, chip.cell.fault_cluster_cells, rng)
    return stuck


def _draw_clusters(stuck: np.ndarray, fraction: float, kind: int, mean: float, rng: np.random.Generator) -> None:
    """Runs of stuck cells along the bit lines of a map (slices, polarities, inputs, sensed), in place.

    Runs begin anywhere and go on at the top of the next bit line; those of one kind that overlap count once, which the
    number of runs makes up for: the share of cells that no run covers is exp(-runs mean / cells).
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


def choose_columns(failed: np.ndarray, layout: Layout, spares: int) -> np.ndarray:
    """Which outputs of each array get a spare group of columns: (row_tiles, sensed) int16, its number, -1 for none.

    failed: (row_tiles, sensed), cells of each output that verify found outside their tolerance. The outputs with most
    of them come first.
    """
    chosen = np.full(failed.shape, -1, np.int16)
    array_of = layout.array_of_output()
    for array in range(layout.column_tiles):
        outputs = np.nonzero(array_of == array)[0]
        for tile, bad in enumerate(failed[:, outputs]):
            worst = np.argsort(-bad, kind="stable")[:spares]
            worst = worst[bad[worst] > 0]
            chosen[tile, outputs[worst]] = np.arange(len(worst))
    return chosen


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
