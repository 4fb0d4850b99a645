"""`edge-adapt train`: adapts a bundle to labelled texts, on the device, with onnxruntime and numpy."""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..display import shown
from ..inputs import json_text
from ..runtime.examples import Reading
from .on_device import UpdateLine, add_bundle, add_data_options, byte_count, open_bundle, read_labelled, updates

if TYPE_CHECKING:
    from ..runtime.energy import Energy
    from ..runtime.options import TrainOptions
    from ..runtime.session import Session
    from ..runtime.training import TrainReport

SWITCHES = ("balanced", "energy")


@dataclass(frozen=True)
class Settings(Reading):
    """What may stand in a configuration file beside the fields of `TrainOptions`; `memory_budget` in bytes."""

    guard: Path | None = None
    memory_budget: int | None = None
    threads: int | None = None
    energy: bool = False


def add_parser(subparsers: Any) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "train",
        help="adapt a bundle to labelled texts, on the device",
        description="Train the small state of a bundle on a JSONL or CSV file with text and label, or, where it is "
        "about images, on a folder that holds a folder of images for each label. The run is saved as it goes: "
        "after a power cut or Ctrl-C the same command goes on. Its result becomes current at the end.",
        examples=[
            "edge-adapt train bundle reviews.csv",
            "edge-adapt train bundle reviews.jsonl --epochs 4 --guard check.csv --memory-budget 300MB",
        ],
    )
    add_bundle(parser)
    parser.add_argument("data", metavar="FILE", type=Path, help=".jsonl or .csv with text and label; folder of images")
    add = parser.add_argument
    add("--optimizer", metavar="NAME", help="adamw, sgd, or mezo: forward passes only [adamw]")
    add("--epochs", metavar="N", type=int, help="passes over the examples [the bundle's recipe]")
    add("--batch-size", metavar="N", type=int, help="examples of one update [the bundle's recipe]")
    add("--accumulate", metavar="N", type=int, help="parts in which a batch is computed, to save memory [1]")
    add("--learning-rate", metavar="GROUP=RATE", action="append", help="peak rate of a group of tensors; repeatable")
    add("--schedule", metavar="NAME", help="how rates fall: linear, cosine, constant [linear]")
    add("--weight-decay", metavar="X", type=float, help="decoupled decay [the bundle's recipe]")
    add("--clip-norm", metavar="X", type=float, help="largest norm of a gradient [the bundle's recipe]")
    add("--momentum", metavar="X", type=float, help="of sgd [0]")
    add("--epsilon", metavar="X", type=float, help="how far mezo looks to either side [0.001]")
    add("--seed", metavar="N", type=int, help="of the order of the examples [0]")
    add("--head", metavar="START", help="means: start the head at class means; keep; auto: means the first time [auto]")
    add("--teach", metavar="LABEL", action="append", help="a new class that takes a reserved place; repeatable")
    add("--balanced", action="store_true", default=None, help="draw all classes equally often")
    add("--replay", metavar="N", type=int, help="examples kept in the state and mixed into later runs [0]")
    add("--hold-out", metavar="SHARE", type=float, help="share of the examples that decides when to stop [0]")
    add("--patience", metavar="N", type=int, help="epochs without a better held-out loss before stopping [3]")
    add("--guard", metavar="FILE", type=Path, help="examples whose accuracy must not fall, or the result is refused")
    add("--max-drop", metavar="POINTS", type=float, help="how much it may fall all the same, in points of 100 [1.0]")
    add("--memory-budget", metavar="SIZE", type=byte_count, help="stay within it, such as 300MB, by smaller parts")
    add("--save-every", metavar="N", type=int, help="updates between two saves of the run [20]")
    add("--energy", action="store_true", default=None, help="measure energy where the machine can (RAPL)")
    add_data_options(parser)
    add("--config", metavar="FILE", type=Path, help="YAML file with the same options; the command line wins")
    add("--json", action="store_true", help="print a JSON object on stdout instead of the summary")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, make the result current, print what happened."""
    from ..errors import EdgeAdaptError
    from ..runtime.energy import EnergyMeter

    options, settings = _choices(args)
    with open_bundle(args.bundle, settings.threads, options) as session:
        examples = read_labelled(session, args.data, settings, options.teach)
        texts, labels = [e.text for e in examples], [e.label for e in examples]
        guard = None
        if settings.guard is not None:
            watched = read_labelled(session, settings.guard, settings, options.teach)
            guard = [e.text for e in watched], [e.label for e in watched]
        if settings.memory_budget is not None:
            options = _within(settings.memory_budget, session, texts, options)
        energy = None
        with UpdateLine() as progress:
            if settings.energy:
                with EnergyMeter() as meter:
                    report = session.train(texts, labels, options, guard=guard, on_update=progress)
                energy = meter.result
            else:
                report = session.train(texts, labels, options, guard=guard, on_update=progress)
        if report.stopped:
            print(
                f"edge-adapt: stopped after {updates(len(report.losses))}; the same command goes on from there",
                file=sys.stderr,
            )
            return 128 + progress.signal_number
        if report.refusal:
            raise EdgeAdaptError(report.refusal)
        if not report.replayed:
            _tell_of_one_class(labels, session.labels)
        _print(report, session, energy, args.json)
    return 0


def _tell_of_one_class(labels: list[str], known: Sequence[str]) -> None:
    """Say so where all examples were of one class and the bundle has others, whose answers may be lost."""
    others = [name for name in known if name not in labels]
    if others and len(set(labels)) == 1:
        print(
            f"edge-adapt: every example was {labels[0]!r}, so the model may forget {', '.join(others)}: train on "
            "examples of all classes, or keep some with --replay",
            file=sys.stderr,
        )


def _choices(args: argparse.Namespace) -> tuple["TrainOptions", "Settings"]:
    """Training options and the other settings, from the file and then from the command line."""
    from ..errors import UsageError
    from ..runtime.options import TrainOptions
    from ..runtime.schema import build

    fields, others = ([field.name for field in dataclasses.fields(kind)] for kind in (TrainOptions, Settings))
    chosen = _read_config(args.config) if args.config else {}
    chosen |= {name: v for name in (*fields, *others) if (v := getattr(args, name, None)) is not None}
    rates = dict(chosen.get("learning_rates", {}))
    rates |= _rates(args.learning_rate or ())
    try:
        options = build(
            TrainOptions, {n: v for n, v in chosen.items() if n in fields} | {"learning_rates": rates}, "options"
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    return options, Settings(**{name: value for name, value in chosen.items() if name in others})


def _read_config(path: Path) -> dict[str, Any]:
    """The options of a YAML file by name. Raises `UsageError` with the line: an unknown one, one of a wrong type."""
    from ..errors import UsageError, unknown_name
    from ..options_file import read_options
    from ..runtime.options import TrainOptions
    from ..runtime.schema import build
    from ..yamlfile import switch

    kinds = {field.name: kind for kind in (TrainOptions, Settings) for field in dataclasses.fields(kind)}
    chosen = {}
    for name, given, where in read_options(path):
        if name not in kinds:
            raise UsageError(f"{where}: {unknown_name('option', name, kinds)}")
        value = switch(given) if name in SWITCHES else given
        if name == "teach" and isinstance(value, list):
            value = [str(item) if type(item) is int else item for item in value]
        if name == "memory_budget":
            try:
                value = byte_count(str(value))
            except argparse.ArgumentTypeError as error:
                raise UsageError(f"{where}: {error}") from None
        elif name == "guard":
            if not isinstance(value, str) or not value:
                raise UsageError(f"{where}: guard must be the name of a file, not {value!r}")
            value = Path(value)
        else:
            try:
                build(kinds[name], {name: value}, "options")
            except (ValueError, UsageError) as error:
                raise UsageError(f"{where}: {error}") from None
        chosen[name] = value
    return chosen


def _rates(given: Sequence[str]) -> dict[str, float]:
    """`GROUP=RATE` texts by group. Raises `UsageError` for another form, and for a group that is given twice."""
    from ..errors import UsageError

    rates: dict[str, float] = {}
    for text in given:
        group, _, rate = text.partition("=")
        try:
            number = float(rate)
        except ValueError:
            raise UsageError(f"--learning-rate {text!r} is not GROUP=RATE, such as head=0.001") from None
        if rates.setdefault(group.strip(), number) != number:
            raise UsageError(f"--learning-rate gives {group.strip()} twice: {rates[group.strip()]} and {number}")
    return rates


def _within(budget: int, session: "Session", texts: list[str], options: "TrainOptions") -> "TrainOptions":
    """The options with batches cut into as many parts as the budget asks for, said on stderr."""
    from ..runtime.memory import MemoryModel
    from ..runtime.session import log

    batch = options.batch_size or session.manifest.recipe.batch_size
    tokens = session.longest(texts)
    parts = MemoryModel.of(session.manifest.plan).parts(batch, tokens, budget)
    if parts > options.accumulate:
        log.warning("batches of %d are computed in %d parts to stay within %.0f MB", batch, parts, budget / 1e6)
    return dataclasses.replace(options, accumulate=max(parts, options.accumulate))


def _print(report: "TrainReport", session: "Session", energy: "Energy | None", as_json: bool) -> None:
    header = session.snapshot.header
    if as_json:
        data = dataclasses.asdict(report) | {"state": header.counter, "step": header.step}
        if energy is not None:
            data["energy"] = {"joules": energy.total_joules, "measured": energy.joules, "problem": energy.problem}
        print(json_text(data))
        return
    replayed = f" and {report.replayed} replayed ones" if report.replayed else ""
    resumed = f", resumed at update {report.resumed_at}" if report.resumed_at else ""
    print(
        f"trained on {report.examples} {'example' if report.examples == 1 else 'examples'}{replayed}: "
        f"{updates(report.updates)}, {report.seconds:.1f} s{resumed}"
    )
    if report.losses:
        print(f"loss: {report.losses[0]:.4f} at the first update, {report.losses[-1]:.4f} at the last")
    if report.undone:
        print(f"undone: {updates(report.undone)} whose loss was not finite")
    if report.held_out_accuracy is not None:
        accuracy = 100 * report.held_out_accuracy
        print(f"held out: {accuracy:.1f} % of {report.held_out} right, loss {report.held_out_loss:.4f}, "
              f"state of epoch {report.best_epoch}")  # fmt: skip
    if report.guard_before is not None and report.guard_after is not None:
        print(f"guard: {100 * report.guard_before:.1f} % right before, {100 * report.guard_after:.1f} % now")
    if energy is not None:
        print(energy.line())
    print(shown(f"state {header.counter} is current, {updates(header.step)} since export: {session.store.folder}"))
