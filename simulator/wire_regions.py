"""Regions of a wire-resistive array, reduced by one core each: leaves in lockstep, then the merges of a program.

`grid` is the wires of the padded array, (padding, word, bit): rows of padding before row 0 of the cells (the padding on
the right needs no number), siemens of the segment on the left of each column, and of the segment below each row.
`program` is (leaf_merges, leaves, merges): see `wire_plan`; leaves (leaves, 2) int64, the row and column of each, in
leaves. `room` is (buffer, strip, inverse, scratch), the memory of one worker.
"""

import numpy as np
from numba import njit, prange

from .wire_kernels import assemble, eliminate
from .wire_plan import (
    ALL,
    COLUMN_START,
    FIRST_AT,
    FIRST_PORTS,
    LEAF,
    LEAF_PORTS,
    ROW_STOP,
    SECOND_AT,
    SECOND_PORTS,
    SHARED,
)

LANES = 32  # leaves eliminated in lockstep
LOCKSTEP = 18 * LEAF * LEAF * LANES  # numbers that each of the lockstep's three buffers needs at most


@njit(cache=True, error_model="numpy")
def _place_lanes(ports, at, children, strip, target):
    """Add children (ports, ports, lanes) to where their ports are in the strip and the target."""
    shared, lanes = len(strip), strip.shape[2]
    row0 = 0
    for s in range(4):
        column0 = row0
        for t in range(s, 4):
            for i in range(ports[s]):
                for j in range(i + 1 if s == t else 0, ports[t]):
                    a, b = min(at[s] + i, at[t] + j), max(at[s] + i, at[t] + j)
                    goal = strip[a, b] if a < shared else target[a - shared, b - shared]
                    source = children[row0 + i, column0 + j]
                    for lane in range(lanes):
                        goal[lane] += source[lane]
            column0 += ports[t]
        row0 += ports[s]


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def _merge_lanes(merge, children, strip, target):
    """One merge of many pairs at a time, one a lane: children (ports, ports, 2 lanes), strip, target (.., lanes)."""
    shared, width, lanes = strip.shape
    strip[:] = 0.0
    target[:] = 0.0
    first, second = children[:, :, :lanes], children[:, :, lanes:]
    _place_lanes(merge[FIRST_PORTS : FIRST_PORTS + 4], merge[FIRST_AT : FIRST_AT + 4], first, strip, target)
    _place_lanes(merge[SECOND_PORTS : SECOND_PORTS + 4], merge[SECOND_AT : SECOND_AT + 4], second, strip, target)
    inverse, factor = np.empty(lanes), np.empty(lanes)
    for k in range(shared):
        inverse[:] = 0.0
        for j in range(k + 1, width):
            source = strip[k, j]
            for lane in range(lanes):
                inverse[lane] += source[lane]
        for lane in range(lanes):
            inverse[lane] = 1.0 / inverse[lane]
        for i in range(k + 1, width):
            source = strip[k, i]
            for lane in range(lanes):
                factor[lane] = source[lane] * inverse[lane]
            for j in range(i + 1, width):
                source = strip[k, j]
                goal = strip[i, j] if i < shared else target[i - shared, j - shared]
                for lane in range(lanes):
                    goal[lane] += factor[lane] * source[lane]


@njit(cache=True, error_model="numpy")
def _reduce_leaves(cells, grid, leaves, row0, column0, leaf_merges, out, scratch):
    """The port matrices of leaves of LEAF x LEAF cells, in lockstep, into `out`, one after the other.

    cells (rows, columns) siemens; the leaves count from (row0, column0). The bits of a lane's number name the halvings
    of a leaf, last one first: so halves of the lanes are merged.
    """
    padding, word, bit = grid
    columns = cells.shape[1]
    square = LEAF_PORTS * LEAF_PORTS
    for start in range(0, len(leaves), LANES):
        together = min(LANES, len(leaves) - start)
        lanes = LEAF * LEAF * together
        matrix = scratch[0, : 16 * lanes].reshape(4, 4, lanes)
        matrix[:] = 0.0
        for lane in range(lanes):
            leaf = leaves[start + lane % together]
            row, column = (row0 + leaf[0]) * LEAF, (column0 + leaf[1]) * LEAF
            bits, step = lane // together, LEAF // 2
            while step > 0:
                row += (bits & 1) * step
                column += ((bits >> 1) & 1) * step
                bits >>= 2
                step //= 2
            matrix[0, 1, lane] = word[column]
            matrix[2, 3, lane] = bit[row]
            if row >= padding and column < columns:
                matrix[1, 2, lane] = cells[row - padding, column]
        source, goal = 0, 1
        size = 4
        for t in range(len(leaf_merges)):
            shared, width = leaf_merges[t, SHARED], leaf_merges[t, ALL]
            ports, half = width - shared, lanes // 2
            _merge_lanes(
                leaf_merges[t],
                scratch[source, : size * size * lanes].reshape(size, size, lanes),
                scratch[2, : shared * width * half].reshape(shared, width, half),
                scratch[goal, : ports * ports * half].reshape(ports, ports, half),
            )
            source, goal, size, lanes = goal, source, ports, half
        matrix = scratch[source, : square * lanes].reshape(LEAF_PORTS, LEAF_PORTS, lanes)
        for lane in range(lanes):
            result = out[(start + lane) * square : (start + lane + 1) * square].reshape(LEAF_PORTS, LEAF_PORTS)
            for i in range(LEAF_PORTS):
                for j in range(i + 1, LEAF_PORTS):
                    result[i, j] = matrix[i, j, lane]


@njit(cache=True, error_model="numpy")
def _reduce(cells, grid, program, row0, column0, room):
    """Run a region's program; the result is in the buffer."""
    leaf_merges, leaves, merges = program
    buffer, panel, inverse, scratch = room
    _reduce_leaves(cells, grid, leaves, row0, column0, leaf_merges, buffer, scratch)
    for t in range(len(merges)):
        strip, target = assemble(merges[t], buffer, panel)
        eliminate(strip, target, inverse, merges[t, ROW_STOP], merges[t, COLUMN_START])


@njit(cache=True, error_model="numpy")
def transfer(buffer, at, ports, padding, out):
    """out (rows, columns) = siemens between drivers (left, right) and sense amplifiers (top, bottom) in a result."""
    rows, columns = out.shape
    left, right, top, bottom = ports
    size = left + right + top + bottom
    matrix = buffer[at : at + size * size].reshape(size, size)
    for i in range(rows):
        for j in range(columns):
            low, high = left + right + top + j, left + right + j
            total = matrix[padding + i, low]
            if right:
                total += matrix[left + padding + i, low]
            if top:
                total += matrix[padding + i, high]
            if right and top:
                total += matrix[left + padding + i, high]
            out[i, j] = total


@njit(cache=True, parallel=True, error_model="numpy")
def reduce_regions(cells, grid, program, sizes, ports, places, results, out, workers):
    """Run one program for many regions, a region a thread, a share of them a worker.

    cells, out (tiles, rows, columns); sizes: place of the result, size of the buffer and of the strip, most shared
    ports; ports of the result; places (regions, 4) int64: tile, row and column of leaves, and where the result goes in
    `results`, or -1 if the region is all of its tile: then what is between drivers and amplifiers goes to `out`.
    """
    result, size, panel, shared = sizes
    numbers = (ports[0] + ports[1] + ports[2] + ports[3]) ** 2
    for worker in prange(workers):
        room = np.empty(size), np.empty(panel), np.empty(shared), np.empty((3, LOCKSTEP))
        for r in range(worker, len(places), workers):
            tile, row, column, at = places[r]
            _reduce(cells[tile], grid, program, row, column, room)
            if at < 0:
                transfer(room[0], result, ports, grid[0], out[tile])
            else:
                results[at : at + numbers] = room[0][result : result + numbers]
