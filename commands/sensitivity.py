"""`edge-adapt sensitivity`: which constants would turn a report's rankings of energies round, and at which value."""

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..inputs import json_text

if TYPE_CHECKING:
    from rich.console import Console

    from ..reports.sensitivity import Ranking, Sensitivity


def add_parser(subparsers: Any) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "sensitivity",
        help="say which constants would turn a ranking of energies round",
        description="For two methods of a report: which constant of the chip would make the dearer one the cheaper, at "
        "which value, and whether sources differ that much. Each constant is changed alone. Nothing is run again.",
        examples=[
            "edge-adapt sensitivity edge-adapt-report",
            "edge-adapt sensitivity edge-adapt-report --method lorafusion lora:NVM_TASK --figure tornado.svg",
        ],
    )
    add = parser.add_argument
    add("report", metavar="REPORT", type=Path, help="report.json, its folder, or a file of a comparison's cells")
    add(
        "--method", metavar="NAME[:PLACEMENT]", nargs="+", action="extend", default=[],
        help="the first against each of the others [every pair that adapts]",
    )  # fmt: skip
    add("--shots", metavar="N", type=int, help="of the runs with so many shots [the most]")
    add("--figure", metavar="FILE", type=Path, help="write a figure of the first ranking to an SVG file")
    add("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what the rankings rest on."""
    from ..errors import UsageError, require
    from ..reports.records import SimulateReport
    from ..reports.sensitivity import sensitivity
    from .explain import read_explainable

    if not args.json:
        require("rich")
    report = read_explainable(args.report)
    if not isinstance(report, SimulateReport):
        raise UsageError("a count has no runs to rank; give the report of a simulation")
    if args.figure is not None and args.figure.suffix != ".svg":
        raise UsageError(f"--figure writes SVG; got {str(args.figure)!r}")
    found = sensitivity(report, args.method, args.shots)
    if args.figure is not None:
        _draw(found, args.figure)
    if args.json:
        print(json_text(dataclasses.asdict(found), indent=1))
    else:
        from ..reports.console import console as terminal

        _print(found, terminal())
    return 0


def _draw(found: "Sensitivity", path: Path) -> None:
    from ..errors import UsageError, require
    from ..reports.figure_sensitivity import tornado

    require("matplotlib")
    drawing = tornado(found.rankings[0])
    if drawing is None:
        raise UsageError("no constant of this chip has a range, so there is nothing to draw")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {str(path.absolute().parent)!r} for --figure")
    path.write_text(drawing.svg, encoding="utf-8")


def _print(found: "Sensitivity", console: "Console") -> None:
    from ..reports.values import si

    for ranking in found.rankings:
        _print_ranking(ranking, found.arrays, console)
    for share in found.write_shares:
        levels = " and ".join(f"{part:.0%} at {si(at, 'J')}" for part, at in share.at.items())
        console.print(
            f"{share.title}: a written cell takes {si(share.joules_per_cell, 'J')} with its verifies, writing is "
            f"{share.share:.2%} of an adaptation's energy. It would be {levels}.", markup=False,
        )  # fmt: skip


def _print_ranking(ranking: "Ranking", arrays: int, console: "Console") -> None:
    from rich import box
    from rich.table import Table

    from ..reports.fitting import print_table
    from ..reports.sensitivity_words import answers_text, between_text, in_words, ratio_text, value_text, verdict

    console.print(verdict(ranking, arrays), style="bold", markup=False)
    if text := answers_text(ranking):
        console.print(text, markup=False)
    if not ranking.turns:
        console.print()
        return
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1))
    for header in ("constant", "now", "turns at", "sources", "energies, first over second"):
        table.add_column(header, overflow="fold")
    for turn in ranking.turns:
        table.add_row(
            in_words(turn), value_text(turn.now, turn.unit), value_text(turn.at, turn.unit) if turn.at else "never",
            between_text(turn), ratio_text(turn),
        )  # fmt: skip
    print_table(console, table)
    console.print()
