"""`edge-adapt merge-states`: the states of several devices become one, as in a round of federated learning."""

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .files_out import outside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..runtime.merging import Merged
    from ..runtime.state_file import StateFile
    from ..runtime.store import StateStore


def add_parser(subparsers: Any) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "merge-states",
        help="make one state of those that several devices trained",
        description="Each device trains its own copy of one bundle and writes its state with `edge-adapt state "
        "export`. This command writes the mean of these states, weighted by the number of examples. Then `edge-adapt "
        "state import BUNDLE FILE` makes it current on every device. Give a BUNDLE in the state that all devices "
        "started from: what they have learned is counted from there.",
        examples=[
            "edge-adapt merge-states bundle anna.safetensors bert.safetensors --out merged.safetensors",
            "edge-adapt merge-states bundle a.safetensors b.safetensors --weights 3,1 --out merged.safetensors",
            "edge-adapt merge-states bundle a.safetensors b.safetensors --clip 0.5 --noise 1 --out merged.safetensors",
        ],
    )
    add = parser.add_argument
    add("bundle", metavar="BUNDLE", type=Path, help="a copy of the bundle, in the state that the devices started from")
    add("states", metavar="STATE", type=Path, nargs="+", help="file that `edge-adapt state export` wrote on a device")
    add("--out", metavar="FILE", type=Path, required=True, help="file to write; one that is there is replaced")
    add("--weights", metavar="W,W,...", type=weights, help="weight of each state [examples its last run trained on]")
    add(
        "--clip",
        metavar="NORM",
        type=above_zero,
        help="shorten each device's change to this L2 norm, where it is longer [not shortened]",
    )
    add("--noise", metavar="Z", type=above_zero,
        help="add Gaussian noise of Z x NORM x largest weight / sum of weights; needs --clip [none]")  # fmt: skip
    add(
        "--seed",
        metavar="N",
        type=whole,
        help="seed of the noise, for tests only: anyone who knows it can remove the noise [random]",
    )
    add("--json", action="store_true", help="print a JSON object")
    parser.set_defaults(run=run)


def above_zero(text: str) -> float:
    """A finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0.0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def weights(text: str) -> tuple[float, ...]:
    """Numbers above 0 between commas."""
    return tuple(above_zero(part) for part in text.split(","))


def whole(text: str) -> int:
    """A whole number that is not negative."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Merge, write the file, and say what was done."""
    import numpy as np

    from ..errors import UsageError
    from ..runtime.files import write_durably
    from ..runtime.manifest import read_manifest, verify_files
    from ..runtime.merging import merge
    from ..runtime.state import CURRENT
    from ..runtime.state_file import metadata, read_state_file
    from ..runtime.store import StateStore
    from ..runtime.tensor_file import tensor_file
    from .on_device import remarks_to_stderr

    if args.noise is not None and args.clip is None:
        raise UsageError("--noise needs --clip: without it a single device could move the mean by any amount")
    if args.seed is not None and args.noise is None:
        raise UsageError("--seed is of the noise, and there is none; add --noise, or leave it out")
    remarks_to_stderr()
    manifest = read_manifest(args.bundle)
    verify_files(args.bundle, manifest)
    out = outside(args.out, args.bundle)
    store = StateStore(args.bundle, manifest)
    start = store.read()
    files = [read_state_file(path, store) for path in _different(args.states)]
    _require_same_classes(files, (*manifest.labels, *start.header.taught), args.clip)
    fixed = _require_untrained_alike(files, store, start.part(CURRENT))
    chosen = args.weights or _by_examples(files)
    if len(chosen) != len(files):
        raise UsageError(
            f"--weights needs one number for each state, such as 3,1; got {len(chosen)} for {len(files)} states"
        )
    labels = files[0].labels
    merged = merge(
        start.part(CURRENT), [file.tensors for file in files], chosen, clip=args.clip, noise=args.noise or 0.0,
        rng=np.random.default_rng(args.seed), untouched=fixed,
        rows={"head.weight": len(labels), "head.bias": len(labels)},
    )  # fmt: skip
    counts = [file.examples for file in files]
    examples = None if None in counts else sum(count or 0 for count in counts)
    step = max(file.snapshot.header.step for file in files)
    write_durably(out, tensor_file(merged.state, metadata(manifest, labels, step, examples)))
    _say(args, files, chosen, merged, start.header.counter)
    return 0


def _different(paths: "Sequence[Path]") -> "Sequence[Path]":
    """The paths. Raises `UsageError` for one that is given twice: its state would count twice."""
    from ..errors import UsageError

    seen: dict[Path, Path] = {}
    for path in paths:
        if seen.setdefault(path.resolve(), path) is not path:
            raise UsageError(f"{path} is given twice; to count a state more than once give --weights")
    return paths


def _require_same_classes(files: "Sequence[StateFile]", before: tuple[str, ...], clip: float | None) -> None:
    from ..errors import UsageError

    first = files[0]
    for file in files:
        if file.labels != first.labels:
            raise UsageError(
                f"{file.path} knows the classes {', '.join(map(repr, file.labels))}, and {first.path} "
                f"{', '.join(map(repr, first.labels))}: their heads have other rows; teach the same classes in one "
                "order on every device"
            )
    if clip is not None and first.labels != before:
        raise UsageError(
            "--clip cannot shorten an update that taught a class: its row of the head begins at -10000; merge once "
            "without --clip, import the result everywhere, and clip from then on"
        )


def _require_untrained_alike(files: "Sequence[StateFile]", store: "StateStore", start: dict[str, Any]) -> list[str]:
    """The names of the tensors that no training changes. Raises `UsageError` for a state in which one differs."""
    from ..errors import UsageError

    fixed = [t.name for t in store.manifest.state if t.group is None and not t.name.startswith("head.")]
    for file in files:
        for name in fixed:
            if file.tensors[name].tobytes() != start[name].tobytes():
                raise UsageError(
                    f"{file.path}: the tensor {name!r}, which is not trained, is not that of {store.bundle}"
                )
    return fixed


def _by_examples(files: "Sequence[StateFile]") -> tuple[float, ...]:
    """The examples of each state; 1 for each where none says how many."""
    from ..errors import UsageError

    silent = [file for file in files if file.examples is None]
    if len(silent) == len(files):
        print("edge-adapt: no state says on how many examples it was trained: all count the same", file=sys.stderr)
        return (1.0,) * len(files)
    if silent:
        raise UsageError(
            f"{silent[0].path} does not say on how many examples it was trained, and others do; give --weights"
        )
    return tuple(float(file.examples or 0) for file in files)


def _say(
    args: argparse.Namespace, files: "Sequence[StateFile]", chosen: "Sequence[float]", merged: "Merged", start: int
) -> None:
    from ..display import shown
    from ..inputs import json_text

    total = math.fsum(chosen)
    rows: list[dict[str, Any]] = [
        {"file": str(file.path), "share": weight / total, "examples": file.examples, "update_norm": norm,
         "shortened_to": factor}
        for file, weight, norm, factor in zip(files, chosen, merged.norms, merged.factors, strict=True)
    ]  # fmt: skip
    if args.json:
        print(json_text({"file": str(args.out), "start": start, "states": rows, "noise_deviation": merged.deviation}))
        return
    for row in rows:
        cut = f", shortened to {args.clip:g}" if row["shortened_to"] < 1 else ""
        print(f"{shown(row['file'])}: {100 * row['share']:.1f} %, update of L2 norm {row['update_norm']:.4g}{cut}")
    if merged.deviation:
        print(f"noise of standard deviation {merged.deviation:.4g} on every trained number")
    states = f"{len(rows)} state{'' if len(rows) == 1 else 's'}"
    print(shown(f"{args.out}: the mean of {states}, counted from state {start} of {args.bundle}"))
