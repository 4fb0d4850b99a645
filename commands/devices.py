"""`edge-adapt devices`: the shipped and your own cells, peripheries and chips, every number with its source."""

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import UsageError, require
from ..inputs import json_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_STATUS_STYLE = {
    "read": "green",
    "secondary": "cyan",
    "derived": "blue",
    "unverified": "yellow",
    "override": "bold magenta",
    "default": "dim",
    "unknown": "red",
    "inapplicable": "dim",
}
_CHANGE_STYLE = {"changed": "yellow", "added": "green", "removed": "red"}
_UNBROKEN = ("key", "name", "status", "ratio", "change")
_WIDEST = {"value": 32}
_NOTE_WIDTH = 110  # narrower terminals get the tables without the notes


def add_parser(subparsers: Any) -> None:
    """Add `devices list`, `show`, `diff`, `copy` and `validate`."""
    text = "list, show, compare and check chips, cells and peripheries"
    parser = subparsers.add_parser(
        "devices",
        help=text,
        description=f"{text.capitalize()}, every number with its source.",
        examples=["edge-adapt devices list", "edge-adapt devices show reram"],
    )
    actions = parser.add_subparsers(title="commands", dest="action", metavar="COMMAND")

    def action(name: str, text: str, *examples: str) -> Any:
        return actions.add_parser(name, help=text, description=f"{text.capitalize()}.", examples=examples)

    listing = action(
        "list", "the shipped chips, cells and peripheries", "edge-adapt devices list", "edge-adapt devices list --json"
    )
    show = action(
        "show", "every number of a device with unit, source and status", "edge-adapt devices show reram",
        "edge-adapt devices show reram --set adc.bits=6 --json",
    )  # fmt: skip
    show.add_argument("name", metavar="NAME|FILE", help="a chip, cell or periphery, or the path of a YAML file")
    show.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], dest="settings",
        help="change one number of a chip, e.g. cell.g_max='50 uS'; repeatable")  # fmt: skip
    comparison = action("diff", "what differs between two devices of one kind", "edge-adapt devices diff reram pcm")
    comparison.add_argument("first", metavar="A", help="name or path")
    comparison.add_argument("second", metavar="B", help="name or path")
    copy = action(
        "copy", "a shipped file as the beginning of one of your own", "edge-adapt devices copy reram my-cell.yaml",
        "edge-adapt devices copy reram my-chip.yaml --kind chip",
    )  # fmt: skip
    copy.add_argument("name", metavar="NAME", help="a shipped cell, periphery or chip")
    copy.add_argument("file", metavar="FILE", help="where to: the device is named after it (my-cell.yaml: my-cell)")
    copy.add_argument("--kind", choices=("cell", "periphery", "chip"),
        help="which file, where several have the name [the first of cell, periphery, chip]")  # fmt: skip
    check = action("validate", "check a device file of your own", "edge-adapt devices validate my-chip.yaml")
    check.add_argument("file", metavar="FILE", help="path of a YAML file")
    for each in (listing, show, comparison, copy, check):
        each.add_argument("--json", action="store_true", help="print one JSON object")
        each.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run one of the actions; returns the exit code. Raises `UsageError` for a wrong name, file or setting."""
    if not args.json:
        require("rich")
    actions = {"list": _list, "show": _show, "diff": _diff, "copy": _copy, "validate": _validate}
    return actions[args.action](args)


def _print_json(data: Any) -> int:
    print(json_text(data, indent=2))
    return 0


def _console() -> "Console":
    from ..reports.console import console as terminal

    return terminal()


def _table(title: str, columns: tuple[str, ...], right: tuple[str, ...] = ()) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in right else "left"
        table.add_column(
            column, justify=justify, overflow="fold", no_wrap=column in _UNBROKEN, max_width=_WIDEST.get(column)
        )
    return table


def _settings(pairs: list[str]) -> dict[str, str]:
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise UsageError(f"--set {pair!r} must be KEY=VALUE, such as cell.g_max='50 uS'")
        settings[key.strip()] = value.strip()
    return settings


def _list(args: argparse.Namespace) -> int:
    from .. import devices
    from ..reports.fitting import print_table

    found = {
        kind: [devices.describe(devices.find_any(path)) for path in devices.preset_paths(kind)]
        for kind in ("chip", "cell", "periphery")
    }
    if args.json:
        heads = {
            kind: [{key: value for key, value in item.items() if key not in ("values", "references")} for item in items]
            for kind, items in found.items()
        }
        return _print_json({"chips": heads["chip"], "cells": heads["cell"], "peripheries": heads["periphery"]})
    console = _console()
    chips = _table("Chips", ("name", "cell", "periphery", "array", "title"))
    for item in found["chip"]:
        text = _texts(item)
        array = f"{text['array.rows']}×{text['array.columns']}"
        chips.add_row(f"[bold]{item['name']}[/]", item["cell"], item["periphery"], array, item["title"])
    cells = _table(
        "Cells", ("name", "window", "levels", "SET pulse", "endurance", "title"), right=("levels", "endurance")
    )
    for item in found["cell"]:
        text = _texts(item)
        window = f"{text['cell.conductance.g_min']} – {text['cell.conductance.g_max']}"
        numbers = [text[f"cell.{key}"] for key in ("conductance.levels", "programming.set_pulse", "endurance.writes")]
        cells.add_row(f"[bold]{item['name']}[/]", window, *numbers, item["title"])
    peripheries = _table(
        "Peripheries", ("name", "node", "ADC", "ADC energy", "ADCs/array", "title"), right=("ADCs/array",)
    )
    for item in found["periphery"]:
        text = _texts(item)
        bits = f"{text['periphery.adc.bits']} bit"
        peripheries.add_row(
            f"[bold]{item['name']}[/]", text["periphery.technology.node"], bits,
            text["periphery.adc.energy"], text["periphery.adc.per_array"], item["title"],
        )  # fmt: skip
    for table in (chips, cells, peripheries):
        print_table(console, table, listing=True)
    if console.is_terminal:
        console.print("[dim]edge-adapt devices show NAME prints every number with its source.[/]")
    return 0


def _texts(described: dict[str, Any]) -> dict[str, str]:
    return {row["key"]: row["text"] for row in described["values"]}


def _show(args: argparse.Namespace) -> int:
    from .. import devices
    from ..reports.fitting import print_table

    described = devices.describe(devices.find_any(args.name), _settings(args.settings))
    if args.json:
        return _print_json(described)
    from rich.markup import escape

    console = _console()
    kind = described["kind"]
    if kind == "chip":
        kind = f"chip = cell {described['cell']} + periphery {described['periphery']}"
    console.print(f"[bold]{escape(described['name'])}[/] ({escape(kind)})  {escape(described['title'])}")
    console.print(f"[dim]{escape(described['description'])}[/]\n")
    with_notes = console.width >= _NOTE_WIDTH or not console.is_terminal
    for part in ("cell", "array", "periphery"):
        rows = [row for row in described["values"] if row["key"].split(".")[0] == part]
        if rows:
            print_table(console, _values_table(part, rows, with_notes, not console.is_terminal), listing=True)
    references = _table("References", ("key", "citation", "doi"))
    for item in described["references"]:
        references.add_row(escape(item["key"]), escape(item["citation"]), escape(item["doi"] or ""))
    print_table(console, references, listing=True)
    counts = {status: sum(row["status"] == status for row in described["values"]) for status in _STATUS_STYLE}
    console.print(_status_line(counts))
    if not with_notes:
        console.print(f"[dim]A terminal of {_NOTE_WIDTH} columns or more, or --json, also shows the notes.[/]")
    return 0


def _status_line(counts: dict[str, int]) -> str:
    shown = ((status, count) for status, count in counts.items() if count)
    return "  ".join(f"[{_STATUS_STYLE[status]}]{status} {count}[/]" for status, count in shown)


def _values_table(part: str, rows: list[dict[str, Any]], with_notes: bool, as_lines: bool) -> "Table":
    from rich.markup import escape

    table = _table(part.capitalize(), ("key", "value", "status", "source", *(("note",) if with_notes else ())))
    section, above = rows[0]["key"].split(".")[1], ""
    for row in rows:
        key = row["key"].removeprefix(f"{part}.")
        if key.split(".")[0] != section and part != "array":
            section = key.split(".")[0]
            table.add_section()
        style = _STATUS_STYLE[row["status"]]
        value = "–" if row["value"] is None else escape(row["text"])
        text = row["note"] or row["meaning"]
        if between := row["range"]:
            text += f"; sources: {between['low_text']} to {between['high_text']} ({between['note']})"
        note = [f"[dim]{'″' if text == above and not as_lines else escape(text)}[/]"] if with_notes else []
        above = text
        status, source = f"[{style}]{row['status']}[/]", escape(row["source"] or "")
        table.add_row(escape(key), f"[bold]{value}[/]", status, source, *note)
    return table


def _diff(args: argparse.Namespace) -> int:
    from .. import devices
    from ..reports.fitting import print_table

    one, other = devices.find_any(args.first), devices.find_any(args.second)
    # A name may be that of a chip and of its cell: what it is compared with decides.
    one, other = devices.find_any(args.first, other.kind), devices.find_any(args.second, one.kind)
    first, second = devices.describe(one), devices.describe(other)
    differences = devices.diff(first, second)
    if args.json:
        records = [dataclasses.asdict(item) for item in differences]
        return _print_json({"first": first["name"], "second": second["name"], "differences": records})
    from rich.markup import escape

    console = _console()
    if not differences:
        console.print("no number differs")
        return 0
    table = _table("", ("key", first["name"], second["name"], "ratio", "change"), right=("ratio",))
    for item in differences:
        style = _CHANGE_STYLE[item.change]
        before = "–" if item.before is None else escape(item.before_text)
        after = "–" if item.after is None else escape(item.after_text)
        ratio = _ratio(item.before, item.after)
        table.add_row(escape(item.key), before, after, ratio, f"[{style}]{item.change}[/]")
    print_table(console, table, listing=True)
    console.print("1 number differs" if len(differences) == 1 else f"{len(differences)} numbers differ")
    return 0


def _ratio(before: Any, after: Any) -> str:
    numbers = all(isinstance(value, int | float) for value in (before, after))
    return f"× {after / before:.3g}" if numbers and before and after else ""


def _copy(args: argparse.Namespace) -> int:
    from .. import devices
    from ..devices.presets import find
    from ..folders import write_whole

    target = Path(args.file)
    if target.suffix not in (".yaml", ".yml"):
        raise UsageError(f"{args.file!r} must be the path of a YAML file, such as my-cell.yaml")
    if target.exists():
        raise UsageError(f"{target} is there already; it was left as it is")
    kinds = ("cell", "periphery", "chip") if args.kind is None else (args.kind,)
    kind = next((kind for kind in kinds if args.name in devices.list_presets(kind)), kinds[0])
    source = find(kind, args.name)
    lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
    renamed = [f"name: {target.stem}\n" if line.startswith("name:") else line for line in lines]
    try:
        write_whole(target, "".join(renamed))
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}") from None
    if args.json:
        return _print_json({"kind": kind, "from": args.name, "file": str(target)})
    _console().print(f"{target}: the {kind} {args.name}, renamed; edit it, then edge-adapt devices validate {target}")
    return 0


def _validate(args: argparse.Namespace) -> int:
    from .. import devices

    result = devices.validate(args.file)
    if args.json:
        return _print_json(result)
    from rich.markup import escape

    console = _console()
    console.print(
        f"[green]valid[/] {result['kind']} [bold]{escape(result['name'])}[/]: {result['numbers']} numbers of its own"
    )
    console.print(_status_line(result["by_status"]))
    for key in result["unused_references"]:
        console.print(f"[yellow]note:[/] reference {escape(key)} is not used by any number")
    return 0
