"""The README's table of the main job, from its report: kept in `results/main_job.json`, from which a test checks it.

edge-adapt simulate --device reram
python benchmarks/main_table.py edge-adapt-report/report.json
"""

import json
import sys
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "main_job.json"
NAMES = {
    ("frozen", "DIGITAL"): "no training (nearest class mean)",
    ("probe", "DIGITAL"): "classifier only",
    ("lorafusion", "DIGITAL"): "**LoRAFusion**",
    ("lora", "DIGITAL"): "LoRA, held digitally",
    ("lora", "NVM_TASK"): "LoRA, written once per task",
    ("lora", "NVM_STEP"): "LoRA, rewritten every step",
    ("full", "NVM_TASK"): "full fine-tuning, once per task",
    ("full", "NVM_STEP"): "full fine-tuning, every step",
}
KEPT = (
    "method", "placement", "trained_parameters", "cells_written", "accuracy_exact", "accuracy_chip",
    "accuracy_drifted", "accuracy_readapted", "write_energy_joules", "adaptation_energy_joules",
)  # fmt: skip


def short(report: dict[str, Any]) -> dict[str, Any]:
    """What the README tells of a report."""
    return {
        "command": "edge-adapt simulate --device reram",
        "results": [{key: record[key] for key in KEPT} for record in report["results"]],
        "programming": {key: report["programming"][key] for key in ("cells", "energy_joules", "time_seconds")},
        "pool_joules": report["programming"]["pool"]["energy_joules"],
        "break_even": report["break_even"],
    }


def rows(results: list[dict[str, Any]]) -> list[str]:
    """Lines of the table, in its order."""
    found = {(record["method"], record["placement"]): record for record in results}
    return [line(name, found[key]) for key, name in NAMES.items()]


def line(name: str, record: dict[str, Any]) -> str:
    """One line: an accuracy in %, numbers with commas, an energy with three digits."""
    mark = "**" if name.startswith("**") else ""
    accuracies = [record[f"accuracy_{key}"] for key in ("exact", "chip", "drifted", "readapted")]
    numbers = record["trained_parameters"]
    cells = [
        f"{numbers / 1e6:.1f} M" if numbers >= 1e6 else f"{numbers:,}",
        f"{record['cells_written']:,}",
        *(f"{100 * value:.1f} %" for value in accuracies),
        joules(record["write_energy_joules"]),
        joules(record["adaptation_energy_joules"]),
    ]
    return "| " + " | ".join([name, *(f"{mark}{cell}{mark}" for cell in cells)]) + " |"


def joules(value: float) -> str:
    """An energy with three digits and a prefix."""
    for scale, unit in ((1.0, "J"), (1e3, "mJ"), (1e6, "µJ"), (1e9, "nJ"), (1e12, "pJ")):
        if value * scale >= 0.9995:
            return f"{float(f'{value * scale:.3g}'):g} {unit}"
    return "0"


def main() -> None:
    """Keep what the README tells, and print its table."""
    result = short(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print("\n".join(rows(result["results"])))
    print(json.dumps({key: result[key] for key in ("programming", "pool_joules", "break_even")}, indent=1))


if __name__ == "__main__":
    main()
