"""Methods on the chip over many answers: what docs/results.md tells of a report, in `results/onchip.json`.

edge-adapt simulate --device reram --method lorafusion lora:DIGITAL pool --seeds 4 --test-examples 600 --out A
python benchmarks/on_chip.py A/report.json
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "onchip.json"
OUTCOMES = {"exact": "exact weights", "chip": "on the chip", "drifted": "30 days later", "readapted": "adapted again"}
KEPT = (
    "method",
    "placement",
    "shots",
    "seed",
    *(f"{what}_{name}" for name in OUTCOMES for what in ("accuracy", "right")),
)


def short(report: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a report: the answers, paired differences of methods in one outcome, and where it was made."""
    made = {name: report["environment"][name] for name in ("processor", "commit", "wall_seconds", "processes")}
    return {
        "command": report["command"].replace(" --json", "").rpartition(" --out")[0],
        "label": "simulated",
        "results_digest": report["results_digest"],
        **made,
        "results": [{key: record[key] for key in KEPT} for record in report["results"]],
        "comparisons": [c for c in report["comparisons"] if c["outcome"] == c["against_outcome"]],
    }


def rows(run: dict[str, Any]) -> list[str]:
    """The lines of the table: for each outcome the methods' means in %, and what the first has more than the others."""
    methods = list(dict.fromkeys(record["method"] for record in run["results"]))
    lines = []
    for outcome, words in OUTCOMES.items():
        means = [
            f"{100 * statistics.fmean(r[f'accuracy_{outcome}'] for r in run['results'] if r['method'] == method):.1f}"
            for method in methods
        ]
        more = {
            c["against_method"]: c for c in run["comparisons"] if (c["method"], c["outcome"]) == (methods[0], outcome)
        }
        signs = [
            f"{more[name]['difference_points']:+.1f} ± {more[name]['standard_error_points']:.1f}".replace("-", "−")
            for name in methods[1:]
        ]
        lines.append(f"| {words} | **{means[0]}** | {' | '.join((*means[1:], *signs))} |")
    return lines


def main() -> None:
    """Keep the report named on the command line, and print the lines."""
    run = short(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    RESULT.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    print("\n".join(rows(run)))


if __name__ == "__main__":
    main()
