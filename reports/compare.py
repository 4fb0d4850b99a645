"""The comparison of methods and devices: `compare.json`, and one self-contained `compare.html` with figures.

Takes the object of schema `edge-adapt/compare/1` (docs/compare-schema.md) without its findings, and computes nothing
physical: means, spreads, words.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import ReportPaths, to_json
from .compare_findings import compare_findings
from .compare_store import check_folder, write_files
from .records import CompareReport, from_plain
from .records.compare import Compared

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["check_folder", "print_comparison", "with_findings", "write_comparison"]


def with_findings(comparison: Mapping[str, Any]) -> dict[str, Any]:
    """The comparison with its `findings`: objects with `topic` and `text`, most important first."""
    found = compare_findings(from_plain(Compared, comparison))
    return {**comparison, "findings": [dataclasses.asdict(finding) for finding in found]}


def write_comparison(comparison: Mapping[str, Any], out: Path) -> ReportPaths:
    """Write figures, `compare.html` and, last, `compare.json` of a comparison with findings into `out`.

    Same comparison, same bytes. `out/cells` is left alone.

    Raises:
        UsageError: `out` holds things that are not of a comparison (`check_folder` says so before a long run).
        EdgeAdaptError: matplotlib or jinja2 is missing, no space left, no permission.
    """
    from ..errors import require

    check_folder(out)
    for module in ("matplotlib", "jinja2"):
        require(module)
    from .compare_page import draw_all, render

    typed = from_plain(CompareReport, comparison)
    drawings = draw_all(typed)
    files = {f"figures/{name}.svg": drawing.svg for name, drawing in drawings.items()}
    figures = tuple(out / name for name in files)
    files |= {"compare.html": render(typed, drawings), "compare.json": to_json(comparison)}
    write_files(out, files)
    return ReportPaths(out, out / "compare.json", out / "compare.html", figures)


def print_comparison(comparison: Mapping[str, Any], console: "Console", paths: ReportPaths) -> None:
    """Print what was compared, what follows, what failed, and where the page is."""
    from rich.table import Table
    from rich.text import Text

    from .compare_page import facts
    from .values import JOIN

    typed = from_plain(CompareReport, comparison)
    for lines, gap in ((facts(typed), 2), ([(f.topic, f.text) for f in typed.findings], 2)):
        grid = Table.grid(padding=(0, gap))
        grid.add_column(style="bold", max_width=24)
        grid.add_column(overflow="fold")
        for subject, line in lines:
            grid.add_row(subject.lower(), Text(line.replace(JOIN, " "), style="red" if subject == "failed" else ""))
        console.print(grid)
        console.print()
    console.print(Text.assemble(("comparison: ", "bold"), str(paths.html)), soft_wrap=True)
