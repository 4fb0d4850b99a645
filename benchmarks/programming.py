"""Programming cells pulse by pulse: MiniLM with a pool of six, and one array against the plain-numpy twin."""

import time

import numba
import numpy as np
from edge_adapt import load_chip
from edge_adapt.simulator import WriteLog, program, program_cells, reference
from edge_adapt.workloads.named_shapes import load_shape
from measure import interleaved, publish

TARGET_SECONDS = 20.0
MODULES, RANK = 6, 16
LIMIT = (
    "per cell: one exponential and one normal number, 16 bytes in and 12 out; per pulse: one normal number and about "
    "20 flops, one after another within a cell, in vectors over cells. Targets: 20 million cells a second on two cores "
    f"at a mean of 8 pulses; MiniLM with its pool in {TARGET_SECONDS:g} s; memory of a programmed model 4 times its "
    "float32 weights, 2 times when it is kept for reading only"
)


def matrices(quick: bool) -> dict[str, np.ndarray]:
    """Random normal weights in the shapes of MiniLM's linears and of the stacked A and B of a pool."""
    rng = np.random.default_rng(0)
    shape = load_shape("bert-tiny" if quick else "minilm")
    sizes: dict[str, tuple[int, int]] = {}
    for linear in shape.linears:
        sizes[linear.name] = (linear.out_features, linear.in_features)
        if linear.role in ("query", "value"):
            sizes[f"{linear.name}.A"] = (MODULES * RANK, linear.in_features)
            sizes[f"{linear.name}.B"] = (linear.out_features, MODULES * RANK)
    return {name: rng.normal(0, 0.05, size).astype(np.float32) for name, size in sizes.items()}


def run(quick: bool) -> None:
    """Cells and pulses a second."""
    chip = load_chip("reram")
    target = np.random.default_rng(1).uniform(
        chip.cell.g_min_siemens, chip.cell.g_max_siemens, (32 if quick else 128, 128)
    )
    write = lambda **options: program_cells(target, chip.cell, np.random.default_rng(2), **options)
    times = interleaved(
        {"numba": write, "numpy": lambda: write(implementation=reference.program_blocks)}, 0.5 if quick else 10.0
    )
    rows = [_row(f"{len(target)}x128 cells, {name}", write()[1], times[name], times["numpy"]) for name in times]
    many = np.tile(target, (4 if quick else 64, 1))
    for threads in sorted({1, numba.config.NUMBA_NUM_THREADS}):
        numba.set_num_threads(threads)
        both = lambda: program_cells(many, chip.cell, np.random.default_rng(2))
        seconds = interleaved({"it": both}, 0.2 if quick else 5.0)["it"]
        rows.append(_row(f"{many.size} cells, {threads} threads", both()[1], seconds, None))
    rng = np.random.default_rng(3)
    square = {"w": rng.normal(0, 0.05, (64, 64) if quick else (1024, 1024)).astype(np.float32)}
    seconds = interleaved({"it": lambda: program(chip, square, rng)}, 0.2 if quick else 3.0)["it"]
    rows.append(_row("1024x1024 weights, mapped and written", program(chip, square, rng).write_log, seconds, None))
    weights = matrices(quick)
    start = time.perf_counter()
    model = program(chip, weights, np.random.default_rng(3))
    seconds = time.perf_counter() - start
    row = _row(f"{'BERT-tiny' if quick else 'MiniLM'} and pool", model.write_log, seconds, None)
    floats = sum(weight.nbytes for weight in weights.values())
    for name in model.names:
        model.matvec(name, np.ones(weights[name].shape[1]))
    row["bytes_over_weights"] = model.nbytes / floats
    model.freeze_reading()
    row["bytes_over_weights_reading_only"] = model.nbytes / floats
    rows.append(row)
    publish("programming", LIMIT, rows, quick)


def _row(what: str, log: WriteLog, seconds: float, peer_seconds: float | None) -> dict[str, object]:
    pulses = int(log.pulses.sum(dtype=np.int64))
    return {
        "what": what,
        "cells": log.pulses.size,
        "pulses": pulses,
        "seconds": seconds,
        "million_cells_per_second": 1e-6 * log.pulses.size / seconds,
        "million_pulses_per_second": 1e-6 * pulses / seconds,
        "times_as_fast_as_numpy": None if peer_seconds is None else peer_seconds / seconds,
        "bytes_over_weights": None,
        "bytes_over_weights_reading_only": None,
    }
