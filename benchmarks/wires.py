"""Exact wire resistance: the map from voltages to currents of n x n cells, against a float64 product of the same shape
and, where it is installed (pip install edge-adapt[peers]), against badcrossbar's solve for a single voltage vector;
then all arrays of a Transformer (MiniLM, where it is fetched).
"""

import importlib.util
import logging
import resource
import sys
import time
from typing import Any

import numba
import numpy as np
from edge_adapt import load_chip
from edge_adapt.errors import EdgeAdaptError
from edge_adapt.simulator import effective_conductance, effective_conductances, program
from edge_adapt.simulator.wire_plan import LEAF, flops, plan
from edge_adapt.simulator.wires import WHOLE
from edge_adapt.workloads.models import load_backbone
from measure import interleaved, publish

LIMIT = (
    "for n x n cells: 33 n^3 flops in double precision, nearly all in fused multiply-adds on cached operands; "
    "36 n^2 numbers, 290 n^2 bytes, of memory, touched about once for every halving of the array. badcrossbar solves "
    "2 n^2 node equations for one voltage vector; here the result serves all"
)
WORD_OHMS = BIT_OHMS = 1.0
MODEL_LIMIT = "arrays of 128 x 128 cells, one a thread: that of the table of wires, and no more than it"
MODEL_FIGURES = ("matrices", "weights", "arrays", "programming_seconds", "wires_seconds", "milliseconds_an_array",
                 "target_seconds", "resident_megabytes")  # fmt: skip
TARGET_SECONDS = 60.0
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
    publish("wires_model", MODEL_LIMIT, [_model("bert-tiny" if quick else "minilm")], quick)


def _model(name: str) -> dict[str, Any]:
    """Seconds from conductances to what reads see behind the wires, for all matrices of a Transformer's blocks."""
    row: dict[str, Any] = {"model": name, "chip": "reram-wires", "threads": numba.get_num_threads()}
    try:
        backbone = load_backbone(name)
    except EdgeAdaptError as error:
        return row | dict.fromkeys(MODEL_FIGURES) | {"note": f"not run: {error}"}
    blocks = [backbone.module.get_submodule(path) for path in backbone.block_paths]
    weights = {
        f"{b}.{path}": part.weight.detach().numpy()
        for b, block in enumerate(blocks)
        for path, part in block.named_modules()
        if getattr(part, "weight", None) is not None and part.weight.ndim == 2
    }
    begun = time.perf_counter()
    model = program(load_chip("reram-wires"), weights, np.random.default_rng(0))
    programmed = time.perf_counter()
    total, done = model.unsolved_arrays, 0

    def progress(arrays: int) -> None:
        nonlocal done
        done += arrays
        print(f"\r  {name}: {done} of {total} arrays", end="", file=sys.stderr, flush=True)

    model.prepare(progress)
    print(file=sys.stderr)
    seconds = time.perf_counter() - programmed
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    found = (len(weights), sum(w.size for w in weights.values()), total, programmed - begun, seconds,
             1e3 * seconds / total, TARGET_SECONDS, peak)  # fmt: skip
    return row | dict(zip(MODEL_FIGURES, found, strict=True)) | {"note": ""}


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
        "note": "" if "badcrossbar" in times else _without(size),
    }


def _without(size: int) -> str:
    """Why badcrossbar has no time."""
    if importlib.util.find_spec("badcrossbar") is None:
        return "badcrossbar not installed"
    return f"badcrossbar only up to {PEER_MOST}" if size > PEER_MOST else ""


def _batch(tiles: np.ndarray, quick: bool) -> dict[str, Any]:
    """Many arrays of one shape, on all threads: the time of one."""
    size = tiles.shape[1]
    calls = {
        "map": lambda: effective_conductances(tiles, WORD_OHMS, BIT_OHMS),
        "product": lambda: [tile @ tile for tile in tiles],
    }
    times = {name: value / len(tiles) for name, value in interleaved(calls, 0.2 if quick else 3.0).items()}
    operations = flops(plan(-(-size // LEAF), -(-size // LEAF), False, False, WHOLE))
    absent = ("resident_megabytes", "badcrossbar_milliseconds", "times_faster", "largest_relative_difference")
    return _figures(f"{size}x{size}", len(tiles), times, operations) | dict.fromkeys(absent) | {"note": ""}


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
