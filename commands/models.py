"""`edge-adapt models`: the models that come by name, and whether they are here."""

import argparse
from typing import Any

from .listing import add_list, print_list


def add_parser(subparsers: Any) -> None:
    """Add `models list`."""
    parser = subparsers.add_parser(
        "models",
        help="list the models that come by name",
        description="The models that --model takes by name. A Hugging Face folder or a hub id does as well.",
        examples=["edge-adapt models list", "edge-adapt models list --json"],
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    add_list(actions, "name, kind, size, licence, package, and whether it is fetched", run,
             ["edge-adapt models list", "edge-adapt models list --json"])  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Print the list."""
    return print_list("models", shipped_models(), args.json, "edge-adapt fetch PACKAGE brings one into the cache.")


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
