"""Methods on the chip over seeds: what the README tells of the reports, in `results/onchip.json`.

edge-adapt simulate --method lorafusion lora:DIGITAL --seeds 5 --shots 100 --out A
edge-adapt simulate --method lorafusion lora:DIGITAL --seeds 5 --shots 400 --out B
python benchmarks/on_chip.py A/report.json B/report.json
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "onchip.json"
KEPT = (
    "method", "placement", "shots", "seed", "accuracy_exact", "accuracy_chip_before", "accuracy_chip",
    "accuracy_drifted", "accuracy_readapted", "adaptation_energy_joules",
)  # fmt: skip


def short(report: dict[str, Any], shots: int) -> dict[str, Any]:
    """What is kept of a report, and the command that makes it again."""
    results = [{key: record[key] for key in KEPT} for record in report["results"]]
    seeds = len({record["seed"] for record in results})
    methods = " ".join(dict.fromkeys(f"{r['method']}:{r['placement']}" for r in results))
    return {
        "command": f"edge-adapt simulate --method {methods} --seeds {seeds} --shots {shots}",
        "label": "simulated",
        "results": results,
    }


def cell(runs: list[dict[str, Any]], method: str, key: str) -> str:
    """Mean and sample standard deviation over seeds, in %."""
    found = [100.0 * record[key] for run in runs for record in run["results"] if record["method"] == method]
    return f"{statistics.mean(found):.1f} ± {statistics.stdev(found):.1f}"


def rows(runs: list[dict[str, Any]]) -> list[str]:
    """The lines of the README's table, without marks: on the chip and after 30 days, for each number of shots."""
    lines = []
    for run in runs:
        shots, seeds = run["results"][0]["shots"], len({record["seed"] for record in run["results"]})
        for what, key in (("200 test examples", "accuracy_chip"), ("after 30 days", "accuracy_drifted")):
            methods = dict.fromkeys(record["method"] for record in run["results"])
            each = " | ".join(cell([run], method, key) for method in methods)
            lines.append(f"| on the chip, {what} | {shots} | {seeds} | {each} |")
    return lines


def main() -> None:
    """Keep the reports named on the command line, and print the lines."""
    reports = [json.loads(Path(name).read_text(encoding="utf-8")) for name in sys.argv[1:]]
    runs = [short(report, report["results"][0]["shots"]) for report in reports]
    RESULT.write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")
    print("\n".join(rows(runs)))


if __name__ == "__main__":
    main()
