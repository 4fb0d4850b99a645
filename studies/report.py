"""From what a simulation found to the report: plain data, every figure with its unit in the key."""

import datetime
import importlib.metadata
from typing import Any

import numpy as np

from .._version import __version__
from ..devices import Chip, references_used, unknown_numbers
from ..methods import METHODS, BackwardNeed
from ..simulator import CostTable, ProgrammedModel, area
from ..simulator.costs import described
from ..simulator.counting import conducting_seconds, most_pulses, write_events
from ..simulator.retention import held_message
from ..simulator.temperature import temperature_message
from ..workloads.scores import MEANING
from . import amortise
from .config import DRIFT_SECONDS
from .raw_pixels import raw_pixels
from .wiring import wire_message
from .workbench import Workbench

SCHEMA = "edge-adapt/simulate/1"
VERSIONED = ("numpy", "torch", "numba", "transformers", "tokenizers", "safetensors")


def assemble(
    bench: Workbench, base: ProgrammedModel, logs: dict[str, Any], results: list[dict[str, Any]],
    fits: list[tuple[str, np.ndarray, np.ndarray]], command: str,
) -> dict[str, Any]:  # fmt: skip
    """The report (docs/report-schema.md). `logs`: the write log of each matrix; `fits`: (method, validation answers of
    lorafusion, and its own) of each run.
    """
    config = bench.config
    chip, total = bench.chip, base.write_log
    pool_names = bench.pool_tensor_names()
    part = lambda names: {
        "cells": sum(logs[n].pulses.size for n in names),
        "energy_joules": sum(logs[n].energy_joules for n in names),
        "time_seconds": sum(logs[n].time_seconds for n in names),
    }
    backbone_names = bench.backbone.linear_names()
    pool_part = part(pool_names)
    arrays = sum(base.matrix(n).layout.arrays for n in base.names)
    yardstick = next((name for name in ("lora", "probe", "full") if any(f[0] == name for f in fits)), None)
    return {
        "schema": SCHEMA,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "config": config.as_dict(),
        "config_hash": config.digest(),
        "versions": {"edge_adapt": __version__} | {name: importlib.metadata.version(name) for name in VERSIONED},
        "seeds": list(config.seed_numbers),
        "device": _device(chip, arrays),
        **inputs(bench),
        "raw_pixels": raw_pixels(bench.task, config.shots, config.seed_numbers),
        "programming": {
            "cells": int(total.pulses.size),
            "pulses_mean": float(total.pulses.mean()),
            "pulses_p95": float(np.percentile(total.pulses, 95)),
            "failed_cells": int(total.failed.sum()),
            "energy_joules": total.energy_joules,
            "time_seconds": total.time_seconds,
            "weight_error_relative": weight_error(bench, base),
            "pulses_histogram": np.bincount(total.pulses, minlength=(chip.cell.pulses_max or 0) + 1).tolist(),
            "backbone": part(backbone_names),
            "pool": pool_part,
            "event_counts": write_events(total).as_dict(),
            "write_read_ratio": amortise.write_read_ratios(total, _read_joules(results, bench, base)),
            "label": "simulated",
        },
        "conductance_map": conductance_map(base, backbone_names[0]),
        "results": results,
        "break_even": {
            "pool_programming_energy_joules": pool_part["energy_joules"],
            "versus": amortise.break_even(pool_part["energy_joules"], results) if pool_names else [],
        },
        "pool_fit": amortise.pool_fit([(a, b) for name, a, b in fits if name == yardstick], yardstick or ""),
        "references": references(chip, bench),
        "messages": messages(chip, bench),
    }  # fmt: skip


def inputs(bench: Workbench) -> dict[str, Any]:
    """What the report says of model, task and pool: known before the work, and checked then."""
    return {
        "model": {
            "name": bench.backbone.name,
            "parameters": sum(p.numel() for p in bench.backbone.module.parameters()),
            "weights_in_cells": sum(bench.frozen_tensors[n].size for n in bench.backbone.linear_names()),
            "hidden_size": bench.backbone.hidden_size,
            "blocks": bench.backbone.blocks,
        },
        "task": {
            "name": bench.task.name,
            "labels": list(bench.task.labels),
            "train_examples": len(bench.task.train),
            "test_examples": len(bench.task.test),
            "source": bench.task.source,
            "metric": bench.task.metric,
        },
        "pool": None if bench.pool is None else {
            "path": bench.config.pool or f"the shipped pool of {bench.backbone.name}",
            "modules": [{"name": m.name, "task": m.task, "rank": m.rank} for m in bench.pool.modules],
            "weights_in_cells": sum(bench.frozen_tensors[n].size for n in bench.pool_tensor_names()),
        },
    }  # fmt: skip


_READING = ("cells_read", "lines", "dac", "adc", "sample_hold", "shift_add", "buffer", "router")


def _read_joules(results: list[dict[str, Any]], bench: Workbench, base: ProgrammedModel) -> float:
    """Energy of reading one cell with its share of all that is around it, for one token: from the inference of a
    variant that reads only what is programmed once, where there is one.
    """
    record = next((r for r in results if r["cells_in_placement"] == 0), results[0])
    names = set(bench.tensors_of(record["method"]))
    cells = sum(base.matrix(name).layout.cells for name in names)
    # Those that rewrite the backbone have no cells beside it.
    if METHODS[record["method"]].backward_need is not BackwardNeed.FULL:
        cells += record["cells_in_placement"]
    parts = record["inference_energy_by_component_joules"]
    size = bench.test.size()
    return float(sum(parts[name] for name in _READING) * size.sequences / size.tokens / cells)


def _device(chip: Chip, arrays: int) -> dict[str, Any]:
    return {
        "name": chip.name,
        "title": chip.title,
        "cell": chip.cell.name,
        "periphery": chip.periphery.name,
        "technology": chip.cell.technology,
        "array": {
            "rows": chip.array.rows, "columns": chip.array.columns, "slices": chip.array.slices, "arrays_used": arrays
        },
        "area_square_meters": area(chip, arrays),
        "costs": described(chip),
        "unknown": [f"{key}: {note}" for key, note in unknown_numbers(chip)],
    }  # fmt: skip


def weight_error(bench: Workbench, base: ProgrammedModel) -> float:
    """Mean absolute error of the weights that the cells hold over the mean absolute weight, all matrices together."""
    wrong = sum(
        float(np.abs(base.effective_weight(n) - w).sum(dtype=np.float64)) for n, w in bench.frozen_tensors.items()
    )
    return wrong / sum(float(np.abs(w).sum(dtype=np.float64)) for w in bench.frozen_tensors.values())


def conductance_map(base: ProgrammedModel, name: str, size: int = 64) -> dict[str, Any]:
    """A corner of the first array of a matrix: wanted and programmed conductance, pairs in neighbouring columns."""
    matrix = base.matrix(name)
    lines = lambda g: np.moveaxis(g[:, :, :size, :size], 2, 0).transpose(0, 3, 1, 2).reshape(min(size, g.shape[2]), -1)
    target, programmed = lines(matrix.target_siemens()), lines(matrix.cells.programmed)
    return {
        "tensor": name,
        "target_siemens": target[:, :size].tolist(),
        "programmed_siemens": programmed[:, :size].astype(float).tolist(),
    }


def references(chip: Chip, bench: Workbench) -> list[dict[str, Any]]:
    """The papers behind the numbers of this report: the chip's, and those of the methods that ran."""
    found: list[dict[str, Any]] = list(references_used(chip))
    for name, source in {v.method.name: v.method.source for v in bench.variants}.items():
        found.append({"key": name, "citation": source, "doi": None, "used_for": [f"method {name}"]})
    return found


def conducting_message(chip: Chip) -> str:
    """For how long the cells conduct in a read."""
    cell, cycle = chip.cell, CostTable.of(chip).array_cycle_seconds
    if most_pulses(chip) > 1:
        return (
            f"a digit of an input is up to {most_pulses(chip)} pulses in an array cycle of {cycle:g} s; cells "
            f"conduct for the read time of their file, {cell.read_seconds:g} s, in each pulse, and the energy of the "
            "cells in reads is proportional to it"
        )
    if conducting_seconds(chip) == cycle:
        return f"cells conduct for the read time of their file, {cell.read_seconds:g} s: as long as an array cycle"
    return (
        f"cells conduct for the read time of their file, {cell.read_seconds:g} s, in each array cycle of {cycle:g} s; "
        f"if they conducted throughout, cells would take {cycle / cell.read_seconds:.3g} times the energy in reads"
    )


def messages(chip: Chip, bench: Workbench) -> list[str]:
    """What a reader should know: extrapolations, effects that are off because nobody published them, notes on the
    data.
    """
    notes = [held_message(chip.cell, DRIFT_SECONDS[-1]), *bench.task.messages]
    notes += () if bench.pool is None else bench.pool.messages
    if bench.task.metric != "accuracy":
        notes.append(f"accuracy stands for {bench.task.metric} here: {MEANING[bench.task.metric]}")
    if bench.test.cut_words:
        notes.append(f"{bench.test.cut_words} words of the test examples were cut off and count as in no entity")
    notes += [f"{name} is unknown in the chip file and counted as 0" for name in CostTable.of(chip).unknown]
    notes.append(conducting_message(chip))
    notes.append(temperature_message(chip))
    notes.append(wire_message(chip) if bench.config.fidelity != "ideal" else None)
    if bench.config.fidelity == "ideal":
        notes.append(
            "fidelity ideal: no effect of the hardware on the arithmetic; energy, time and wear are still counted"
        )
    return [note for note in notes if note]
