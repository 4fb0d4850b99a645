"""One recorded run of the main job becomes the figures of README.md, docs/results.md and docs/report.png.

    edge-adapt simulate --device reram
    edge-adapt simulate --device pcm --method lorafusion --out drifting
    python benchmarks/publish.py edge-adapt-report --drift drifting

The first report is kept in short as `results/main_job.json`, with the command, the processor, the commit, the versions
and the digest of the results; of the second, of a chip that loses more by drift, what its drift takes and what adapting
again gives back (without --drift, what was kept of an earlier one stays). From this record, and from nothing else, the
marked regions of both documents are filled (`<!-- begin: NAME -->` to `<!-- end: NAME -->`), and a headless Chromium,
where there is one, takes the picture of the report's first screen. Without an argument the regions are filled from the
record that is there.
`tests/packaging/test_readme_figures.py` holds the documents against the record.
"""

import argparse
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_adapt.methods import METHODS
from edge_adapt.methods.spec import FAMILIES
from edge_adapt.reports.figure_recovery import changes
from edge_adapt.reports.loaded import load_report
from edge_adapt.reports.records import SimulateReport, from_plain
from edge_adapt.reports.rows import Row, method_title, rivals_of, rows_of, subject_of
from edge_adapt.reports.uncertainty import Errors
from edge_adapt.reports.values import signed

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "main_job.json"
PICTURE = ROOT / "docs" / "report.png"
DOCUMENTS = ("README.md", "docs/results.md")
OUTCOMES = {"exact": "exact weights", "chip": "on the chip", "drifted": "30 days later", "readapted": "adapted again"}
COSTS = ("trained_parameters", "cells_written", "write_energy_joules", "adaptation_energy_joules")
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def short(report: Mapping[str, Any]) -> dict[str, Any]:
    """What the documents tell of a report: rows over its runs at the largest number of shots, and what made it."""
    typed = from_plain(SimulateReport, report)
    shots = max(record.shots for record in typed.results)
    rows = [row for row in rows_of(typed.results) if row.shots == shots]
    return {
        "command": report["command"],
        "created": report["created"],
        "environment": report["environment"],
        "versions": report["versions"],
        "config_hash": report["config_hash"],
        "inputs": report["inputs"],
        "results_digest": report["results_digest"],
        "shots": shots,
        "runs": max(len(row.records) for row in rows),
        "test_examples": report["task"]["test_examples"],
        "rows": [_short_row(row, Errors.of(typed)) for row in sorted(rows, key=_place)],
        "comparisons": [entry for entry in report["comparisons"] if entry["shots"] == shots],
        "programming": {key: report["programming"][key] for key in ("cells", "energy_joules", "time_seconds")},
        "pool_joules": (report["programming"]["pool"] or {}).get("energy_joules"),
        "break_even": report["break_even"],
    }


def _place(row: Row) -> tuple[float, int, str, int]:
    """Where a row stands in the tables: by how much is trained, by family, then by how often cells are written."""
    families, places = list(FAMILIES), ("DIGITAL", "NVM_TASK", "NVM_STEP")
    return (
        row.stat("trained_parameters").mean or 0.0,
        families.index(METHODS[row.method].family) if row.method in METHODS else len(families),
        row.method,
        places.index(row.placement) if row.placement in places else len(places),
    )


def _short_row(row: Row, errors: Errors) -> dict[str, Any]:
    accuracies = {
        name: {"mean": row.stat(f"accuracy_{name}").mean, "standard_error": errors.mean(row, name)} for name in OUTCOMES
    }
    lost, won = changes(row, errors)
    return {
        "method": row.method,
        "placement": row.placement,
        **{name: row.stat(name).mean for name in COSTS},
        "accuracy": accuracies,
        "lost": lost and {"points": lost.points, "error": lost.error},
        "won_back": won and {"points": won.points, "error": won.error},
    }


def regions(record: Mapping[str, Any]) -> dict[str, str]:
    """The texts of all regions, by name."""
    return {
        "main-job": _table(record, ("chip", "drifted", "readapted"), ("cells_written", "adaptation_energy_joules")),
        "main-job-lessons": "\n".join(f"{n}. {text}" for n, text in enumerate(lessons(record), 1)),
        "main-job-made": made(record),
        "main-job-all": _table(record, tuple(OUTCOMES), COSTS),
        "main-job-differences": differences(record),
        "main-job-once": once(record),
    }


def _table(record: Mapping[str, Any], outcomes: tuple[str, ...], costs: tuple[str, ...]) -> str:
    titles = {
        "trained_parameters": "trained numbers",
        "cells_written": "cell writes",
        "write_energy_joules": "write energy",
        "adaptation_energy_joules": "adaptation energy",
    }
    first = [name for name in ("trained_parameters", "cells_written") if name in costs]
    last = [name for name in costs if name not in first]
    heading = ["method", *(titles[n] for n in first), *(OUTCOMES[n] for n in outcomes), *(titles[n] for n in last)]
    lines = ["| " + " | ".join(heading) + " |", "|---" * len(heading) + "|"]
    subject = _subject(record)
    for row in record["rows"]:
        mark = "**" if (row["method"], row["placement"]) == subject else ""
        cells = [
            title(row),
            *(number(row[name]) for name in first),
            *(accuracy(row["accuracy"][name]) for name in outcomes),
            *(joules(row[name]) for name in last),
        ]
        lines.append("| " + " | ".join(f"{mark}{cell}{mark}" for cell in cells) + " |")
    return "\n".join(lines)


def lessons(record: Mapping[str, Any]) -> list[str]:
    """Three sentences or so: accuracy, drift, cost. What the record does not hold is left out."""
    rows = {(row["method"], row["placement"]): row for row in record["rows"]}
    found, key = [], _subject(record)
    if key is None:
        return found
    subject, rival = rows[key], rivals_of(key)[0]
    chip = accuracy(subject["accuracy"]["chip"])
    if rival in rows:
        other = rows[rival]
        entry = _comparison(record, key, rival, "chip")
        found.append(
            f"**Accuracy.** {name(subject)} trains {number(subject['trained_parameters'])} numbers and "
            f"reaches {chip} on the chip. {name(other)} trains {number(other['trained_parameters'])} and reaches "
            f"{accuracy(other['accuracy']['chip'])}{_verdict(entry)}."
        )
    written = number(subject["cells_written"]) if subject["cells_written"] else "No"
    drift = (
        f"**Drift.** After 30 days {name(subject)} has "
        f"{accuracy(subject['accuracy']['drifted'])} ({points(subject['lost'])} points). Adapting it again brings it "
        f"to {accuracy(subject['accuracy']['readapted'])} ({points(subject['won_back'])} points)."
    )
    if record.get("drift"):
        other = record["drift"]
        drift += (
            f" On the `{other['device']}` chip, whose cells drift more, 30 days take it from "
            f"{accuracy(other['accuracy']['chip'])} to {accuracy(other['accuracy']['drifted'])}, and adapting it again "
            f"gives {points(other['won_back'])} points back (`{other['command']}`)."
        )
    found.append(f"{drift} {written} memory cells are written.")
    costs = f"**Cost.** One adaptation of {name(subject)} takes " \
            f"{joules(subject['adaptation_energy_joules'])}."  # fmt: skip
    for in_cells in rivals_of(key, "NVM_TASK"):
        if in_cells in rows:
            row = rows[in_cells]
            costs += (
                f" {name(row)}, {where(row)}, takes {joules(row['adaptation_energy_joules'])} and writes "
                f"{number(row['cells_written'])} cells, which wear."
            )
    return [*found, costs]


def _subject(record: Mapping[str, Any]) -> tuple[str, str] | None:
    """What the sentences are about."""
    return subject_of((row["method"], row["placement"]) for row in record["rows"])


def _comparison(record: Mapping[str, Any], one: tuple[str, str], two: tuple[str, str], outcome: str) -> Any:
    for entry in record["comparisons"]:
        pair = (entry["method"], entry["placement"]), (entry["against_method"], entry["against_placement"])
        if entry["outcome"] == entry["against_outcome"] == outcome and pair == (one, two):
            return entry
    return None


def _verdict(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return ""
    said = {"better": "more than the error", "worse": "more than the error", "tie": "which is a tie"}
    return f": a difference of {_points(entry)} points, {said.get(entry['verdict'], 'from too few answers to tell')}"


def _points(entry: Mapping[str, Any]) -> str:
    return points({"points": entry["difference_points"], "error": entry["standard_error_points"]})


def differences(record: Mapping[str, Any]) -> str:
    """Paired differences as a table, or why there is none."""
    if not record["comparisons"]:
        return "This run has no paired differences: it is one draw of the examples."
    lines = ["| method | minus | difference, points | verdict |", "|---|---|---|---|"]
    for entry in record["comparisons"]:
        other = {"method": entry["against_method"], "placement": entry["against_placement"]}
        one, two = (OUTCOMES[entry[name]] for name in ("outcome", "against_outcome"))
        lines.append(f"| {title(entry)}, {one} | {title(other)}, {two} | {_points(entry)} | {entry['verdict']} |")
    return "\n".join(lines)


def made(record: Mapping[str, Any]) -> str:
    """Command, machine and digest."""
    runs = f"{record['runs']} run{'' if record['runs'] == 1 else 's'}"
    text = (
        f"Made by `{record['command']}`: {runs} of {record['shots']} examples each, {record['test_examples']:,} test "
        f"examples a run. Accuracies are means"
    )
    known = any(row["accuracy"]["chip"]["standard_error"] is not None for row in record["rows"])
    text += ", ± one standard error." if known else "."
    environment = record["environment"]
    if environment:
        text += f" Processor: {environment['processor']}, {environment['processes']} processes, "
        text += f"{environment['wall_seconds']:.0f} s. Commit {environment['commit'] or 'unknown'}."
    if record["results_digest"]:
        text += f" Digest of the results: `{record['results_digest']}`."
    return text + " All figures are simulated. The record is [main_job.json](RESULTS/main_job.json)."


def once(record: Mapping[str, Any]) -> str:
    """What is paid once, and when it is paid back."""
    programming = record["programming"]
    text = (
        f"Programming {number(programming['cells'])} cells once takes {joules(programming['energy_joules'])} and "
        f"{programming['time_seconds']:.2g} s"
    )
    if record["pool_joules"] is not None:
        text += f"; the pool's share is {joules(record['pool_joules'])}"
    paid = []
    for entry in (record["break_even"] or {"versus": []})["versus"]:
        row = f"{name(entry)} {where(entry)}"
        if entry["steps"] is not None:
            paid.append(f"{entry['steps']:,} optimiser steps of {row}")
        elif entry["tasks"] is not None:
            paid.append(f"{entry['tasks']:,} tasks of {row}")
    return text + (f". The pool has cost less than the writes of {' or of '.join(paid)}." if paid else ".")


def name(row: Mapping[str, Any]) -> str:
    """A method in print."""
    return method_title(row["method"])


def where(row: Mapping[str, Any]) -> str:
    """Where a row's numbers live, in words."""
    return {"NVM_TASK": "written into cells once a task", "NVM_STEP": "rewritten in cells every step"}.get(
        row["placement"], "held digitally"
    )


def title(row: Mapping[str, Any]) -> str:
    """Method and place as one text; methods that have one place only are named without it."""
    alone = row["method"] not in METHODS or len(METHODS[row["method"]].placements) == 1
    return name(row) if alone else f"{name(row)}, {where(row)}"


def number(value: float | None) -> str:
    """A count: with commas, from a million on in millions."""
    if value is None:
        return "unknown"
    return f"{value / 1e6:.1f} M" if value >= 1e6 else f"{round(value):,}"


def accuracy(found: Mapping[str, float | None]) -> str:
    """An accuracy in % with its standard error."""
    if found["mean"] is None:
        return "–"
    error = f" ± {100 * found['standard_error']:.1f}" if found["standard_error"] is not None else ""
    return f"{100 * found['mean']:.1f}{error} %"


def points(found: Mapping[str, float | None] | None) -> str:
    """A difference in points with its standard error."""
    if found is None or found["points"] is None:
        return "–"
    return signed(found["points"]) + (f" ± {found['error']:.1f}" if found["error"] is not None else "")


def joules(value: float | None) -> str:
    """An energy with three digits and a prefix."""
    if value is None:
        return "unknown"
    for scale, unit in ((1.0, "J"), (1e3, "mJ"), (1e6, "µJ"), (1e9, "nJ"), (1e12, "pJ")):
        if value * scale >= 0.9995:
            return f"{float(f'{value * scale:.3g}'):g} {unit}"
    return "0"


def filled(text: str, record: Mapping[str, Any], results: str = "benchmarks/results") -> str:
    """A document with its regions filled. `results`: the folder of the records as seen from the document.

    Raises ValueError for a region that is not known, or not closed.
    """
    texts = {key: value.replace("RESULTS/", f"{results}/") for key, value in regions(record).items()}
    begun, ended = (re.findall(rf"<!-- {word}: ([\w-]+) -->", text) for word in ("begin", "end"))
    if begun != ended or set(begun) - texts.keys():
        raise ValueError(f"regions begin as {begun} and end as {ended}; known: {sorted(texts)}")
    for key in begun:
        region = re.compile(rf"(<!-- begin: {key} -->\n).*?(<!-- end: {key} -->)", re.DOTALL)
        text = region.sub(lambda found, key=key: f"{found[1]}{texts[key]}\n{found[2]}", text)
    return text


def fill_documents(record: Mapping[str, Any]) -> None:
    """Fill the regions of every document."""
    for document in DOCUMENTS:
        path = ROOT / document
        results = "../benchmarks/results" if "/" in document else "benchmarks/results"
        path.write_text(filled(path.read_text(encoding="utf-8"), record, results), encoding="utf-8")


def drifting(report: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a report about drift: the row of the subject, and what made it."""
    kept = short(report)
    row = next(row for row in kept["rows"] if (row["method"], row["placement"]) == _subject(kept))
    about = {key: kept[key] for key in ("command", "created", "environment", "results_digest", "runs", "test_examples")}
    return {"device": report["device"]["name"], **about, **row}


def take_picture(page: Path) -> bool:
    """The first screen of a report as docs/report.png; False without a browser."""
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        return False
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars"]
    size = ["--window-size=1000,800", "--force-device-scale-factor=1.5", f"--screenshot={PICTURE}"]
    done = subprocess.run([browser, *options, *size, page.resolve().as_uri()], capture_output=True, check=False)
    return done.returncode == 0


def main() -> None:
    """Keep the record of a report if one is given, and fill the documents."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", nargs="?", type=Path, help="a report folder; without it the present record is used")
    parser.add_argument("--drift", type=Path, help="a report folder of a chip that loses more by drift")
    arguments = parser.parse_args()
    given, before = arguments.report, json.loads(RESULT.read_text(encoding="utf-8"))
    drift = before.get("drift") if arguments.drift is None else drifting(load_report(arguments.drift).data)
    if given is not None or arguments.drift is not None:
        record = (before if given is None else short(load_report(given).data)) | {"drift": drift}
        RESULT.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if given is not None:
        page = (given if given.is_dir() else given.parent) / "report.html"
        if not take_picture(page):
            print("no picture was taken: there is no Chromium, or it failed")
    fill_documents(json.loads(RESULT.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
