"""`edge-adapt predict`: the label of each line of a file or of standard input."""

import argparse
import sys
from pathlib import Path
from typing import Any

from ..display import shown
from ..inputs import json_text
from .on_device import add_bundle, add_data_options, open_bundle, reading_of, say_if_untrained


def add_parser(subparsers: Any) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "predict",
        help="label texts with a bundle, on the device",
        description="Print label and probability of each line of standard input, or of a file: plain lines, "
        "or .jsonl/.csv with text. A bundle about images takes names of image files.",
        examples=[
            "edge-adapt predict bundle new.txt",
            "edge-adapt predict bundle new.csv --json",
        ],
    )
    add_bundle(parser)
    parser.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        type=Path,
        help="texts to label, an image, or a folder of some [standard input]",
    )
    add_data_options(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON object with all probabilities")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Predict and print, one line per text."""
    from ..runtime.examples import read_examples, read_lines
    from ..runtime.pictures import read_pictures

    reading = reading_of(args)
    with open_bundle(args.bundle, args.threads) as session:
        if args.file is not None and session.manifest.images is not None:
            examples = read_pictures(args.file, reading.on_error, labelled=False)
        elif args.file is not None:
            examples = read_examples(args.file, reading, labelled=False)
        else:
            if sys.stdin.isatty():
                print("edge-adapt: type texts, one a line; Ctrl-D ends", file=sys.stderr)
            examples = read_lines(sys.stdin.buffer.read(), "standard input", reading)
        say_if_untrained(session)
        predictions = session.predict([example.text for example in examples])
        if args.json:
            rows = [
                {"line": e.line, "label": p.label, "probability": p.probability, "probabilities": p.probabilities}
                for e, p in zip(examples, predictions, strict=True)
            ]
            print(json_text({"state": session.snapshot.header.counter, "predictions": rows}))
        else:
            for prediction in predictions:
                print(f"{shown(prediction.label)}\t{prediction.probability:.4f}")
    return 0
