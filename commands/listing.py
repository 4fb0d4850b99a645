"""What the lists of models and tasks share."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from ..inputs import json_text


def add_list(
    actions: Any, text: str, run: Callable[[argparse.Namespace], int], examples: Sequence[str]
) -> None:  # fmt: skip
    """Add the action `list`."""
    listing = actions.add_parser("list", help=text, description=f"{text[0].upper()}{text[1:]}.", examples=examples)
    listing.add_argument("--json", action="store_true", help="print one JSON object")
    listing.set_defaults(run=run)


def print_list(what: str, records: list[dict[str, Any]], as_json: bool, remark: str) -> int:
    """Print records of `models list` and `tasks list`."""
    if as_json:
        print(json_text({what: records}, indent=2))
        return 0
    from ..errors import require

    require("rich")
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from ..reports.console import console as terminal
    from ..reports.fitting import print_table

    console = terminal()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in ("name", "kind", "download", "fetched"):
        table.add_column(heading, justify="right" if heading == "download" else "left", no_wrap=True)
    for heading in ("package", "licence", "what"):
        table.add_column(heading, overflow="fold")
    for record in records:
        size = record["download_bytes"]
        download = "" if size is None else f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size / 1e6:.1f} MB"
        fetched = "yes" if record["fetched"] else "no"
        texts = (escape(record[key]) for key in ("package", "licence", "what"))
        table.add_row(f"[bold]{record['name']}[/]", record["kind"], download, fetched, *texts)
    print_table(console, table, listing=True)
    if console.is_terminal:
        console.print(f"[dim]{remark}[/]")
    return 0
