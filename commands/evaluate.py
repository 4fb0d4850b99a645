"""`edge-adapt evaluate`: how many labels of a file a bundle gets right."""

import argparse
from pathlib import Path
from typing import Any

from ..display import shown
from ..inputs import json_text
from .on_device import add_bundle, add_data_options, open_bundle, read_labelled, reading_of, say_if_untrained


def add_parser(subparsers: Any) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "evaluate",
        help="accuracy of a bundle on labelled texts, on the device",
        description="Accuracy and mean loss of a bundle's current state on a JSONL or CSV file with text and label.",
        examples=[
            "edge-adapt evaluate bundle test.csv",
        ],
    )
    add_bundle(parser)
    parser.add_argument("data", metavar="FILE", type=Path, help=".jsonl or .csv with text and label; folder of images")
    add_data_options(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate and print."""
    reading = reading_of(args)
    with open_bundle(args.bundle, args.threads) as session:
        examples = read_labelled(session, args.data, reading)
        say_if_untrained(session)
        found = session.evaluate([e.text for e in examples], [e.label for e in examples])
    if args.json:
        by_label = {name: {"examples": n, "right": right} for name, (n, right) in found.by_label.items()}
        data = {"examples": found.examples, "accuracy": found.accuracy, "loss": found.loss, "by_label": by_label}
        print(json_text(data))
        return 0
    print(f"accuracy {100 * found.accuracy:.1f} % of {found.examples}, mean loss {found.loss:.4f}")
    for name, (count, right) in found.by_label.items():
        print(f"  {shown(name)}: {right} of {count}")
    return 0
