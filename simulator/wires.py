"""Exact wire resistance: the linear map from word-line voltages to bit-line currents of a crossbar, once per array.

The circuit: cell (i, j) joins word line i to bit line j. Each word line is a chain of segments of `word_line_ohms`,
driven at column 0 through `driver_ohms` and the first segment; each bit line a chain of segments of `bit_line_ohms`,
held at 0 V behind the last row through the last segment and `sense_ohms`. So

    I_j = sum_i E[i, j] V_i

with a matrix E that depends on the conductances and the wires only (Kirchhoff's laws; the network is linear). Without
wires E is the matrix of conductances. With E every read is an ordinary product with all its IR drop and sneak paths.

E is computed exactly, by eliminating the inner nodes in nested dissection order (George, SIAM J. Numer. Anal. 10, 345,
1973): blocks of cells are known by the conductances between their ports, and neighbours are merged by eliminating the
ports between them. For n x n cells that takes about 33 n^3 floating-point operations and 36 n^2 numbers of memory. The
arithmetic adds positive numbers only (see `wire_kernels`), so every entry keeps its relative accuracy, about 1e-14, for
any ratio of wire to cell. Resistances of exactly zero have forms of their own, with O(rows columns) operations if word
or bit lines are ideal altogether.

There is no approximate way beside it, as none would be faster: a series in the wire resistance needs n right-hand
sides and about 10 n^3 operations a term, and its terms shrink by a factor of 0.4 n^2 g (r_word + r_bit) only, 0.66 for
128 x 128 cells of 50 uS and segments of 1 ohm.
"""

from collections.abc import Callable
from numbers import Real

import numba
import numpy as np

from ..errors import UsageError
from . import wire_kernels, wire_regions
from .wire_plan import LEAF, Plan, Program, leaf_merges, plan

WHOLE = (256 // LEAF) ** 2  # leaves of the largest array that one core reduces by itself
LEAST, MOST = 1e-30, 1e30  # of ohms that are not zero, and of siemens: their products stay finite
TILES_A_CALL = 8  # per thread, between two calls of `on_tile`


def effective_conductance(
    conductance_siemens: np.ndarray,
    word_line_ohms: float,
    bit_line_ohms: float,
    driver_ohms: float = 0.0,
    sense_ohms: float = 0.0,
    *,
    access_ohms: float = 0.0,
    drivers_at_both_ends: bool = False,
    sense_at_both_ends: bool = False,
) -> np.ndarray:
    """The exact map from word-line voltages to bit-line currents of one array: currents = voltages @ result.

    Args:
        conductance_siemens: (rows, columns) of the cells; 0 is an open cell.
        word_line_ohms, bit_line_ohms: of one segment of wire, cell to cell; also between driver and first cell, and
            between last cell and sense amplifier.
        driver_ohms, sense_ohms: of a driver and of a sense amplifier, in series with that segment.
        access_ohms: in series with every cell (selector, access transistor).
        drivers_at_both_ends: a second driver of the same voltage and resistance sits behind the last column.
        sense_at_both_ends: a second sense amplifier sits above row 0; the currents of both are added.

    Returns:
        (rows, columns) float64 in siemens, whatever the number of threads.

    Raises:
        UsageError: a conductance or resistance that is negative, not finite or no physical number, or not a matrix.
    """
    cells = np.asarray(conductance_siemens)
    if cells.ndim != 2:
        raise UsageError(f"conductance_siemens must be a matrix (rows, columns); got shape {cells.shape}")
    return effective_conductances(
        cells[None], word_line_ohms, bit_line_ohms, driver_ohms, sense_ohms, access_ohms=access_ohms,
        drivers_at_both_ends=drivers_at_both_ends, sense_at_both_ends=sense_at_both_ends,
    )[0]  # fmt: skip


def effective_conductances(
    tiles_siemens: np.ndarray,
    word_line_ohms: float,
    bit_line_ohms: float,
    driver_ohms: float = 0.0,
    sense_ohms: float = 0.0,
    *,
    access_ohms: float = 0.0,
    drivers_at_both_ends: bool = False,
    sense_at_both_ends: bool = False,
    out: np.ndarray | None = None,
    on_tile: Callable[[int], None] | None = None,
) -> np.ndarray:
    """`effective_conductance` of many arrays of one shape, one array a thread.

    Args:
        tiles_siemens: (tiles, rows, columns), float32 or float64; the other arguments as there.
        out: where the result goes, (tiles, rows, columns) of any floating type; may be `tiles_siemens` itself. The
            arithmetic is float64.
        on_tile: called now and then with the number of tiles that are done.

    Returns:
        `out`, or a new float64 array: the same numbers for any number of threads and tiles.
    """
    tiles = np.asarray(tiles_siemens)
    require_cells(tiles)
    wires = {"word_line_ohms": word_line_ohms, "bit_line_ohms": bit_line_ohms, "driver_ohms": driver_ohms,
             "sense_ohms": sense_ohms, "access_ohms": access_ohms}  # fmt: skip
    require_ohms(wires)
    if out is None:
        out = np.empty(tiles.shape)
    elif out.shape != tiles.shape or not np.issubdtype(out.dtype, np.floating):
        raise UsageError(f"out must be an array of floats of shape {tiles.shape}; got {out.dtype} {out.shape}")
    word, bit, driver, sense = map(float, (word_line_ohms, bit_line_ohms, driver_ohms, sense_ohms))
    step = TILES_A_CALL * numba.get_num_threads()
    for start in range(0, len(tiles), step):
        cells = np.ascontiguousarray(tiles[start : start + step], np.float64)
        if access_ohms:
            cells = cells / (1.0 + cells * access_ohms)
        out[start : start + step] = _exact(
            cells, word, bit, driver, sense, bool(drivers_at_both_ends), bool(sense_at_both_ends)
        )
        if on_tile:
            on_tile(min(start + step, len(tiles)))
    return out


def require_cells(tiles: np.ndarray) -> None:
    """Raise UsageError unless these are conductances (tiles, rows, columns), finite and not negative."""
    if tiles.ndim != 3 or 0 in tiles.shape[1:]:
        raise UsageError(f"the arrays must have shape (tiles, rows, columns), none of them 0; got {tiles.shape}")
    if not (np.issubdtype(tiles.dtype, np.floating) or np.issubdtype(tiles.dtype, np.integer)):
        raise UsageError(f"conductances must be real numbers; got {tiles.dtype}")
    # One pass: the comparison is false for NaN too.
    if not (tiles.min(initial=0.0) >= 0.0 and tiles.max(initial=0.0) <= MOST):
        bad = ~((tiles >= 0.0) & (tiles <= MOST))
        tile, row, column = (int(index[0]) for index in np.nonzero(bad))
        raise UsageError(
            f"conductances must be 0 to {MOST:g} S: cell ({row}, {column}) of array {tile} has "
            f"{tiles[tile, row, column]} S, {np.count_nonzero(bad)} of {tiles.size} cells are wrong; an open cell is 0"
        )


def require_ohms(wires: dict[str, float]) -> None:
    """Raise UsageError naming the first resistance that is neither 0 nor of a possible size."""
    for name, ohms in wires.items():
        if not (isinstance(ohms, Real) and (ohms == 0.0 or LEAST <= ohms <= MOST)):
            raise UsageError(f"{name} must be 0 or {LEAST:g} to {MOST:g} ohms; got {ohms!r}")


def _exact(
    cells: np.ndarray, word: float, bit: float, driver: float, sense: float, both_drivers: bool, both_senses: bool
) -> np.ndarray:
    """E of (tiles, rows, columns): picks the form for resistances that are exactly zero, or eliminates."""
    ideal_word, ideal_bit = word + driver == 0.0, bit + sense == 0.0
    if ideal_word and ideal_bit:
        return cells
    if ideal_word:
        return _bit_lines_alone(cells, bit, sense, both_senses)
    if word == 0.0:
        return np.stack([_one_node_word_lines(tile, driver, bit, sense, both_drivers, both_senses) for tile in cells])
    if bit == 0.0:
        # Reciprocity: seen from the sense amplifiers, the array turned by 180 degrees and transposed is the same.
        turned = np.ascontiguousarray(cells[:, ::-1, ::-1].transpose(0, 2, 1))
        solved = _exact(turned, bit, word, sense, driver, both_senses, both_drivers)
        return solved.transpose(0, 2, 1)[:, ::-1, ::-1]
    return _eliminate(cells, word, bit, driver, sense, both_drivers, both_senses)


def _bit_lines_alone(cells: np.ndarray, bit: float, sense: float, both: bool) -> np.ndarray:
    """E when every word line has the driver's voltage: each bit line by itself, G_ij times the part of a current
    injected at row i that reaches a sense amplifier. (..., rows, columns); bit + sense > 0.

    From the top down, `held` and `leak` are what row i sees above it: conductance to the upper sense amplifier, and
    to the word lines.
    """
    rows = cells.shape[-2]
    held = np.full_like(cells[..., 0, :], 1.0 / (bit + sense) if both else 0.0)
    leak = np.zeros_like(held)
    passes, helds = [], []
    for i in range(rows):
        leak = leak + cells[..., i, :]
        passes.append(1.0 / (1.0 + (bit if i < rows - 1 else bit + sense) * (leak + held)))
        helds.append(held)
        leak, held = leak * passes[-1], held * passes[-1]
    result = np.empty_like(cells)
    reached = np.ones_like(held)
    for i in reversed(range(rows)):
        reached = (reached + (bit if i < rows - 1 else bit + sense) * helds[i]) * passes[i]
        result[..., i, :] = cells[..., i, :] * reached
    return result


def _one_node_word_lines(
    cells: np.ndarray, driver: float, bit: float, sense: float, both_drivers: bool, both_senses: bool
) -> np.ndarray:
    """E of one array (rows, columns) when a word line has no resistance, but its driver has: it is one node.

    The bit lines are eliminated in closed form, which joins the word lines pairwise; then these are eliminated.
    """
    rows, columns = cells.shape
    padded = -(-rows // 4) * 4
    strip = np.zeros((padded, 2 * padded + columns))
    if bit + sense > 0.0:
        wire_kernels.join_rows(cells, bit, sense, both_senses, strip)
        strip[:rows, 2 * padded :] = _bit_lines_alone(cells, bit, sense, both_senses)
    else:
        strip[:rows, 2 * padded :] = cells
    strip[np.arange(rows), padded + np.arange(rows)] = (2.0 if both_drivers else 1.0) / driver
    target = np.zeros((padded + columns, padded + columns))
    wire_kernels.eliminate_together(strip, target, np.empty(padded), padded, padded)
    return target[:rows, padded:]


def _eliminate(
    cells: np.ndarray, word: float, bit: float, driver: float, sense: float, both_drivers: bool, both_senses: bool
) -> np.ndarray:
    """E by nested dissection; word > 0, bit > 0.

    The array is padded to whole leaves by open cells at the top and on the right. Where nothing is attached there, the
    padding dangles; the rail of a second driver or sense amplifier is the outermost padding itself.
    """
    tiles, rows, columns = cells.shape
    leaf_rows, leaf_columns = -(-(rows + both_senses) // LEAF), -(-(columns + both_drivers) // LEAF)
    above, beside = leaf_rows * LEAF - rows, leaf_columns * LEAF - columns
    word_siemens = np.full(leaf_columns * LEAF, 1.0 / word)
    word_siemens[0] = 1.0 / (word + driver)
    if both_drivers:
        word_siemens[columns:] = beside / (word + driver)  # `beside` pieces in series
    bit_siemens = np.full(leaf_rows * LEAF, 1.0 / bit)
    bit_siemens[-1] = 1.0 / (bit + sense)
    if both_senses:
        bit_siemens[:above] = above / (bit + sense)
    order = plan(leaf_rows, leaf_columns, both_drivers, both_senses, WHOLE)
    grid = (above, word_siemens, bit_siemens)
    out = np.empty_like(cells)
    if len(order.regions) == 1:
        places = np.array([(tile, 0, 0, -1) for tile in range(tiles)], np.int64).reshape(-1, 4)
        _reduce_regions(cells, grid, order.regions[0][1], places, np.empty(0), out)
    else:
        for tile in range(tiles):
            _eliminate_large(cells[tile : tile + 1], grid, order, out[tile : tile + 1])
    return out


Grid = tuple[int, np.ndarray, np.ndarray]


def _reduce_regions(
    cells: np.ndarray, grid: Grid, program: Program, places: np.ndarray, results: np.ndarray, out: np.ndarray
) -> None:
    """Hand regions with one program to the kernel; see `wire_regions.reduce_regions`."""
    sizes = (program.result, program.size, program.panel, program.shared)
    workers = min(numba.get_num_threads(), len(places))
    steps = (leaf_merges(), program.leaves, program.merges)
    wire_regions.reduce_regions(cells, grid, steps, sizes, tuple(program.ports), places, results, out, workers)


def _eliminate_large(cells: np.ndarray, grid: Grid, order: Plan, out: np.ndarray) -> None:
    """E of one array (1, rows, columns): regions on all cores, then their merges one by one, each on all cores."""
    top = order.top
    buffer = np.empty(top.size)
    places: dict[int, list[tuple[int, int, int, int]]] = {}
    for (block, program), at in zip(order.regions, top.leaf_at, strict=True):
        places.setdefault(id(program), []).append((0, block.top, block.left, at))
    for program in {id(program): program for _, program in order.regions}.values():
        _reduce_regions(cells, grid, program, np.array(places[id(program)], np.int64), buffer, out)
    panel, inverse = np.empty(top.panel), np.empty(top.shared)
    for merge in top.merges:
        wire_kernels.merge_together(merge, buffer, panel, inverse)
    wire_regions.transfer(buffer, top.result, tuple(top.ports), grid[0], out[0])
