"""A synthetic report with the shape and the awkward corners of a real one. Its figures are made up from a seed."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from edge_adapt.reports.comparisons import comparisons
from edge_adapt.reports.paired import Answers
from edge_adapt.reports.records import from_plain, plain, typed
from edge_adapt.reports.records.header import TestSet
from edge_adapt.reports.records.results import Result

# fmt: off
HOUR, DAY = 3600, 86400
EXAMPLES, POOL = 400, 5000
COMPONENTS = ("cells_read", "cells_write", "dac", "adc", "sample_hold", "shift_add", "buffer", "digital", "sram")
#: method, placement, trained, cells, accuracy at 100 shots, cell writes, write joules, other joules, label
SERIES: tuple[tuple[str, str, int, int, float, float, float, float, str], ...] = (
    ("lorafusion", "DIGITAL", 4644, 0, 0.757, 0.0, 0.0, 0.0131, "simulated"),
    ("lora", "NVM_STEP", 147456, 294912, 0.727, 3.1e7, 1.9, 0.0262, "simulated"),
    ("lora", "NVM_TASK", 147456, 294912, 0.724, 294912.0, 0.021, 0.0264, "simulated"),
    ("lora", "DIGITAL", 147456, 0, 0.731, 0.0, 0.0, 0.0268, "simulated"),
    ("full", "NVM_STEP", 10617600, 21233664, 0.738, 2.2e9, 141.0, 0.0391, "estimated"),
    ("full", "NVM_TASK", 10617600, 21233664, 0.735, 21233664.0, 1.55, 0.0391, "estimated"),
    ("probe", "DIGITAL", 0, 0, 0.682, 0.0, 0.0, 0.0042, "simulated"),
    ("pool", "DIGITAL", 0, 0, 0.748, 0.0, 0.0, 0.0, "simulated"),
    ("frozen", "NVM_FROZEN", 0, 0, 0.512, 0.0, 0.0, 0.0, "simulated"),
)
STARTS = {"lorafusion": "pool", "pool": None, "frozen": None}


def _answers(accuracy: float | None, method: str, place: int, shots: int, seed: int) -> str | None:
    """Answers of this accuracy; hard examples are hard for every method."""
    if accuracy is None:
        return None
    hard = np.random.default_rng([seed, shots]).normal(size=EXAMPLES)
    own = np.random.default_rng([seed, shots, place, len(method)]).normal(size=EXAMPLES)
    order = np.argsort(hard + 0.8 * own)
    right = np.zeros(EXAMPLES, int)
    right[order[: round(accuracy * EXAMPLES)]] = 1
    return "".join(map(str, right))


def _shares(total: float, writes: float, rng: np.random.Generator) -> dict[str, float]:
    weights = np.array([0.018, 0.0, 0.05, 0.44, 0.002, 0.01, 0.09, 0.35, 0.04]) * rng.uniform(0.95, 1.05, 9)
    parts = (total - writes) * weights / weights.sum()
    return {name: float(v) for name, v in zip(COMPONENTS, parts, strict=True)} | {"cells_write": writes}


def _costs() -> list[dict[str, Any]]:
    between = {"low": 0.1e-12, "high": 24e-12, "source": "neurram", "note": "a survey"}
    number = {"key": "periphery.adc.energy", "meaning": "one conversion", "text": "1.67 pJ", "source": "neurram",
              "status": "read", "note": "", "unit": "J", "value": 1.67e-12, "power": 1, "range": between}
    cost = {"quantity": "energy", "component": "adc", "event": "conversions of reads", "counts": ["read_conversions"],
            "tally": "", "value": 1.67e-12, "unit": "J", "formula": "conversion", "part": "use", "numbers": [number],
            "published": None}
    pulses = {"component": "cells_write", "event": "pulses", "counts": ["set_pulses", "reset_pulses"],
              "tally": "pulse_joules", "value": None, "part": "write"}
    voltage = {"key": "cell.programming.set_voltage", "unit": "V", "value": 1.2, "power": None}
    found = [cost, cost | pulses | {"numbers": [number | voltage], "published": copy.deepcopy(number)}]
    return [copy.deepcopy(entry) for entry in found]  # nothing that two share


COUNTS = {"read_conversions": 1.0e6, "array_seconds": 3.0,
          "set_pulses": 3.0e4, "reset_pulses": 1.0e4, "pulse_joules": 1.0e-6}


def _record(series: tuple[Any, ...], shots: int, seed: int) -> dict[str, Any]:
    method, placement, trained, cells, accuracy, writes, write_joules, other_joules, label = series
    rng = np.random.default_rng([seed, shots, len(method), trained, len(placement)])
    adapts = other_joules > 0
    gain = 0.02 * np.log2(shots / 100) if adapts else 0.0
    noise = rng.normal(0, 0.008, 6)
    scale = shots / 100
    write_joules, write_cells = write_joules * scale, int(writes * scale)
    joules = other_joules * scale + write_joules
    chip = accuracy + gain + noise[0]
    drift = [{"age_seconds": a, "accuracy": round(chip - d + n, 4)} for a, d, n in
             zip((HOUR, DAY, 30 * DAY), (0.008, 0.016, 0.031), noise[1:4], strict=True)]
    adaptation_parts = _shares(joules, write_joules, rng)
    reads = (sum(adaptation_parts.values()) - write_joules) / 1.67e-12
    inference_parts = _shares(4.1e-6 * rng.uniform(0.98, 1.02), 0.0, rng)
    share = write_cells / max(cells, 1) / 1e6 if write_cells else 0.0
    record = {
        "method": method, "placement": placement, "chip_seed": seed, "start": STARTS.get(method, "frozen"),
        "backward_need": "FULL" if method == "full" else "NONE",
        "objective": "cross-entropy", "sampler": "epochs", "optimiser": "adamw", "hooks": "",
        "forward_pairs": 0, "forward_passes": 0,
        "shots": shots, "seed": seed,
        "trained_parameters": trained, "head_parameters": 770, "cells_written": write_cells,
        "cells_in_placement": cells,
        "accuracy_exact": round(chip + 0.015 + noise[4] / 4, 4), "accuracy_exact_before": 0.51,
        "accuracy_chip_before": 0.505, "accuracy_chip": round(chip, 4), "accuracy_drifted": drift[-1]["accuracy"],
        "accuracy_readapted": round(chip - 0.004 + noise[5] / 2, 4) if adapts else None, "drift": drift,
        "validation_accuracy_exact": round(chip + 0.01, 4),
        "initial_cells_written": cells * (method == "lora" and placement == "NVM_STEP"),
        "initial_write_energy_joules": write_joules / 50 * (method == "lora" and placement == "NVM_STEP"),
        "write_energy_joules": write_joules, "write_time_seconds": write_joules * 0.9,
        "adaptation_energy_joules": sum(adaptation_parts.values()),
        "adaptation_time_seconds": 0.31 * scale + write_joules,
        "adaptation_time_sequential_seconds": 1.31 * scale + write_joules,
        "adaptation_energy_by_component_joules": adaptation_parts,
        "adaptation_event_counts": COUNTS | {"pulse_joules": write_joules, "read_conversions": reads},
        "inference_event_counts": COUNTS,
        "readaptation_event_counts": COUNTS if adapts else None, "inference_interval_seconds": 2.1e-5,
        "adaptation_time_by_component_seconds": {"adc": 0.2 * scale, "digital": 0.11 * scale,
                                                 "cells_write": write_joules},
        "compensation_energy_joules": None, "compensation_time_seconds": None, "compensation_event_counts": None,
        **dict.fromkeys(f"own_programming_{part}" for part in ("energy_joules", "time_seconds", "event_counts")),
        "training_memory_bytes": 40_000 + 30_000_000 * scale,
        "inference_energy_joules": sum(inference_parts.values()), "inference_time_seconds": 4.4e-4,
        "inference_time_sequential_seconds": 1.4e-3, "accuracy_chip_exact_gradients": None,
        "inference_energy_by_component_joules": inference_parts,
        "endurance_share_per_task": share, "tasks_until_worn_out": 1 / share if share else None,
        "label": label, "note": "12 of 1,296 tiles simulated, scaled up" if label == "estimated" else "",
        "readaptation_energy_joules": sum(adaptation_parts.values()) / 2 if adapts else None,
        "readaptation_time_seconds": 0.16 * scale if adapts else None,
        "readaptation_cells_written": write_cells // 2 if adapts else None,
        "train_steps": int(160 * scale) if adapts else 0, "train_tokens": int(41000 * scale) if adapts else 0,
    }
    answers = {name: _answers(record[f"accuracy_{name}"], method, place, shots, seed)
               for place, name in enumerate(("exact", "chip", "drifted", "readapted"))}
    return record | {f"right_{name}": bits for name, bits in answers.items()}


def _tile() -> dict[str, Any]:
    rng = np.random.default_rng(7)
    target = np.clip(np.abs(rng.normal(0, 12e-6, (64, 64))) + 1e-6, 1e-6, 40e-6)
    programmed = np.clip(target + rng.normal(0, 1.4e-6, target.shape), 0, 41e-6)
    programmed[17, 40] = 0.2e-6
    return {"tensor": "encoder.layer.0.attention.self.query", "target_siemens": target.tolist(),
            "programmed_siemens": programmed.tolist()}


def build_report(
    shots: tuple[int, ...] = (32, 100), seeds: int = 5, series: tuple[tuple[Any, ...], ...] = SERIES
) -> dict[str, Any]:
    """A valid report; fewer shots, seeds or series make a smaller one."""
    pulses = np.arange(0, 61)
    histogram = (2.1e7 * 0.11 * np.exp(-pulses / 9.0) * (pulses > 0)).astype(int)
    histogram[0], histogram[60] = 400_000, 31_000
    cells = int(histogram.sum())
    share = {"cells": cells - 1_769_472, "energy_joules": 1.31, "time_seconds": 4.2}
    report = {
        "schema": "edge-adapt/simulate/2", "created": "2025-01-31T12:00:00+00:00",
        "command": "edge-adapt simulate --device reram --shots 32,100 --seeds 5",
        "config": {"device": "reram", "method": sorted({s[0] for s in series}), "shots": list(shots), "set": {},
                   "note": "<script>alert('not run')</script> & co", "pool": None, "ir_drop": False},
        "config_hash": "3f9a1c0de2b7", "results_digest": "5d41402abc4b2a76" * 4,
        "environment": {"processor": "Example processor 3000", "cores": 2, "operating_system": "Linux 6.1",
                        "python": "3.12.1", "commit": "v0.3-12-gabcdef0", "product_arithmetic": "8-bit whole numbers",
                        "wall_seconds": 171.3, "processes": 2},
        "inputs": {"chip_sha256": "c" * 64, "model_sha256": "a" * 64, "pool_sha256": "b" * 64, "task_sha256": "d" * 64},
        "ages_seconds": [HOUR, DAY, 30 * DAY],
        "test_sets": [{"seed": seed, "examples": list(range(seed * EXAMPLES, (seed + 1) * EXAMPLES)),
                       "sha256": f"{seed:064x}"} for seed in range(seeds)],
        "versions": {"edge_adapt": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6"},
        "seeds": list(range(seeds)),
        "device": {
            "name": "reram", "title": "HfOx 1T1R resistive memory with a 32 nm periphery, 128 × 128 arrays",
            "cell": "reram", "periphery": "isaac-32nm", "technology": "reram",
            "array": {"rows": 128, "columns": 128, "slices": 1, "arrays_used": 1380},
            "area_square_meters": {"cells": 5.1e-7, "adc": 3.3e-6, "dac": 2.2e-7, "other": None, "total": 4.03e-6},
            "costs": _costs(),
            "unknown": ["cell.area_f2: no source gives the layout", "periphery.router_energy: left out of every total"],
        },
        "model": {"name": "minilm", "parameters": 22_713_216, "weights_in_cells": 10_616_832,
                  "hidden_size": 384, "blocks": 6},
        "raw_pixels": [{"shots": 100, "seed": s, "accuracy": 0.61 + 0.01 * s} for s in (0, 1)],
        "task": {"name": "movie", "labels": ["negative", "positive"], "train_examples": 9_000,
                 "test_examples": EXAMPLES, "test_pool": POOL,
                 "source": "ICWSM'14 rated sentiment, movie reviews", "metric": "accuracy"},
        "pool": {"path": "pools/minilm", "weights_in_cells": 884_736,
                 "modules": [{"name": f"module-{k}", "task": t, "rank": 16} for k, t in
                             enumerate(("tweets", "amazon", "nyt", "bbc-news", "r8", "election-author"))]},
        "programming": {
            "cells": cells, "pulses_mean": float((histogram * pulses).sum() / cells), "pulses_p95": 27.0,
            "failed_cells": 31_000, "energy_joules": 1.42, "time_seconds": 4.55, "weight_error_relative": 0.19,
            "weight_error_rms_relative": 0.21, "chip_seed": 0,
            "chips": [{"chip_seed": seed, "seeds": [seed], "weight_error_relative": 0.19 + 0.001 * seed,
                       "weight_error_rms_relative": 0.21 + 0.002 * seed, "failed_cells": 31_000 + 100 * seed,
                       "energy_joules": 1.42} for seed in range(seeds)],
            "pulses_histogram": histogram.tolist(), "backbone": share,
            "pool": {"cells": 1_769_472, "energy_joules": 0.11, "time_seconds": 0.35},
            "event_counts": COUNTS,
            "write_read_ratio": {"cell_pulse": 410.0, "cell_program_verify": 5.2e4, "array_with_converters": 31.5},
            "label": "simulated",
        },
        "conductance_map": _tile(),
        "results": [_record(s, n, seed) for s in series for n in shots for seed in range(seeds)],
        "break_even": {
            "pool_programming_energy_joules": 0.11,
            "versus": [
                {"method": "lora", "placement": "NVM_TASK", "tasks": 6, "steps": None,
                 "write_energy_joules_per_task": 0.021, "write_energy_joules_per_step": None,
                 "initial_write_energy_joules": 0.0,
                 "note": "per task written"},
                {"method": "lora", "placement": "NVM_STEP", "tasks": 1, "steps": 7,
                 "write_energy_joules_per_task": 1.9, "write_energy_joules_per_step": 0.0116,
                 "initial_write_energy_joules": 0.038, "note": ""},
                {"method": "full", "placement": "NVM_STEP", "tasks": 1, "steps": 1,
                 "write_energy_joules_per_task": 141.0, "write_energy_joules_per_step": 0.88,
                 "initial_write_energy_joules": 0.0, "note": "estimated"},
            ],
        },
        "pool_fit": {
            "verdict": "fits", "folds": 0,
            "tests": [
                {"against": "lora", "answers": 100, "only_pool_right": 14, "only_other_right": 3,
                 "probability": 0.0127, "verdict": "better"},
                {"against": "probe", "answers": 100, "only_pool_right": 19, "only_other_right": 4,
                 "probability": 0.0026, "verdict": "better"},
            ],
            "text": "Of 100 held-out answers LoRAFusion alone has 14 right and LoRA alone 3."},
        "references": [
            {"key": "neurram", "citation": "W. Wan et al., A compute-in-memory chip based on resistive random-access "
             "memory, Nature 608, 2022", "doi": "10.1038/s41586-022-04992-8",
             "used_for": ["cell.g_max", "cell.relaxation"]},
            {"key": "thesis", "citation": "A source without a DOI, 2019", "doi": None, "used_for": ["adc.energy"]},
        ],
        "messages": ["The accuracy of full fine-tuning uses the noise of the sampled tiles."],
        "comparisons": [],
    }
    return report | {"comparisons": plain(comparisons(answers_of(report)))}


def answers_of(report: Mapping[str, Any]) -> Answers:
    """What the comparisons of a report, whole or not, are made of."""
    results = [from_plain(Result, record) for record in report["results"]]
    return Answers(results, [from_plain(TestSet, entry) for entry in report["test_sets"]], report["task"]["metric"])


@pytest.fixture
def answers() -> Callable[[Mapping[str, Any]], Answers]:
    """`answers_of`, for tests that change a report first."""
    return answers_of


@pytest.fixture
def make_report() -> Callable[..., dict[str, Any]]:
    """The builder, for tests that need another shape."""
    return build_report


@pytest.fixture(scope="session")
def drawings() -> dict[str, Any]:
    """The figures of the full example, drawn once."""
    from edge_adapt.reports.figures import draw_all

    return draw_all(typed(build_report()))


@pytest.fixture
def report() -> dict[str, Any]:
    """The full example: 9 series, 2 numbers of shots, 5 seeds."""
    return build_report()
