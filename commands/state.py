"""`edge-adapt state`: look at the state of a bundle, go back, take it out, put one in."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..display import shown
from ..inputs import json_text
from .on_device import updates

if TYPE_CHECKING:
    from ..runtime.state import Snapshot
    from ..runtime.store import StateStore


def add_parser(subparsers: Any) -> None:
    """Describe the command and its parts."""
    parser = subparsers.add_parser(
        "state",
        help="show, roll back, reset, export or import the state of a bundle",
        description="The adaptable state of a bundle: what is current, what was before, how to go back.",
        examples=["edge-adapt state show bundle", "edge-adapt state rollback bundle"],
    )
    parts = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, text, action, examples in (
        ("show", "what is current, and whether both slots are sound", _show, ("show bundle", "show bundle --json")),
        ("history", "the former states that are kept", _history, ("history bundle",)),
        ("rollback", "make a former state current", _roll_back, ("rollback bundle", "rollback bundle --to 3")),
        ("reset", "go back to the exported state", _reset, ("reset bundle",)),
        ("export", "write the current state as a file, or as an adapter of another library", _export,
         ("export bundle state.safetensors", "export bundle my-adapter --format peft")),
        ("import", "make the state in a file current, one that a copy of this bundle or merge-states wrote", _import,
         ("import bundle merged.safetensors",)),
    ):  # fmt: skip
        lines = [f"edge-adapt state {example}" for example in examples]
        part = parts.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", examples=lines)
        part.add_argument("bundle", metavar="BUNDLE", type=Path, help="folder that `edge-adapt export` wrote")
        if name == "rollback":
            part.add_argument("--to", metavar="N", type=int, help="number of a state in the history [the newest other]")
        if name == "import":
            part.add_argument("file", metavar="FILE", type=Path, help="file of `state export` or `merge-states`")
        if name == "export":
            part.add_argument("out", metavar="FILE", type=Path, help="file to write, with peft a folder")
            part.add_argument(
                "--format", choices=("safetensors", "onnx-adapter", "peft"), default="safetensors",
                help="safetensors; a file that onnxruntime loads as an adapter of infer.onnx; a folder that peft loads "
                "(lora and lorafusion, on the workstation) [safetensors]",
            )  # fmt: skip
            part.add_argument("--model", metavar="DIR", help="peft: the model, when no longer where it was at export")
            part.add_argument("--pool", metavar="DIR", help="peft: the pool, when no longer where it was at export")
            part.add_argument(
                "--pairs", action="store_true", help="also the start and the (seed, scalar) pairs of mezo"
            )
        part.add_argument("--json", action="store_true", help="print a JSON object")
        part.set_defaults(run=run, action=action)


def run(args: argparse.Namespace) -> int:
    """Open the store and do what was asked."""
    from ..runtime.manifest import read_manifest, verify_files
    from ..runtime.store import StateStore
    from .on_device import remarks_to_stderr

    remarks_to_stderr()
    manifest = read_manifest(args.bundle)
    verify_files(args.bundle, manifest)
    store = StateStore(args.bundle, manifest)
    try:
        args.action(store, args)
    finally:
        store.release()
    return 0


def _show(store: "StateStore", args: argparse.Namespace) -> None:
    from ..runtime.start import state_digest
    from ..runtime.state import CURRENT

    slots = {view.name: view.problem or f"sound, state {_counter(view.snapshot)}" for view in store.views()}
    current = store.read()
    run = current.header.run
    manifest = store.manifest
    data = {
        **_described(current),
        "model": manifest.model.name,
        "method": manifest.method,
        "task": manifest.task,
        "labels": list(manifest.labels),
        "taught": list(current.header.taught),
        "reserved_classes_left": manifest.reserved_classes - len(current.header.taught),
        "numbers": sum(tensor.size for tensor in manifest.trained),
        "replayed_examples": len(current.part("replay/").get("labels", ())),
        "mezo_pairs": len(current.part("mezo/").get("seeds", ())),
        "state_sha256": state_digest(current.part(CURRENT)),
        "unfinished_run": None if run is None else {"epoch": run.epoch, "updates": run.optimiser.updates},
        "slots": slots,
    }
    if args.json:
        print(json_text(data))
        return
    lines = [
        f"state {data['state']}: {data['note']}, {updates(data['step'])} since export, saved {_when(current)}",
        f"{data['model']}, {data['method']}, task {data['task']}: {data['numbers']:,} trained numbers",
        f"labels: {', '.join([*manifest.labels, *current.header.taught])}; "
        f"{data['reserved_classes_left']} more can be taught",
        f"trained from: {_start(store, current, data['state_sha256'])}",
        *(f"{name.replace('_', ' ')}: {value:.4g}" for name, value in current.header.results.items()),
    ]
    if run is not None:
        lines.append(f"unfinished run: {updates(run.optimiser.updates)}, epoch {run.epoch + 1}")
    lines += [f"slot {name}: {condition}" for name, condition in slots.items()]
    print("\n".join(map(shown, lines)))


def _start(store: "StateStore", current: "Snapshot", digest: str) -> str:
    """Which state the training of the current one started from, for people."""
    from ..runtime.start import NOT_KNOWN, brief, state_digest
    from ..runtime.state import CURRENT

    start = current.header.start_sha256
    if start == NOT_KNOWN:
        return "not known (an earlier edge-adapt trained it)"
    if start == store.initial().header.start_sha256:
        what = "the exported state"
    elif start == digest:
        what = "the imported state"
    else:
        kept = [s.header.counter for s in store.history() if state_digest(s.part(CURRENT)) == start]
        what = f"state {kept[-1]}" if kept else "a state that is not kept any more"
    return f"{what} ({brief(start)}){', not trained since' if start == digest else ''}"


def _history(store: "StateStore", args: argparse.Namespace) -> None:
    from ..runtime.store import same_state

    current, kept = store.read(), store.history()
    if args.json:
        rows = [_described(snapshot) | {"is_current": same_state(snapshot, current)} for snapshot in kept]
        print(json_text({"current": current.header.counter, "history": rows}))
        return
    for snapshot in [*kept, current]:
        figures = ", ".join(f"{n.replace('_', ' ')} {v:.4g}" for n, v in snapshot.header.results.items())
        mark = "  <- current" if snapshot is current else ""
        what = shown(f"{snapshot.header.note}{'; ' + figures if figures else ''}")
        print(f"{snapshot.header.counter:6d}  {_when(snapshot)}  {snapshot.header.step:6d} updates  {what}{mark}")


def _roll_back(store: "StateStore", args: argparse.Namespace) -> None:
    store.lock()
    _changed(store.roll_back(args.to), args)


def _reset(store: "StateStore", args: argparse.Namespace) -> None:
    store.lock()
    _changed(store.reset(), args)


def _import(store: "StateStore", args: argparse.Namespace) -> None:
    from ..paths import expanded
    from ..runtime.state_file import read_state_file

    store.lock()
    given = read_state_file(expanded(args.file), store).snapshot
    _changed(store.take_over(given), args)


def _export(store: "StateStore", args: argparse.Namespace) -> None:
    from ..errors import UsageError, require
    from ..runtime.state import CURRENT
    from .files_out import outside

    current = store.read()
    tensors, header = current.part(CURRENT), current.header
    args.out = outside(args.out, args.bundle, args.format == "peft")
    if args.format != "safetensors" and args.pairs:
        raise UsageError("--pairs go into a safetensors file only")
    if args.format == "peft":
        for module in ("torch", "transformers"):
            require(module)
        from ..exporters.adapters import write_peft

        labels = (*store.manifest.labels, *header.taught)
        write_peft(args.out, store.manifest, tensors, labels, args.model, args.pool)
    elif args.format == "onnx-adapter":
        from ..runtime.adapter_file import write_adapter

        write_adapter(args.out, tensors, header.counter)
    else:
        tensors = _write_safetensors(store, current, args)
    if args.json:
        print(json_text({"file": str(args.out), "state": header.counter, "tensors": sorted(tensors)}))
    else:
        print(shown(f"state {header.counter} written to {args.out}: {len(tensors)} tensors"))


def _write_safetensors(store: "StateStore", current: "Snapshot", args: argparse.Namespace) -> dict[str, Any]:
    """Returns the tensors written."""
    from ..errors import UsageError
    from ..runtime.files import write_durably
    from ..runtime.state import CURRENT, prefixed
    from ..runtime.state_file import PAIRS, examples_of, metadata
    from ..runtime.tensor_file import tensor_file

    tensors, header = current.part(CURRENT), current.header
    told = metadata(
        store.manifest, (*store.manifest.labels, *header.taught), tensors,
        start=header.start_sha256, step=header.step, examples=examples_of(header),
    )  # fmt: skip
    if args.pairs:
        if not header.mezo_rates:
            raise UsageError("the current state was not trained with --optimizer mezo: it has no (seed, scalar) pairs")
        tensors |= prefixed(PAIRS, current.part(PAIRS))
        told["mezo_rates"] = json_text(header.mezo_rates)
    write_durably(args.out, tensor_file(tensors, told))
    return tensors


def _changed(saved: "Snapshot", args: argparse.Namespace) -> None:
    if args.json:
        print(json_text(_described(saved)))
    else:
        what = f"{shown(saved.header.note)}, {updates(saved.header.step)} since export"
        print(f"state {saved.header.counter} is current: {what}")


def _described(snapshot: "Snapshot") -> dict[str, Any]:
    header = snapshot.header
    return {
        "state": header.counter,
        "note": header.note,
        "step": header.step,
        "start_sha256": header.start_sha256 or None,
        "saved_unix_seconds": header.saved_unix_seconds,
        "results": dict(header.results),
    }


def _counter(snapshot: "Snapshot | None") -> int:
    return -1 if snapshot is None else snapshot.header.counter


def _when(snapshot: "Snapshot") -> str:
    seconds = snapshot.header.saved_unix_seconds
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else "at export          "
