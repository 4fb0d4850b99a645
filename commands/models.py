"""`edge-adapt models`: the models that come by name, and the families that a model of one's own may be of."""

import argparse
from typing import TYPE_CHECKING, Any

from ..inputs import json_text
from .listing import add_list, print_list

if TYPE_CHECKING:
    from ..workloads.families import Family


def add_parser(subparsers: Any) -> None:
    """Add `models list` and `models families`."""
    parser = subparsers.add_parser(
        "models",
        help="list the models that come by name, and the families of models",
        description="The models that --model takes by name. A Hugging Face folder or a hub id does as well, of one of "
        "the families.",
        examples=["edge-adapt models list", "edge-adapt models families", "edge-adapt models list --json"],
    )
    actions = parser.add_subparsers(title="commands", dest="action", metavar="COMMAND")
    add_list(actions, "name, kind, size, licence, package, and whether it is fetched", run,
             ["edge-adapt models list", "edge-adapt models list --json"])  # fmt: skip
    text = "families of models: what each reads, its matrices by role, whether it can be exported, and what a head sees"
    families = actions.add_parser(
        "families", help=text, description=f"{text[0].upper()}{text[1:]}. `model_type` is what config.json says.",
        examples=["edge-adapt models families", "edge-adapt models families --json"],
    )  # fmt: skip
    families.add_argument("--json", action="store_true", help="print one JSON object")
    families.set_defaults(run=run_families)


def run(args: argparse.Namespace) -> int:
    """Print the list."""
    return print_list("models", shipped_models(), args.json, "edge-adapt fetch PACKAGE brings one into the cache.")


def run_families(args: argparse.Namespace) -> int:
    """Print the table of families."""
    records = known_families()
    if args.json:
        print(json_text({"families": records}, indent=2))
        return 0
    from ..errors import require

    require("rich")
    from rich import box
    from rich.table import Table

    from ..reports.console import console as terminal
    from ..reports.fitting import print_table

    console = terminal()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in ("model_type", "family", "reads", "runs", "bundles", "head sees", "roles of its matrices"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("model_type", "reads", "runs", "bundles"))
    for record in records:
        runs = "yes" if record["runs"] else "counted"
        roles = ", ".join(record["roles"])
        table.add_row(
            f"[bold]{record['model_type']}[/]",
            record["family"],
            record["reads"],
            runs,
            record["bundles"],
            record["head_sees"],
            roles,
        )
    print_table(console, table, listing=True)
    return 0


def known_families() -> list[dict[str, Any]]:
    """One record for each family."""
    from ..workloads.families import FAMILIES, POOLING_WORDS

    return [
        {
            "model_type": name,
            "family": entry.title,
            "reads": entry.reads,
            "runs": not entry.counted_only,
            "bundles": _bundles(entry),
            "attention": entry.mask,
            "head_sees": POOLING_WORDS[entry.pooling],
            "special_tokens": entry.special,
            "shares_blocks": bool(entry.shared),
            "blocks": list(entry.blocks),
            "linears": dict(entry.linears),
            "roles": list(dict.fromkeys(entry.linears.values())),
        }
        for name, entry in sorted(FAMILIES.items())
    ]


def _bundles(entry: "Family") -> str:
    """Whether models of a family can be exported: the battery holds bundles of a small one against torch."""
    return "no" if entry.counted_only or entry.no_bundle else "yes"


def shipped_models() -> list[dict[str, Any]]:
    """One record for each model."""
    from ..workloads.fetch import PACKAGES, is_cached
    from ..workloads.models import MODELS

    found = []
    for name, model in MODELS.items():
        package = PACKAGES[model.package]
        found.append(
            {
                "name": name,
                "kind": "text" if model.image_size is None else "image",
                "download_bytes": package.size_bytes,
                "fetched": is_cached(model.package),
                "package": package.requirement,
                "licence": model.licence,
                "what": package.what,
            }
        )
    return found
