"""Exact wire resistance: the map from voltages to currents of n x n cells, against a float64 product of the same shape
and, where it is installed (pip install badcrossbar), against badcrossbar's solve for a single voltage vector.
"""

import importlib.util
import logging
import resource
from typing import Any

import numba
import numpy as np
from edge_adapt.simulator import effective_conductance, effective_conductances
from edge_adapt.simulator.wire_plan import LEAF, flops, plan
from edge_adapt.simulator.wires import WHOLE
from measure import interleaved, publish

LIMIT = (
    "for n x n cells: 33 n^3 flops in double precision, nearly all in fused multiply-adds on cached operands; "
    "36 n^2 numbers, 290 n^2 bytes, of memory, touched about once for every halving of the array. badcrossbar solves "
    "2 n^2 node equations for one voltage vector; here the result serves all"
)
WORD_OHMS = BIT_OHMS = 1.0
PEER_MOST = 256  # cells on a side: badcrossbar needs half a minute and 1.4 GB for 512


def run(quick: bool) -> None:
    """Milliseconds of one map, the ratio to the product, and to badcrossbar; and the largest difference to that."""
    rng = np.random.default_rng(0)
    sizes = (16, 32) if quick else (64, 128, 256, 512, 1024)
    arrays = {size: 10.0 ** rng.uniform(-6, -4, (size, size)) for size in sizes}
    peaks = {}
    for size, cells in arrays.items():
        effective_conductance(cells, WORD_OHMS, BIT_OHMS)
        peaks[size] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    rows = [_row(cells, quick, peaks[size]) for size, cells in arrays.items()]
    rows.append(_batch(np.stack([arrays[sizes[1]]] * (4 if quick else 64)), quick))
    publish("wires", LIMIT, rows, quick)


def _row(cells: np.ndarray, quick: bool, peak: float) -> dict[str, Any]:
    size = len(cells)
    volts = np.random.default_rng(1).uniform(0.1, 0.3, (size, 1))
    calls = {
        "map": lambda: effective_conductance(cells, WORD_OHMS, BIT_OHMS),
        "product": lambda: cells @ cells,
    }
    difference = None
    if importlib.util.find_spec("badcrossbar") and size <= PEER_MOST:
        logging.disable(logging.INFO)
        import badcrossbar

        peer = lambda: badcrossbar.compute(
            volts, 1.0 / cells, r_i_word_line=WORD_OHMS, r_i_bit_line=BIT_OHMS, node_voltages=False
        )
        calls["badcrossbar"] = peer
        theirs, ours = np.asarray(peer().currents.output)[0], volts[:, 0] @ calls["map"]()
        difference = float(np.abs(ours / theirs - 1.0).max())
    times = interleaved(calls, 0.2 if quick else 3.0)
    operations = flops(plan(-(-size // LEAF), -(-size // LEAF), False, False, WHOLE))
    return _figures(f"{size}x{size}", 1, times, operations) | {
        "resident_megabytes": peak,
        "badcrossbar_milliseconds": 1e3 * times["badcrossbar"] if "badcrossbar" in times else None,
        "times_faster": times["badcrossbar"] / times["map"] if "badcrossbar" in times else None,
        "largest_relative_difference": difference,
    }


def _batch(tiles: np.ndarray, quick: bool) -> dict[str, Any]:
    """Many arrays of one shape, on all threads: the time of one."""
    size = tiles.shape[1]
    calls = {
        "map": lambda: effective_conductances(tiles, WORD_OHMS, BIT_OHMS),
        "product": lambda: [tile @ tile for tile in tiles],
    }
    times = {name: value / len(tiles) for name, value in interleaved(calls, 0.2 if quick else 3.0).items()}
    operations = flops(plan(-(-size // LEAF), -(-size // LEAF), False, False, WHOLE))
    return _figures(f"{size}x{size}", len(tiles), times, operations) | dict.fromkeys(
        ("resident_megabytes", "badcrossbar_milliseconds", "times_faster", "largest_relative_difference")
    )


def _figures(cells: str, arrays: int, times: dict[str, float], operations: int) -> dict[str, Any]:
    return {
        "cells": cells,
        "arrays": arrays,
        "threads": numba.get_num_threads(),
        "milliseconds": 1e3 * times["map"],
        "product_milliseconds": 1e3 * times["product"],
        "ratio": times["map"] / times["product"],
        "gigaflops": 1e-9 * operations / times["map"],
    }
