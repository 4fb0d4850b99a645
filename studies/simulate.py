"""The main job: adapt a frozen Transformer on a simulated chip by several methods, and account for all of it."""

import dataclasses
import datetime
import importlib.metadata
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._version import __version__
from ..devices import Chip, references_used, unknown_numbers
from ..methods import Placement
from ..methods.base import BackwardNeed, Recipe
from ..methods.trainer import extract_features, train
from ..simulator import Breakdown, CostTable, ProgrammedModel, area
from ..simulator.retention import held_message
from . import amortise
from .config import DRIFT_SECONDS, SimulateConfig
from .trial import ChipTrial, Cost
from .workbench import Encoded, Variant, Workbench, load_workbench

SCHEMA = "edge-adapt/simulate/1"
VERSIONED = ("numpy", "torch", "numba", "transformers", "tokenizers", "safetensors")


class Progress:
    """What a run tells about itself; this one is silent. `start(total)` and `advance` count equal units of work."""

    def start(self, total: int) -> None: ...
    def stage(self, text: str) -> None: ...
    def advance(self, units: int = 1) -> None: ...


@dataclass
class ExactResult:
    """A method trained and tested with exact weights: the digital yardstick."""

    accuracy: float
    validation: float
    validation_right: np.ndarray


@dataclass
class ChipResult:
    """A variant on the chip, filled in as time passes."""

    variant: Variant
    trial: ChipTrial
    cost: Cost
    accuracy: float = float("nan")
    inference: Breakdown | None = None
    drift: list[dict[str, float]] = dataclasses.field(default_factory=list)
    readapted: float = float("nan")
    again: Cost | None = None


def simulate(config: SimulateConfig, progress: Progress | None = None, command: str = "") -> dict[str, Any]:
    """Run the whole study; returns the report as plain data (docs/report-schema.md), every figure simulated.

    Raises UsageError for names, options and inputs that do not fit, EdgeAdaptError for failures.
    """
    progress = progress or Progress()
    progress.stage("loading model and data")
    bench = load_workbench(config)
    matrices = len(bench.frozen_tensors)
    runs = len(config.shots) * config.seeds
    # One unit a matrix; a run trains each method exactly once, and adapts, tests 1 + 3 times and re-adapts each
    # variant.
    progress.start(matrices + runs * (len(bench.variants) * 8 + len({v.method.name for v in bench.variants}) * 2))
    progress.stage("programming backbone and pool")
    logs: dict[str, Any] = {}

    def on_matrix(name: str, log: Any) -> None:
        logs[name] = log
        progress.advance()

    base = bench.program(on_matrix)
    error = weight_error(bench, base)
    results, fits = [], []
    for shots in config.shots:
        for seed in config.seed_numbers:
            records, fit = run_once(bench, base, shots, seed, progress)
            results += records
            fits += fit
    return _report(config, bench, base, logs, error, results, fits, command)


def run_once(
    bench: Workbench, base: ProgrammedModel, shots: int, seed: int, progress: Progress
) -> tuple[list[dict[str, Any]], list[tuple[str, np.ndarray, np.ndarray]]]:
    """All variants on one draw of examples: (result records, validation answers of lorafusion beside the others)."""
    few = bench.task.few_shot(shots, seed)
    data, held_out = bench.encode(few.train), bench.encode(few.validation)
    where = f"{shots} shots, seed {seed}"
    exact: dict[str, ExactResult] = {}
    for variant in bench.variants:
        name = variant.method.name
        if name not in exact:
            progress.stage(f"{where}: {name} with exact weights")
            exact[name] = run_exact(bench, variant, data, held_out, shots, seed)
            progress.advance(2)
    before_exact = frozen_accuracy_exact(bench, data)
    before_chip = frozen_accuracy_chip(bench, base, data)
    records = []
    for group in groups(bench.variants):
        base.set_time(0.0)
        records += [
            _record(bench, result, exact[result.variant.method.name], before_exact, before_chip, shots, seed)
            for result in live(bench, base, group, data, shots, seed, where, progress)
        ]
    fused = exact.get("lorafusion")
    fits = [(n, fused.validation_right, e.validation_right) for n, e in exact.items() if fused and n != "lorafusion"]
    return records, fits


def groups(variants: list[Variant]) -> list[list[Variant]]:
    """Variants that live through time together. Those that rewrite the backbone hold a chip of their own: one after
    the other.
    """
    alone = [v for v in variants if v.method.backward_need is BackwardNeed.FULL]
    # DIGITAL first: what is written once a task is trained in the same way (`digital_twin`).
    together = sorted((v for v in variants if v not in alone), key=lambda v: v.placement is not Placement.DIGITAL)
    return [g for g in (together, *([v] for v in alone)) if g]


def live(
    bench: Workbench, base: ProgrammedModel, variants: list[Variant], data: Encoded, shots: int, seed: int, where: str,
    progress: Progress,
) -> list[ChipResult]:  # fmt: skip
    """Adapt, test, let time pass, test, adapt again, test: all variants side by side, so that the chip ages once for
    all of them.
    """
    results: list[ChipResult] = []
    shared = SharedFeatures()
    for variant in variants:
        progress.stage(f"{where}: {variant.title} on the chip")
        trial = ChipTrial(bench, variant, base, shots, seed)
        trial.deploy(data)
        cost = trial.adapt(data, trial.adaptation.recipe, as_in=digital_twin(variant, results))
        result = ChipResult(variant, trial, cost)
        progress.advance(2)
        found, counts = shared.inference(trial, bench.test)
        result.accuracy = trial.accuracy(found)
        result.inference = CostTable.of(bench.chip).cost(counts)
        results.append(result)
        progress.advance()
    for seconds in DRIFT_SECONDS:
        base.set_time(seconds)
        shared.clear()
        for result in results:
            progress.stage(f"{where}: {result.variant.title} after {seconds / 3600:g} hours")
            result.trial.set_time(seconds)
            accuracy = result.trial.accuracy(shared.features(result.trial, bench.test))
            result.drift.append({"age_seconds": seconds, "accuracy": accuracy})
            progress.advance()
    shared.clear()
    for result in results:
        progress.stage(f"{where}: {result.variant.title} adapts again")
        recipe = shorter(result.trial.adaptation.recipe, bench.config.readapt_share)
        result.again = result.trial.adapt(data, recipe, refresh=True, as_in=digital_twin(result.variant, results))
        result.readapted = result.trial.accuracy(shared.features(result.trial, bench.test))
        progress.advance(2)
    return results


def digital_twin(variant: Variant, results: list[ChipResult]) -> ChipTrial | None:
    """The trial of the same method with its matrices held digitally, whose training an NVM_TASK variant shares."""
    if variant.placement is not Placement.NVM_TASK:
        return None
    twins = [r for r in results if r.variant == Variant(variant.method, Placement.DIGITAL)]
    return twins[0].trial if twins else None


def run_exact(
    bench: Workbench, variant: Variant, data: Encoded, held_out: Encoded, shots: int, seed: int
) -> ExactResult:
    """Train and test a method without any chip; same initial values and order of examples as on the chip."""
    rng = np.random.default_rng([seed, shots])
    adaptation = variant.method.attach(bench.backbone, bench.classes, rng, placement=variant.placement, pool=bench.pool)
    train(adaptation, data.ids, data.labels, rng)
    right = {}
    with torch.no_grad():
        for name, examples in (("test", bench.test), ("validation", held_out)):
            features, labels = extract_features(adaptation, examples.ids, examples.labels)
            right[name] = (adaptation.module.head(features).argmax(1) == labels).numpy()
    return ExactResult(float(right["test"].mean()), float(right["validation"].mean()), right["validation"])


def frozen_accuracy_exact(bench: Workbench, data: Encoded) -> float:
    """The model before any adaptation, exact weights: nearest class mean of the training shots."""
    from ..methods import get_method

    adaptation = get_method("frozen").attach(bench.backbone, bench.classes, np.random.default_rng(0))
    train(adaptation, data.ids, data.labels, np.random.default_rng(0))
    features, labels = extract_features(adaptation, bench.test.ids, bench.test.labels)
    with torch.no_grad():
        return (adaptation.module.head(features).argmax(1) == labels).double().mean().item()


def frozen_accuracy_chip(bench: Workbench, base: ProgrammedModel, data: Encoded) -> float:
    """The same on the chip as programmed."""
    from ..methods import get_method

    base.set_time(0.0)
    frozen = ChipTrial(bench, Variant(get_method("frozen"), Placement.DIGITAL), base, 0, 0)
    frozen.deploy(data)
    frozen.adapt(data, frozen.adaptation.recipe)
    return frozen.accuracy(frozen.features(bench.test))


class SharedFeatures:
    """Methods that train only a head read the same cells: their features are read once for all of them."""

    def __init__(self) -> None:
        self._kept: tuple[tuple[Tensor, Tensor], Any] | None = None
        self._features: tuple[Tensor, Tensor] | None = None

    def clear(self) -> None:
        """Forget them: time has passed."""
        self._kept = self._features = None

    def inference(self, trial: ChipTrial, data: Encoded) -> tuple[tuple[Tensor, Tensor], Any]:
        if trial.adaptation.backward_need is not BackwardNeed.NONE:
            return trial.inference(data)
        if self._kept is None:
            self._kept = trial.inference(data)
        return self._kept

    def features(self, trial: ChipTrial, data: Encoded) -> tuple[Tensor, Tensor]:
        if trial.adaptation.backward_need is not BackwardNeed.NONE:
            return trial.features(data)
        if self._features is None:
            self._features = trial.features(data)
        return self._features


def shorter(recipe: Recipe, share: float) -> Recipe:
    """The recipe of the second adaptation: fewer epochs, from the state the first one left (but a new head)."""
    return dataclasses.replace(recipe, epochs=round(recipe.epochs * share), min_steps=round(recipe.min_steps * share))


def _record(
    bench: Workbench, result: ChipResult, exact: ExactResult, before_exact: float, before_chip: float | None,
    shots: int, seed: int,
) -> dict[str, Any]:  # fmt: skip
    table = CostTable.of(bench.chip)
    cost, again = table.cost(result.cost.counts), result.again
    adaptation = result.trial.adaptation
    share, tasks = amortise.wear(bench.chip, result.cost.writes_max)
    assert result.inference is not None and again is not None
    written = [n for n in result.trial.trained_cells if n in result.trial.model]
    again_cost = table.cost(again.counts)
    return {
        "method": result.variant.method.name,
        "placement": result.variant.placement.value,
        "backward_need": adaptation.backward_need.value,
        "shots": shots,
        "seed": seed,
        "trained_parameters": adaptation.trained_parameters,
        "head_parameters": adaptation.head_parameters if adaptation.groups["head"] else 0,
        "cells_written": result.cost.cells_written,
        "cells_in_placement": sum(result.trial.model.matrix(n).layout.cells for n in written),
        "accuracy_exact_before": before_exact,
        "accuracy_exact": exact.accuracy,
        "validation_accuracy_exact": exact.validation,
        "accuracy_chip_before": before_chip,
        "accuracy_chip": result.accuracy,
        "accuracy_drifted": result.drift[-1]["accuracy"],
        "accuracy_readapted": result.readapted,
        "drift": result.drift,
        "write_energy_joules": _write_joules(table, result.cost),
        "write_time_seconds": result.cost.counts.write_seconds,
        "adaptation_energy_joules": cost.total_joules,
        "adaptation_time_seconds": cost.total_seconds,
        "adaptation_energy_by_component_joules": cost.joules,
        "adaptation_time_by_component_seconds": cost.seconds,
        "readaptation_energy_joules": again_cost.total_joules,
        "readaptation_time_seconds": again_cost.total_seconds,
        "readaptation_cells_written": again.cells_written,
        "inference_energy_joules": result.inference.total_joules,
        "inference_time_seconds": result.inference.total_seconds,
        "inference_energy_by_component_joules": result.inference.joules,
        "endurance_share_per_task": share,
        "tasks_until_worn_out": tasks,
        "train_steps": result.cost.steps,
        "train_tokens": result.cost.tokens,
        "label": "simulated",
        "note": _note(result.variant),
    }


def _write_joules(table: CostTable, cost: Cost) -> float:
    """Energy of the writes of an adaptation: cells, lines, verify currents, and the conversions of the verify reads."""
    return cost.counts.cell_write_joules + cost.counts.verify_conversions * table.adc_joules


def _note(variant: Variant) -> str:
    if variant.placement is Placement.NVM_STEP:
        return (
            "a digital master copy is trained; its initial values are written first, and after each step the cells "
            "whose target level changed are rewritten"
        )
    if variant.placement is Placement.NVM_TASK:
        return "trained digitally, then written to its cells once"
    return ""


def _report(
    config: SimulateConfig, bench: Workbench, base: ProgrammedModel, logs: dict[str, Any], error: float,
    results: list[dict[str, Any]], fits: list[tuple[str, np.ndarray, np.ndarray]], command: str,
) -> dict[str, Any]:  # fmt: skip
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
        "model": {
            "name": bench.backbone.name,
            "parameters": sum(p.numel() for p in bench.backbone.module.parameters()),
            "weights_in_cells": sum(bench.frozen_tensors[n].size for n in backbone_names),
            "hidden_size": bench.backbone.hidden_size,
            "blocks": bench.backbone.blocks,
        },
        "task": {
            "name": bench.task.name,
            "labels": list(bench.task.labels),
            "train_examples": len(bench.task.train),
            "test_examples": len(bench.task.test),
            "source": bench.task.source,
        },
        "pool": None if bench.pool is None else {
            "path": config.pool or f"the shipped pool of {bench.backbone.name}",
            "modules": [{"name": m.name, "task": m.task, "rank": m.rank} for m in bench.pool.modules],
            "weights_in_cells": sum(bench.frozen_tensors[n].size for n in pool_names),
        },
        "programming": {
            "cells": int(total.pulses.size),
            "pulses_mean": float(total.pulses.mean()),
            "pulses_p95": float(np.percentile(total.pulses, 95)),
            "failed_cells": int(total.failed.sum()),
            "energy_joules": total.energy_joules,
            "time_seconds": total.time_seconds,
            "weight_error_relative": error,
            "pulses_histogram": np.bincount(total.pulses, minlength=(chip.cell.pulses_max or 0) + 1).tolist(),
            "backbone": part(backbone_names),
            "pool": pool_part,
            "write_read_ratio": amortise.write_read_ratios(chip, total, _read_joules(results, bench)),
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


def _read_joules(results: list[dict[str, Any]], bench: Workbench) -> float:
    """Inference energy of the arrays and converters for one weight and one token, from the first variant of the run."""
    from ..methods import get_method

    names = set(bench.frozen_tensors)
    if not get_method(results[0]["method"]).needs_pool:
        names -= set(bench.pool_tensor_names())
    weights = sum(bench.frozen_tensors[name].size for name in names)
    parts = results[0]["inference_energy_by_component_joules"]
    analog = sum(parts[name] for name in ("cells_read", "dac", "adc", "sample_hold", "shift_add", "buffer"))
    size = bench.test.size()
    return analog * size.sequences / size.tokens / weights


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
    target, programmed = lines(matrix.levels[matrix.level]), lines(matrix.programmed)
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


def messages(chip: Chip, bench: Workbench) -> list[str]:
    """What a reader should know: extrapolations, effects that are off because nobody published them, notes on the
    data.
    """
    notes = [held_message(chip.cell, DRIFT_SECONDS[-1]), *bench.task.messages]
    notes += [f"{name} is unknown in the chip file and counted as 0" for name in CostTable.of(chip).unknown]
    cell, cycle = chip.cell, CostTable.of(chip).array_cycle_seconds
    notes.append(
        f"cells conduct for the read time of their file, {cell.read_seconds:g} s, in each array cycle of {cycle:g} s; "
        f"if they conducted throughout, cells would take {cycle / cell.read_seconds:.3g} times the energy in reads"
    )
    if bench.config.fidelity == "ideal":
        notes.append(
            "fidelity ideal: no effect of the hardware on the arithmetic; energy, time and wear are still counted"
        )
    return [note for note in notes if note]
