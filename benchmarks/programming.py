"""Programming cells pulse by pulse: MiniLM with a pool of six, and one array against the plain-numpy twin."""

import time

import numpy as np
from edge_adapt import load_chip
from edge_adapt.simulator import WriteLog, program, program_cells, reference
from edge_adapt.workloads.shapes import load_shape
from measure import interleaved, publish

TARGET_SECONDS = 20.0
MODULES, RANK = 6, 16
LIMIT = (
    "per cell: one exponential and one normal number, 16 bytes in and 12 out; per pulse: one normal number and about "
    f"20 flops, one after another within a cell. Target: MiniLM with its pool in at most {TARGET_SECONDS:g} s"
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
    start = time.perf_counter()
    model = program(chip, matrices(quick), np.random.default_rng(3))
    seconds = time.perf_counter() - start
    rows.append(_row(f"{'BERT-tiny' if quick else 'MiniLM'} and pool", model.write_log, seconds, None))
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
    }
