"""`edge-adapt predict`: the label of each line of a file or of standard input."""

import argparse
import sys
from pathlib import Path
from typing import Any

from ..display import shown
from ..inputs import json_text
from .on_device import add_bundle, add_data_options, open_bundle, read_given, reading_of, say_if_untrained


def add_parser(subparsers: Any) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "predict",
        help="label texts with a bundle, on the device",
        description="Print label and probability of each line of standard input, or of a file: plain lines, "
        "or .jsonl/.csv with text. A bundle about images takes an image, a folder of images, or names of image files "
        "on standard input; the name of each image stands behind its answer. With --on-error skip the number of its "
        "line stands behind the answer to a text.",
        examples=[
            "edge-adapt predict bundle new.txt",
            "edge-adapt predict bundle new.csv --json",
            "edge-adapt predict image-bundle holiday-pictures/",
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
    from ..runtime.examples import read_lines
    from ..runtime.pictures import named_pictures

    reading = reading_of(args)
    with open_bundle(args.bundle, args.threads) as session:
        of_images = session.manifest.images is not None
        if args.file is not None:
            examples = read_given(session, args.file, reading, labelled=False)
        else:
            if sys.stdin.isatty():
                what = "names of image files" if of_images else "texts"
                print(f"edge-adapt: type {what}, one a line; Ctrl-D ends", file=sys.stderr)
            examples = read_lines(sys.stdin.buffer.read(), "standard input", reading)
            if of_images:
                examples = named_pictures(examples, "standard input", reading.on_error)
        say_if_untrained(session)
        predictions = session.predict([example.text for example in examples])
        if args.json:
            rows = [
                {"line": e.line, **({"image": e.text} if of_images else {}), "label": p.label,
                 "probability": p.probability, "probabilities": p.probabilities}
                for e, p in zip(examples, predictions, strict=True)
            ]  # fmt: skip
            print(json_text({"state": session.snapshot.header.counter, "predictions": rows}))
        else:
            for example, prediction in zip(examples, predictions, strict=True):
                # Answers stand in the order of the lines; where lines may be missing, each says which it belongs to.
                line = f"\t{example.line}" if reading.on_error == "skip" else ""
                behind = f"\t{shown(example.text)}" if of_images else line
                print(f"{shown(prediction.label)}\t{prediction.probability:.4f}{behind}")
    return 0
