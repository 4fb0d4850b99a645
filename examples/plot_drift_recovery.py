"""Draws what drift takes from an adapted chip, and what adapting its digital state again gives back.

    python examples/plot_drift_recovery.py [REPORT ...] [--out FOLDER] [--record FILE]

REPORT: report.json of `edge-adapt simulate --device pcm --method lorafusion pasta --seeds 3`, any number of them;
without one, the recorded runs of benchmarks/results/drift_recovery.json. FOLDER (for temporary files by default) gets
drift-recovery.png and .svg; FILE keeps what was drawn. Prints the means over seeds and, paired by seed, what was lost
in 30 days and won back, with standard errors; every figure simulated. For a chip with drift compensation
(NAME-compensated) it also prints what that and adapting again give back of what the same runs lose on NAME.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

RECORDED = Path(__file__).resolve().parents[1] / "benchmarks" / "results" / "drift_recovery.json"
KEPT = ("method", "placement", "shots", "seed", "accuracy_exact", "accuracy_chip", "drift", "accuracy_drifted",
        "accuracy_readapted", "adaptation_energy_joules", "readaptation_energy_joules",
        "compensation_energy_joules")  # fmt: skip
NAMES = {3600.0: "1 hour", 86400.0: "1 day", 30 * 86400.0: "30 days"}
PLACES = ["adapted", *NAMES.values(), "adapted\nagain"]


def read(path: Path) -> list[dict[str, Any]]:
    """The runs in a report, or in a file of recorded ones: device, command and records."""
    found = json.loads(path.read_text())
    if isinstance(found, list):
        return found
    results = [{key: record[key] for key in KEPT if record.get(key) is not None} for record in found["results"]]
    about = {key: found[key] for key in ("command", "config_hash", "created")}
    return [about | {"device": found["device"]["name"], "label": "simulated", "results": results}]


def points(record: dict[str, Any]) -> dict[str, float]:
    """Accuracy as adapted, at each age that was kept, and adapted again."""
    ages = {NAMES[point["age_seconds"]]: point["accuracy"] for point in record.get("drift", ())}
    ages = ages or {"30 days": record["accuracy_drifted"]}
    return {"adapted": record["accuracy_chip"], **ages, "adapted\nagain": record["accuracy_readapted"]}


def percent_points(values: np.ndarray) -> str:
    """Mean and standard error."""
    error = f" ± {100 * values.std(ddof=1) / np.sqrt(len(values)):.1f}" if len(values) > 1 else ""
    return f"{100 * values.mean():+.1f}{error}"


def draw(runs: Sequence[dict[str, Any]]) -> Figure:
    """A panel for each device, a line for each method and number of shots; prints the numbers."""
    devices = list(dict.fromkeys(run["device"] for run in runs))
    figure = Figure(figsize=(4.6 * len(devices), 3.6), layout="constrained")
    panels = figure.subplots(1, len(devices), squeeze=False, sharey=True)[0]
    for panel, device in zip(panels, devices, strict=True):
        kinds: dict[tuple[str, int], list[dict[str, float]]] = {}
        for record in (record for run in runs if run["device"] == device for record in run["results"]):
            kinds.setdefault((record["method"], record["shots"]), []).append(points(record))
        for number, ((method, shots), found) in enumerate(kinds.items()):
            names = [name for name in PLACES if name in found[0]]
            values = np.array([[each[name] for name in names] for each in found])
            mean, spread = values.mean(0), values.std(0, ddof=1) if len(values) > 1 else 0 * values[0]
            place = np.array([PLACES.index(name) for name in names]) + 0.06 * number
            label = f"{method}, {shots} shots"
            panel.errorbar(place, mean, spread, fmt="none", color=f"C{number}", capsize=2, alpha=0.5)
            panel.plot(place[:-1], mean[:-1], "o-", color=f"C{number}", label=label)
            panel.plot(place[-2:], mean[-2:], "s--", color=f"C{number}")
            lost, won = values[:, 0] - values[:, -2], values[:, -1] - values[:, -2]
            print(
                f"{device:6s} {label:22s} {len(found)} seeds  "
                f"adapted {100 * mean[0]:.1f} %  30 days {100 * mean[-2]:.1f} %  "
                f"again {100 * mean[-1]:.1f} %  lost {percent_points(lost)}  won back {percent_points(won)} points"
            )
        panel.set_xticks(range(len(PLACES)), PLACES)
        panel.set_title(device)
        panel.yaxis.set_major_formatter(PercentFormatter(1, 0))
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(True, alpha=0.25)
        panel.legend(frameon=False, fontsize="small")
    panels[0].set_ylabel("accuracy on the chip (simulated)")
    return figure


def given_back(runs: Sequence[dict[str, Any]]) -> None:
    """Print, for runs on NAME-compensated that NAME has too, how much of NAME's loss is given back."""
    every = {
        (run["device"], record["method"], record["shots"], record["seed"]): record
        for run in runs
        for record in run["results"]
    }
    pairs: dict[tuple[str, str, int], list[tuple[float, float, float]]] = {}
    for (device, method, shots, seed), record in every.items():
        plain = every.get((device.removesuffix("-compensated"), method, shots, seed))
        if plain is None or plain is record:
            continue
        lost = plain["accuracy_chip"] - plain["accuracy_drifted"]
        back = (record[key] - plain["accuracy_drifted"] for key in ("accuracy_drifted", "accuracy_readapted"))
        pairs.setdefault((device, method, shots), []).append((lost, *back))
    for (device, method, shots), found in pairs.items():
        lost, factors, again = np.array(found).T
        print(
            f"{device} {method}, {shots} shots, {len(found)} seeds: of {percent_points(lost)} points lost without "
            f"factors {percent_points(factors)} are given back by them ({factors.sum() / lost.sum():.0%}), "
            f"{percent_points(again)} with adapting again ({again.sum() / lost.sum():.0%})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", metavar="REPORT", nargs="*", type=Path)
    parser.add_argument("--out", metavar="FOLDER", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--record", metavar="FILE", type=Path)
    args = parser.parse_args()
    runs = [run for path in args.reports or [RECORDED] for run in read(path)]
    if args.record:
        args.record.write_text(json.dumps(runs, indent=1) + "\n")
    args.out.mkdir(parents=True, exist_ok=True)
    figure = draw(runs)
    given_back(runs)
    for kind in ("png", "svg"):
        path = args.out / f"drift-recovery.{kind}"
        figure.savefig(path, dpi=100)
        print(f"drawn: {path}")


if __name__ == "__main__":
    main()
