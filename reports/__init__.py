"""Reports: terminal summary, `report.json`, and one self-contained `report.html` with figures.

Takes the object of schema `edge-adapt/simulate/2` (`records/`) and computes nothing physical: means, spreads, words.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .schema import ReportError, validate
from .store import ReportPaths, check_destination

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["ReportError", "ReportPaths", "check_destination", "print_summary", "to_json", "validate", "write_report"]


def to_json(report: Mapping[str, Any]) -> str:
    """The text of `report.json`: strict JSON, indented, a list of numbers on one line.

    Raises:
        ValueError: for NaN or infinity (which `validate` refuses with the path of the field).
    """
    import json
    import re

    text = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False)
    # Texts hold no raw line break, so a bracket followed by one opens a list.
    return re.sub(r"\[\n\s+([-+.\deE,\s]+?)\n\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"


def write_report(report: Mapping[str, Any], out: Path) -> ReportPaths:
    """Write `report.json`, `report.html`, `results.csv` and `figures/*.svg` as the folder `out`, whole or not at all.

    A former report is replaced at the end. Same report, same bytes.

    Raises:
        ReportError: the report does not follow the schema.
        UsageError: `out` may not be overwritten (`check_destination` says so before a long run).
        EdgeAdaptError: matplotlib or jinja2 is missing, no space left, no permission.
    """
    from ..errors import require
    from .store import write_folder

    validate(report)
    check_destination(out)
    for module in ("matplotlib", "jinja2"):
        require(module)
    from .figures import draw_all
    from .page import render
    from .records import SimulateReport, from_plain
    from .records_csv import records_csv

    typed = from_plain(SimulateReport, report)
    drawings = draw_all(typed)
    files = {
        "report.json": to_json(report),
        "report.html": render(typed, drawings),
        "results.csv": records_csv(typed),
    }
    names = [f"figures/{name}.svg" for name in drawings]
    files |= {name: drawing.svg for name, drawing in zip(names, drawings.values(), strict=True)}
    write_folder(out, files)
    return ReportPaths(out, out / "report.json", out / "report.html", tuple(out / name for name in names))


def print_summary(report: Mapping[str, Any], console: "Console", paths: ReportPaths | None = None) -> None:
    """Print the summary of a valid report on a `rich` console, and where the report is when `paths` is given."""
    from .records import SimulateReport, from_plain
    from .terminal import print_summary as show

    show(from_plain(SimulateReport, report), console, paths)
