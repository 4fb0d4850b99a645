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
        "state import BUNDLE FILE` makes it current on every device. All devices must have started from one state. "
        "With --clip BUNDLE must hold that state: changes are counted from there.",
        examples=[
            "edge-adapt merge-states bundle anna.safetensors bert.safetensors --out merged.safetensors",
            "edge-adapt merge-states bundle a.safetensors b.safetensors --weights 3,1 --out merged.safetensors",
            "edge-adapt merge-states bundle a.safetensors b.safetensors --clip 0.5 --noise 1 --out merged.safetensors",
        ],
    )
    add = parser.add_argument
    add("bundle", metavar="BUNDLE", type=Path,
        help="a copy of the bundle; with --clip in the state that all devices started from")  # fmt: skip
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
    from ..runtime.start import state_digest
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
    origin = _common_start(files, args.clip)
    counted = origin == state_digest(start.part(CURRENT))
    if args.clip is not None and not counted:
        raise UsageError(_not_counted(files[0], store, start.header.counter))
    if origin and not counted:
        _remark(f"{store.bundle} does not hold the state that they were trained from: how far each changed is not said")
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
    told = metadata(manifest, labels, merged.state, start=origin, step=step, examples=examples)
    write_durably(out, tensor_file(merged.state, told))
    _say(args, files, chosen, merged, start.header.counter if counted else None)
    return 0


def _different(paths: "Sequence[Path]") -> "Sequence[Path]":
    """The paths. Raises `UsageError` for one that is given twice: its state would count twice."""
    from ..errors import UsageError

    seen: dict[Path, Path] = {}
    for path in paths:
        if seen.setdefault(path.resolve(), path) is not path:
            raise UsageError(f"{path} is given twice; to count a state more than once give --weights")
    return paths


def _common_start(files: "Sequence[StateFile]", clip: float | None) -> str:
    """The digest of the state that all were trained from; `NOT_KNOWN` where a file does not say it, and nothing is
    clipped. Raises `UsageError` where they were trained from different ones.
    """
    from ..errors import UsageError
    from ..runtime.start import NOT_KNOWN, brief

    known = [file for file in files if file.start != NOT_KNOWN]
    for file in known:
        if file.start != known[0].start:
            raise UsageError(
                f"{file.path} was trained from another state ({brief(file.start)}) than {known[0].path} "
                f"({brief(known[0].start)}), so their mean is no state of one round; make one state current on every "
                "device (`edge-adapt state import` or `state reset`), train there, and export again"
            )
        if not file.is_trained:
            _remark(f"{file.path} was not trained: it is the state that training starts from, without any change")
    if len(known) == len(files):
        return known[0].start
    silent = next(file for file in files if file.start == NOT_KNOWN)
    what = f"{silent.path} does not say which state it was trained from, as it comes from an earlier edge-adapt"
    if clip is not None:
        raise UsageError(
            f"{what}: --clip cannot count its change; on that device run `edge-adapt state import` or `state reset`, "
            "train, and export again, or merge without --clip"
        )
    _remark(f"{what}: whether all were trained from the same one cannot be checked, nor how far each changed")
    return NOT_KNOWN


def _not_counted(file: "StateFile", store: "StateStore", counter: int) -> str:
    """What is wrong where BUNDLE holds another state than the one that the devices started from, and how to mend it."""
    from ..runtime.start import brief, state_digest
    from ..runtime.state import CURRENT

    same = [kept.header for kept in store.history() if state_digest(kept.part(CURRENT)) == file.start]
    if not same:
        mend = f"import that state first: edge-adapt state import {store.bundle} FILE"
    elif same[-1].counter == 0:
        mend = f"make it current first: edge-adapt state reset {store.bundle}"
    else:
        mend = f"make it current first: edge-adapt state rollback {store.bundle} --to {same[-1].counter}"
    return (
        f"{file.path} was trained from another state ({brief(file.start)}) than state {counter}, which {store.bundle} "
        f"holds; --clip counts changes from the state that all devices started from: {mend}"
    )


def _remark(text: str) -> None:
    from ..display import shown

    print(shown(f"edge-adapt: {text}"), file=sys.stderr)


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
        _remark("no state says on how many examples it was trained: all count the same")
        return (1.0,) * len(files)
    if silent:
        what = "does not say on how many examples it was trained" if silent[0].is_trained else "was not trained"
        mend = "give --weights" if silent[0].is_trained else "leave it out, or give --weights"
        raise UsageError(f"{silent[0].path} {what}, and others {'do' if silent[0].is_trained else 'were'}; {mend}")
    return tuple(float(file.examples or 0) for file in files)


def _say(
    args: argparse.Namespace,
    files: "Sequence[StateFile]",
    chosen: "Sequence[float]",
    merged: "Merged",
    start: int | None,
) -> None:
    """`start`: the number of the state of BUNDLE that changes are counted from; None where it is not their start."""
    from ..display import shown
    from ..inputs import json_text

    total = math.fsum(chosen)
    rows: list[dict[str, Any]] = [
        {"file": str(file.path), "share": weight / total, "examples": file.examples,
         "update_norm": None if start is None else norm, "shortened_to": factor}
        for file, weight, norm, factor in zip(files, chosen, merged.norms, merged.factors, strict=True)
    ]  # fmt: skip
    if args.json:
        print(json_text({"file": str(args.out), "start": start, "states": rows, "noise_deviation": merged.deviation}))
        return
    for row in rows:
        cut = f", shortened to {args.clip:g}" if row["shortened_to"] < 1 else ""
        norm = "" if start is None else f", update of L2 norm {row['update_norm']:.4g}{cut}"
        print(f"{shown(row['file'])}: {100 * row['share']:.1f} %{norm}")
    if merged.deviation:
        print(f"noise of standard deviation {merged.deviation:.4g} on every trained number")
    states = f"{len(rows)} state{'' if len(rows) == 1 else 's'}"
    counted = "" if start is None else f", counted from state {start} of {args.bundle}"
    print(shown(f"{args.out}: the mean of {states}{counted}"))
