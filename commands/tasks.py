"""`edge-adapt tasks`: the tasks that come by name, and whether they are here."""

import argparse
from pathlib import Path
from typing import Any

from .listing import add_list, print_list


def add_parser(subparsers: Any) -> None:
    """Add `tasks list`."""
    parser = subparsers.add_parser(
        "tasks",
        help="list the tasks that come by name",
        description="The tasks that --task takes by name. Your own CSV, JSONL or CoNLL file, or a folder of images, "
        "does as well.",
        examples=["edge-adapt tasks list", "edge-adapt tasks list --json"],
    )
    actions = parser.add_subparsers(title="commands", dest="action", metavar="COMMAND")
    add_list(actions, "name, kind, size, licence, package, and whether it is fetched", run,
             ["edge-adapt tasks list", "edge-adapt tasks list --json"])  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Print the list."""
    return print_list(
        "tasks", shipped_tasks(), args.json, "edge-adapt fetch PACKAGE brings the examples into the cache."
    )


def shipped_tasks() -> list[dict[str, Any]]:
    """One record for each task. Those that a Debian package holds are fetched when it is installed."""
    from ..workloads.fetch import PACKAGES, is_cached
    from ..workloads.image_tasks import IMAGE_TASKS
    from ..workloads.pair_tasks import PAIR_TASKS
    from ..workloads.tagged_tasks import TAGGED_TASKS
    from ..workloads.tasks import TASKS

    found = []
    kinds: dict[str, dict[str, Any]] = {"text": {**TASKS}, "pair": {**PAIR_TASKS}, "tagged": {**TAGGED_TASKS}}
    for kind, tasks in (kinds | {"image": {**IMAGE_TASKS}}).items():
        for name, source in tasks.items():
            package = PACKAGES.get(source.package)
            found.append(
                {
                    "name": name,
                    "kind": kind,
                    "download_bytes": package.size_bytes if package else None,
                    "fetched": is_cached(source.package) if package else Path(source.folder).is_dir(),
                    "package": package.requirement if package else f"Debian: {source.debian}",
                    "licence": package.licence if package else source.licence,
                    "what": source.title,
                }
            )
    return found
