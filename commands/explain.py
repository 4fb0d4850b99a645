"""`edge-adapt explain`: the multiplication behind any total of a report, with the source of every number."""

import argparse
import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..inputs import json_text

if TYPE_CHECKING:
    from rich.console import Console

    from ..reports.explain import Explainable, Explanation

_DIGITS = 6


def add_parser(subparsers: Any) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "explain",
        help="print the multiplication behind a total of a report",
        description="How many events, what each costs, and where that number comes from: the lines add up to the total "
        "of the report. Nothing is run again. Without TOTAL, the totals that can be explained.",
        examples=[
            "edge-adapt explain edge-adapt-report",
            "edge-adapt explain edge-adapt-report adaptation_energy_joules --method lorafusion",
        ],
    )
    add = parser.add_argument
    add(
        "report",
        metavar="REPORT",
        type=Path,
        help="report.json, its folder, or a file of a comparison's cells",
    )
    add("total", metavar="TOTAL", nargs="?", help="for example adaptation_energy_joules, programming_time_seconds")
    add("--method", metavar="NAME[:PLACEMENT]", help="whose total; needed where the report has several")
    add("--shots", metavar="N", type=int, help="of the run with so many shots [the first]")
    add("--seed", metavar="N", type=int, help="of the run with this seed [the first]")
    add("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the explanation of a total, or the totals."""
    from ..errors import require
    from ..reports.explain import available, choose_record, explain, needs_record

    if not args.json:
        require("rich")
    report = read_explainable(args.report)
    if args.total is None:
        several = len({(r.method, r.placement) for r in report.results}) > 1
        record = None if args.method is None and several else choose_record(report, args.method, args.shots, args.seed)
        _print_totals(available(report, record), report, record is None, args.json)
        return 0
    record = choose_record(report, args.method, args.shots, args.seed) if needs_record(args.total) else None
    explanation = explain(report, args.total, record)
    if args.json:
        print(json_text(dataclasses.asdict(explanation), indent=1))
    else:
        from ..reports.console import console as terminal

        _print(explanation, terminal())
    return 0


def read_explainable(path: Path) -> "Explainable":
    """The report in a file or folder. Raises UsageError where there is none that can be explained."""
    from ..errors import UsageError
    from ..reports.reading import read_report
    from ..reports.records import COMPARE_SCHEMA, typed

    report = read_report(path)
    if report["schema"] == COMPARE_SCHEMA:
        folder = path if path.is_dir() else path.parent
        kept = sorted(map(str, (folder / "cells").glob("*.json")))
        some = f": {', '.join(kept[:3])}{' …' if len(kept) > 3 else ''}" if kept else f" in {str(folder / 'cells')!r}"
        raise UsageError(f"a comparison has no prices of its own; give one of its simulations{some}")
    explainable: Explainable = typed(report)
    return explainable


def _print_totals(
    totals: dict[str, tuple[float, str]], report: "Explainable", records_left: bool, as_json: bool
) -> None:
    from ..reports.explain import TOTALS

    names = list(dict.fromkeys(f"{r.method}:{r.placement}" for r in report.results))
    if as_json:
        print(json_text({"totals": {name: value for name, (value, _) in totals.items()}, "methods": names}, indent=1))
        return
    from rich.table import Table

    from ..reports.console import console as terminal
    from ..reports.values import si

    console = terminal()
    grid = Table.grid(padding=(0, 2))
    for name, (value, unit) in totals.items():
        grid.add_row(name, f"{value:.4g} m²" if unit == "m²" else si(value, unit, 4))
    console.print(grid)
    if records_left:
        more = [name for name, total in TOTALS.items() if total.place == "record"]
        console.print(f"With --method NAME[:PLACEMENT] also: {', '.join(more)}.")
    console.print(f"Methods of the report: {', '.join(names)}.", markup=False)


def _print(explanation: "Explanation", console: "Console") -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from ..reports.fitting import print_table
    from ..reports.rows import component_title

    console.print(f"[bold]{explanation.name}[/] of {escape(explanation.subject)}\n")
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1), show_footer=True)
    table.add_column("component", "total", no_wrap=True)
    table.add_column("events", overflow="fold")
    table.add_column("number", justify="right", no_wrap=True)
    table.add_column("× each", justify="right", no_wrap=True)
    table.add_column("=", _amount(explanation.total, explanation.unit), justify="right", no_wrap=True)
    # Of what there is before anything is taken off again: of a time, as if nothing overlapped.
    whole = math.fsum(line.total for line in explanation.lines if line.total > 0)
    percent = lambda part: f"{100 * part / whole:.1f}" if whole else ""
    table.add_column("%", percent(explanation.total).replace("100.0", "100"), justify="right", no_wrap=True)
    above = ""
    for line in explanation.lines:
        name = escape(component_title(line.component))
        each = "unknown: 0" if line.each is None else escape(_amount(line.each, line.unit))
        share = percent(line.total)
        product = _amount(line.total, explanation.unit)
        table.add_row(name if name != above else "", escape(line.event), _number(line.events), each, product, share)
        above = name
    print_table(console, table)
    console.print("\n[bold]What one costs[/]")
    behind = Table.grid(padding=(0, 1))
    for what, cost in _behind(explanation).items():
        behind.add_row(escape(what), escape(cost))
    console.print(behind)
    if explanation.references:
        console.print("\n[bold]Sources[/]")
        sources = Table.grid(padding=(0, 1))
        for reference in explanation.references:
            sources.add_row(escape(reference.key), escape(reference.citation))
        console.print(sources)


def _behind(explanation: "Explanation") -> dict[str, str]:
    """What one event costs, in words: the formula and the numbers of the chip file with status and source."""
    from ..reports.rows import component_title

    found: dict[str, dict[str, str]] = {}
    for line in explanation.lines:
        numbers = [
            f"{number.key} {number.text} ({', '.join(filter(None, (number.status, number.source)))})"
            for number in line.numbers
        ]
        cost = f"{line.formula}: {'; '.join(numbers)}"
        found.setdefault(component_title(line.component), {}).setdefault(cost, line.event)
    return {
        name if len(costs) == 1 else f"{name}: {event}": cost
        for name, costs in found.items()
        for cost, event in costs.items()
    }


def _number(value: float) -> str:
    if value >= 1e9:
        return f"{value:.8e}"
    return f"{value:,.0f}" if value == round(value) or value > 10**_DIGITS else f"{value:,.{_DIGITS}g}"


def _amount(value: float, unit: str) -> str:
    from ..reports.values import si

    return f"{value:.{_DIGITS}g} {unit}" if unit == "m²" else si(value, unit, _DIGITS)
