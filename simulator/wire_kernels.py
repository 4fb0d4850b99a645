"""Elimination of the nodes of a wire-resistive array: numba kernels behind `wires.effective_conductance`.

A network of conductors without a ground is a matrix of its pairwise conductances; its diagonal is never stored.
Eliminating node k joins its neighbours pairwise (star-mesh), C_ij += C_ik C_kj / sum_j C_kj. Every term is positive:
nothing cancels, so each conductance keeps its relative accuracy however far wires and cells lie apart (Grassmann,
Taksar & Heyman, Oper. Res. 33, 1107, 1985; O'Cinneide, Numer. Math. 65, 109, 1993). Only the upper triangle is kept.

Many at a time it is a Cholesky step: the `shared` eliminated rows are a strip (shared, all ports), the rest is
updated with rank `shared`. Each element is summed in one fixed order: results do not depend on the threads.
"""

import numpy as np
from numba import njit, prange

from .wire_plan import (
    ALL,
    COLUMN_START,
    FIRST,
    FIRST_AT,
    FIRST_PORTS,
    RESULT,
    ROW_STOP,
    SECOND,
    SECOND_AT,
    SECOND_PORTS,
    SHARED,
)

PANEL = 8  # rows eliminated between two updates
DEPTH = 64  # rows of a strip, and
WIDTH = 256  # columns that an update keeps close (128 KiB)
TILE = 128  # rows of a tile that one core takes


@njit(cache=True, error_model="numpy", fastmath={"contract", "reassoc"})
def _sum(values):
    total = 0.0
    for j in range(len(values)):
        total += values[j]
    return total


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def _update(strip, inverse, k0, k1, target, shift, i0, i1, j0, j1):
    """target[i, j] += sum over k0 <= k < k1 of strip[k, i + shift] * inverse[k] * strip[k, j + shift], for i0 <= i <
    i1, max(i, j0) <= j < j1.

    Two rows of the target share eight (or four) of the strip. i1 - i0 is even, k1 - k0 a multiple of 4.
    """
    for first in range(k0, k1, DEPTH):
        last = min(first + DEPTH, k1)
        for i in range(i0, min(i1, j1), 2):
            start = max(j0, i)
            length = j1 - start
            x = target[i, start:j1]
            y = target[i + 1, start:j1]
            p = i + shift
            a, b = start + shift, j1 + shift
            k = first
            while k + 8 <= last:
                x0, x1, x2, x3 = (
                    inverse[k] * strip[k, p], inverse[k + 1] * strip[k + 1, p],
                    inverse[k + 2] * strip[k + 2, p], inverse[k + 3] * strip[k + 3, p],
                )  # fmt: skip
                x4, x5, x6, x7 = (
                    inverse[k + 4] * strip[k + 4, p], inverse[k + 5] * strip[k + 5, p],
                    inverse[k + 6] * strip[k + 6, p], inverse[k + 7] * strip[k + 7, p],
                )  # fmt: skip
                y0, y1, y2, y3 = (
                    inverse[k] * strip[k, p + 1], inverse[k + 1] * strip[k + 1, p + 1],
                    inverse[k + 2] * strip[k + 2, p + 1], inverse[k + 3] * strip[k + 3, p + 1],
                )  # fmt: skip
                y4, y5, y6, y7 = (
                    inverse[k + 4] * strip[k + 4, p + 1], inverse[k + 5] * strip[k + 5, p + 1],
                    inverse[k + 6] * strip[k + 6, p + 1], inverse[k + 7] * strip[k + 7, p + 1],
                )  # fmt: skip
                r0, r1, r2, r3 = strip[k, a:b], strip[k + 1, a:b], strip[k + 2, a:b], strip[k + 3, a:b]
                r4, r5, r6, r7 = strip[k + 4, a:b], strip[k + 5, a:b], strip[k + 6, a:b], strip[k + 7, a:b]
                for j in range(length):
                    s0, s1, s2, s3 = r0[j], r1[j], r2[j], r3[j]
                    s4, s5, s6, s7 = r4[j], r5[j], r6[j], r7[j]
                    x[j] += x0 * s0 + x1 * s1 + x2 * s2 + x3 * s3 + x4 * s4 + x5 * s5 + x6 * s6 + x7 * s7
                    y[j] += y0 * s0 + y1 * s1 + y2 * s2 + y3 * s3 + y4 * s4 + y5 * s5 + y6 * s6 + y7 * s7
                k += 8
            if k < last:
                x0, x1, x2, x3 = (
                    inverse[k] * strip[k, p], inverse[k + 1] * strip[k + 1, p],
                    inverse[k + 2] * strip[k + 2, p], inverse[k + 3] * strip[k + 3, p],
                )  # fmt: skip
                y0, y1, y2, y3 = (
                    inverse[k] * strip[k, p + 1], inverse[k + 1] * strip[k + 1, p + 1],
                    inverse[k + 2] * strip[k + 2, p + 1], inverse[k + 3] * strip[k + 3, p + 1],
                )  # fmt: skip
                r0, r1, r2, r3 = strip[k, a:b], strip[k + 1, a:b], strip[k + 2, a:b], strip[k + 3, a:b]
                for j in range(length):
                    s0, s1, s2, s3 = r0[j], r1[j], r2[j], r3[j]
                    x[j] += x0 * s0 + x1 * s1 + x2 * s2 + x3 * s3
                    y[j] += y0 * s0 + y1 * s1 + y2 * s2 + y3 * s3


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def _eliminate_panel(strip, inverse, k0, k1):
    """Eliminate rows k0 .. k1 among themselves; `inverse` gets 1 / (sum of what a row is still joined to)."""
    for k in range(k0, k1):
        row = strip[k, k + 1 :]
        for before in range(k0, k):
            factor = strip[before, k] * inverse[before]
            other = strip[before, k + 1 :]
            for j in range(len(row)):
                row[j] += factor * other[j]
        total = _sum(row)
        inverse[k] = 1.0 / total if total > 0.0 else 0.0


@njit(cache=True, error_model="numpy")
def eliminate(strip, target, inverse, row_stop, column_start):
    """Eliminate the nodes of `strip` (shared, shared + ports) from `target` (ports, ports).

    Only rows < row_stop and columns >= column_start of the target are brought up to date.
    """
    shared, width = strip.shape
    ports = width - shared
    for k in range(0, shared, PANEL):
        stop = min(k + PANEL, shared)
        _eliminate_panel(strip, inverse, k, stop)
        if stop < shared:
            for j in range(stop, width, WIDTH):
                _update(strip, inverse, k, stop, strip, 0, stop, shared, j, min(j + WIDTH, width))
    for j in range(column_start, ports, WIDTH):
        _update(strip, inverse, 0, shared, target, shared, 0, row_stop, j, min(j + WIDTH, ports))


@njit(cache=True, parallel=True, error_model="numpy")
def eliminate_together(strip, target, inverse, row_stop, column_start):
    """`eliminate` by all threads: the same sums in the same order, tile by tile."""
    shared, width = strip.shape
    ports = width - shared
    across = (width + WIDTH - 1) // WIDTH
    for k in range(0, shared, PANEL):
        stop = min(k + PANEL, shared)
        _eliminate_panel(strip, inverse, k, stop)
        for t in prange(across):
            j = max(t * WIDTH, stop)
            if j < (t + 1) * WIDTH:
                _update(strip, inverse, k, stop, strip, 0, stop, shared, j, min((t + 1) * WIDTH, width))
    across = (ports - column_start + WIDTH - 1) // WIDTH
    down = (row_stop + TILE - 1) // TILE
    for t in prange(across * down):
        i, j = t // across * TILE, column_start + t % across * WIDTH
        _update(strip, inverse, 0, shared, target, shared, i, min(i + TILE, row_stop), j, min(j + WIDTH, ports))


@njit(cache=True, error_model="numpy")
def _place(strip, target, child, ports, at):
    """Copy a child's matrix to where its ports are in the strip (added, as the neighbour's is there too) and target."""
    shared = len(strip)
    row0 = 0
    for s in range(4):
        column0 = row0
        for t in range(s, 4):
            a, b = at[s], at[t]
            for i in range(ports[s]):
                first = i + 1 if s == t else 0
                if a <= b and a < shared:
                    for j in range(first, ports[t]):
                        strip[a + i, b + j] += child[row0 + i, column0 + j]
                elif a <= b:
                    for j in range(first, ports[t]):
                        target[a - shared + i, b - shared + j] = child[row0 + i, column0 + j]
                else:
                    for j in range(ports[t]):
                        strip[b + j, a + i] += child[row0 + i, column0 + j]
            column0 += ports[t]
        row0 += ports[s]


@njit(cache=True, error_model="numpy")
def _separate(target, first_ports, first_at, second_ports, second_at, shared):
    """Set to zero what lies between the ports of one child and those of the other: nothing joins them yet."""
    for s in range(4):
        for t in range(4):
            a, b = first_at[s] - shared, second_at[t] - shared
            if a >= 0 and b >= 0:
                rows, columns = first_ports[s], second_ports[t]
                if a > b:
                    a, b, rows, columns = b, a, columns, rows
                for i in range(a, a + rows):
                    for j in range(b, b + columns):
                        target[i, j] = 0.0


@njit(cache=True, error_model="numpy")
def assemble(merge, buffer, panel):
    """The strip and the target of one merge, filled from its children."""
    shared, width = merge[SHARED], merge[ALL]
    ports = width - shared
    strip = panel[: shared * width].reshape(shared, width)
    target = buffer[merge[RESULT] : merge[RESULT] + ports * ports].reshape(ports, ports)
    first_ports, first_at = merge[FIRST_PORTS : FIRST_PORTS + 4], merge[FIRST_AT : FIRST_AT + 4]
    second_ports, second_at = merge[SECOND_PORTS : SECOND_PORTS + 4], merge[SECOND_AT : SECOND_AT + 4]
    strip[:] = 0.0
    _separate(target, first_ports, first_at, second_ports, second_at, shared)
    size = first_ports.sum()
    _place(strip, target, buffer[merge[FIRST] : merge[FIRST] + size * size].reshape(size, size), first_ports, first_at)
    size = second_ports.sum()
    child = buffer[merge[SECOND] : merge[SECOND] + size * size].reshape(size, size)
    _place(strip, target, child, second_ports, second_at)
    return strip, target


@njit(cache=True, error_model="numpy")
def merge_together(merge, buffer, panel, inverse):
    """One merge by all threads."""
    strip, target = assemble(merge, buffer, panel)
    eliminate_together(strip, target, inverse, merge[ROW_STOP], merge[COLUMN_START])


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def join_rows(cells, bit, sense, both, out):
    """Eliminate the bit lines of word lines that are one node each: out[i, k], i < k, += what then joins i and k.

    cells (rows, columns) siemens; `bit` ohms a segment, `sense` ohms of an amplifier, at `both` ends or the last row.
    In each bit line: seen from its row i, `above` is all the rest above and `below` all the rest below; a voltage at
    row i + 1 gives row i the part passes[i] of it.
    """
    rows, columns = cells.shape
    for start in range(0, columns, DEPTH):
        stop = min(start + DEPTH, columns)
        g = np.ascontiguousarray(cells[:, start:stop])
        passes, below, joined = np.empty_like(g), np.empty_like(g), np.empty_like(g)
        below[rows - 1] = 1.0 / (bit + sense)
        for i in range(rows - 1, 0, -1):
            for j in range(stop - start):
                seen = g[i, j] + below[i, j]
                below[i - 1, j] = seen / (1.0 + bit * seen)
        above = np.full(stop - start, 1.0 / (bit + sense) if both else 0.0)
        for k in range(rows):
            total = above + g[k] + below[k]
            share = g[k] / total
            for i in range(k):
                value = 0.0
                for j in range(stop - start):
                    value += joined[i, j] * share[j]
                out[i, k] += value
            for j in range(stop - start):
                seen = above[j] + g[k, j]
                passes[k, j] = 1.0 / (1.0 + bit * seen)
                above[j] = seen * passes[k, j]
            for i in range(k + 1):
                for j in range(stop - start):
                    joined[i, j] = (g[k, j] if i == k else joined[i, j]) * passes[k, j]
