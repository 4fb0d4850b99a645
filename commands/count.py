"""`edge-adapt count`: energy, time, area and programming of a model from its shapes alone."""

import argparse
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..defaults import DEFAULT_METHODS
from .on_device import DATA_OPTIONS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ..reports.records import CountReport
    from ..reports.records.count import CountedResult

_NUMBERS = ("examples", "tokens", "classes", "epochs", "batch_size", "rank", "pool_size")


def add_parser(subparsers: Any) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "count",
        help="energy, time, area and programming of a model from its shapes alone, in seconds",
        description="Count what a model of any size needs on a chip, without weights, training or arithmetic: arrays, "
        "area, one-time programming, one answer, and one adaptation by each method. The same as "
        "`edge-adapt simulate --fidelity count`.",
        examples=[
            "edge-adapt count --model llama-3-70b --device reram",
            "edge-adapt count --model minilm --method lorafusion --examples 80 --json",
        ],
    )
    add = parser.add_argument
    add("--model", metavar="NAME|FILE|DIR",
        help="a shape (llama-3-70b, minilm, ...), your YAML file of one, or a Hugging Face model folder "
             "(its config.json is enough) [minilm]")  # fmt: skip
    add("--device", metavar="NAME|FILE", help="chip: a shipped one (edge-adapt devices list) or your YAML file [reram]")
    add(
        "--method",
        metavar="NAME[:PLACEMENT]",
        action="append",
        nargs="+",
        help=f"methods to count, or all; repeatable [{' '.join(DEFAULT_METHODS)}]",
    )
    add("--examples", metavar="N", type=int, help="labelled examples of one adaptation [80]")
    add("--tokens", metavar="N", type=int, help="tokens of an example [64]")
    add("--classes", metavar="N", type=int, help="classes of the task [2]")
    add("--epochs", metavar="N", type=int, help="passes over the examples [those of the method's recipe]")
    add("--batch-size", metavar="N", type=int, help="examples of one optimiser step [those of the method's recipe]")
    add("--rank", metavar="N", type=int, help="rank of LoRA, VeRA and of each module of the pool [16; VeRA 256]")
    add("--pool-size", metavar="N", type=int, help="LoRA modules in the pool [6]")
    add("--changed-share", metavar="X", type=float, help="share of the weights that a rewrite changes [1: upper bound]")
    add("--set", dest="settings", metavar="KEY=VALUE", action="append", default=[],
        help="one number of the chip, such as adc.bits=6, or an option of a method, such as "
             "lorafusion.recipe.optimiser=mezo; repeatable")  # fmt: skip
    add("--config", metavar="FILE", type=Path, help="YAML file with the same options; the command line wins")
    add(
        "--out",
        metavar="DIR",
        type=Path,
        help="also write DIR/report.json, for edge-adapt explain; replaces one that is there",
    )
    add("--json", action="store_true", help="print the report object on stdout instead of the summary")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Count, print, and write the report where asked."""
    from ..options_file import one_value
    from ..studies.config import parse_settings
    from ..studies.count_config import read_count_config

    options = read_count_config(args.config) if args.config else {}
    for name in ("device", "model", *_NUMBERS, "changed_share", "out"):
        if getattr(args, name) is not None:
            options[name] = getattr(args, name)
    if args.method is not None:
        options["method"] = method_names(args.method)
    options["settings"] = one_value(options.get("settings", ()), parse_settings(args.settings))
    return count_and_print(options, args.words, args.json)


def run_as_simulation(args: argparse.Namespace, options: Mapping[str, Any]) -> int:
    """`edge-adapt simulate --fidelity count`: its options, and those of its config file, for a count.

    Raises UsageError for the ones that mean nothing here.
    """
    from ..errors import UsageError
    from ..options_file import one_value
    from ..studies.config import parse_settings
    from ..workloads.task import VALIDATION_SHARE

    given = {**options, **{name: value for name, value in vars(args).items() if value is not None}}
    useless = ("task", "pool", "seeds", "first_seed", "chip_seed", "test_examples", "image_size", "readapt",
               "readapt_share", "jobs", *DATA_OPTIONS)  # fmt: skip
    if found := [name for name in useless if name in given]:
        raise UsageError(f"--{found[0].replace('_', '-')} has no effect with --fidelity count: nothing is simulated")
    chosen: dict[str, Any] = {name: given[name] for name in ("device", "model", "out") if name in given}
    if "max_tokens" in given:
        chosen["tokens"] = given["max_tokens"]
    if "shots" in given:
        if len(given["shots"]) > 1:
            raise UsageError("--fidelity count takes one number of shots")
        (shots,) = given["shots"]
        chosen["examples"] = shots - max(1, round(VALIDATION_SHARE * shots))
    if args.method is not None:
        chosen["method"] = method_names(args.method)
    elif "method" in options:
        chosen["method"] = options["method"]
    chosen["settings"] = one_value(options.get("settings", ()), parse_settings(args.settings))
    return count_and_print(chosen, args.words, args.json)


def method_names(groups: list[list[str]]) -> tuple[str, ...]:
    """The names of a repeated option that takes several, separated by spaces or commas."""
    return tuple(part for group in groups for item in group for part in item.split(",") if part)


def count_and_print(options: dict[str, Any], words: list[str], as_json: bool) -> int:
    """Count with these options of `CountConfig` (and `out`)."""
    from ..errors import require

    for module in ("numba", "pint", *(() if as_json else ("rich",))):
        require(module)
    from ..reports import to_json
    from ..reports.store import check_destination, write_folder
    from ..studies.count import count
    from ..studies.count_config import CountConfig
    from .stdout import kept_clear

    out = options.pop("out", None)
    config = CountConfig(**options)
    if out is not None:
        check_destination(out)
    with kept_clear():
        report = count(config, shlex.join(["edge-adapt", *words]))
    text = to_json(report)
    if out is not None:
        if (out / "report.json").exists():
            print(f"edge-adapt: the report in {out} is replaced", file=sys.stderr)
        write_folder(out, {"report.json": text})
    if as_json:
        print(text, end="")
    else:
        from ..reports.console import console as terminal
        from ..reports.records import CountReport, from_plain

        _print(from_plain(CountReport, report), out, terminal())
    return 0


def lifetime(share: float | None, tasks: float | None) -> str:
    """How many adaptations the cells last; "unlimited" where none is written or they do not wear."""
    from ..reports.values import count

    if share is None:
        return "unknown"
    return "unlimited" if tasks is None or share == 0 else count(tasks)


def _print_results(records: "Sequence[CountedResult]", console: "Console") -> None:
    """One table where it fits; else what adapting costs, and what answering costs."""
    from rich import box
    from rich.table import Table

    from ..reports.fitting import fits, print_table
    from ..reports.rows import PLACEMENT_SHORT, method_title
    from ..reports.values import count, duration, si

    joules = lambda name: lambda record: si(getattr(record, f"{name}_energy_joules"), "J")
    seconds = lambda name: lambda record: duration(getattr(record, f"{name}_seconds"))
    adapting = (
        ("trained", lambda record: count(record.trained_parameters)),
        ("write\nenergy", joules("write")),
        ("adapt\nenergy", joules("adaptation")),
        ("adapt\ntime", seconds("adaptation_time")),
        ("tasks till\nworn out", lambda r: lifetime(r.endurance_share_per_task, r.tasks_until_worn_out)),
    )
    answering = (
        ("answer\nenergy", joules("inference")),
        ("answer\ntime", seconds("inference_time")),
        ("nothing\noverlaps", seconds("inference_time_sequential")),
        ("one\nevery", seconds("inference_interval")),
    )

    def table(columns: Sequence[tuple[str, Callable[["CountedResult"], str]]]) -> Table:
        made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)
        made.add_column("", no_wrap=True)
        for heading, _ in columns:
            made.add_column(heading, justify="right", no_wrap=True)
        for record in records:
            title = f"{method_title(record.method)}\n· {PLACEMENT_SHORT[record.placement]}"
            made.add_row(title, *(form(record) for _, form in columns))
        return made

    together = table((*adapting, *answering))
    if fits(console, together):
        console.print(together)
        return
    print_table(console, table(adapting))
    console.print()
    print_table(console, table(answering))


def _print(report: "CountReport", out: Path | None, console: "Console") -> None:
    from rich.markup import escape

    console.print(_facts(report))
    console.print()
    _print_results(report.results, console)
    console.print(
        "[dim]answer: one example; its time, the same if nothing overlapped, and the time from one example to the "
        "next when all layers are busy[/]\n"
    )
    console.print(_points(report))
    if out is not None:
        console.print(f"\n[bold]report:[/] {escape(str(out / 'report.json'))}", soft_wrap=True)


def _facts(report: "CountReport") -> "Table":
    """What was counted: model, chip, its programming, and the adaptation."""
    from rich.markup import escape
    from rich.table import Table

    from ..reports.values import area, duration, si

    device, programming, model = report.device, report.programming, report.model
    own_name = "" if device.name == device.title else f"{escape(device.name)}, "
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    geometry = device.array
    pool = programming.pool
    facts.add_row(
        "model",
        f"{escape(model.title)}: {si(model.weights_in_cells)} weights in {model.matrices} matrices of "
        f"{model.blocks} blocks",
    )
    facts.add_row(
        "chip",
        f"{own_name}{escape(device.title)}: {geometry.arrays_used:,} arrays of {geometry.rows} × "
        f"{geometry.columns}, {area(device.area_square_meters['total'])}",
    )
    facts.add_row(
        "programming",
        f"{si(programming.cells)} cells once, {si(programming.energy_joules, 'J')}, "
        f"{duration(programming.time_seconds)}; {programming.pulses_mean:.2f} ± "
        f"{programming.pulses_mean_standard_error:.2f} pulses a cell (estimated from a programmed sample of "
        f"{programming.sample_cells:,} cells)",
    )
    if pool is not None:
        facts.add_row("", f"of which beside the backbone {si(pool.cells)} cells, {si(pool.energy_joules, 'J')}")
    config = report.config
    facts.add_row(
        "adaptation", f"{config['examples']} examples of {config['tokens']} tokens, {config['classes']} classes"
    )
    return facts


def _points(report: "CountReport") -> "Table":
    """What the reader should know beside the table."""
    from rich.markup import escape
    from rich.table import Table

    from ..reports.rows import method_title, ratio_title
    from ..reports.values import duration, ratio, si

    points = Table.grid(padding=(0, 1))
    ratios = [
        f"{ratio_title(name)} {ratio(value)}"
        for name, value in report.programming.write_read_ratio.items()
        if value is not None
    ]
    points.add_row("•", f"Energy of a write against a read: {'; '.join(ratios)}.")
    for record in report.results:
        if (looked := record.compensation_energy_joules) is not None:
            took = duration(record.compensation_time_seconds)
            title = f"{method_title(record.method)}, {record.placement}"
            points.add_row("•", f"{title}: drift compensation takes {si(looked, 'J')} and {took} each time.")
        if record.note:
            points.add_row("•", f"{method_title(record.method)}, {record.placement}: {record.note}.")
    for message in report.messages:
        points.add_row("!", f"[yellow]{escape(message)}[/]")
    return points
