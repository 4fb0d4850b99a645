"""`edge-adapt repair`: what gives back the accuracy that a chip has lost, without labels and without writing a cell."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..defaults import DEFAULT_SHOTS, DEFAULT_TEST_EXAMPLES
from ..inputs import json_text
from .on_device import DATA_OPTIONS, add_data_options

if TYPE_CHECKING:
    from ..reports.records.repair import RepairReport

DEFAULT_OUT = Path("edge-adapt-repair")
AGES = ("1h", "1d", "30d", "1y", "10y")
_GIVEN = ("device", "model", "task", "pool", "seeds", "first_seed", "chip_seed", "test_examples", "max_tokens",
          "readapt_share", *DATA_OPTIONS)  # fmt: skip


def add_parser(subparsers: Any) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "repair",
        help="see what gives back the accuracy that a drifted chip has lost",
        description="Adapt a method on a simulated chip, let time pass, and see what gives accuracy back: drift "
        "compensation, vectors prepared for each age, repair from a few unlabelled inputs, or adapting again. Writes "
        "repair.json and repair.svg.",
        examples=[
            "edge-adapt repair --device pcm --task movie",
            "edge-adapt repair --device reram-cmo --method lora:DIGITAL --ages 30d 10y --inputs 20 --out my-repair",
        ],
    )
    add = parser.add_argument
    add("--device", metavar="NAME|FILE", help="chip: a shipped one (edge-adapt devices list) or your YAML file [pcm]")
    add("--model", metavar="NAME|DIR|ID", help="minilm, bert-tiny, vit-s, a Hugging Face folder, or a hub id [minilm]")
    add("--task", metavar="NAME|FILE", help="a shipped task, your CSV/JSONL, or your folder of images [movie]")
    add_data_options(parser)
    add("--pool", metavar="DIR", help="LoRA pool: a folder of peft adapters [the shipped pool of the model]")
    add("--method", metavar="NAME[:PLACEMENT]", default="lorafusion", help="what is adapted [lorafusion]")
    add("--ages", metavar="AGE", nargs="+", help=f"when the chip is looked at again [{' '.join(AGES)}]")
    add("--ways", metavar="WAY", nargs="+", help="of nothing, compensation, prepared, repaired, again [all]")
    add("--inputs", metavar="N", type=int, default=10, help="unlabelled inputs that the device keeps [10]")
    add("--prepared-on", metavar="N", type=int, default=2, help="other chips that vectors are prepared on [2]")
    add("--shots", metavar="N", type=int, help=f"labelled examples, a fifth of them for validation [{DEFAULT_SHOTS}]")
    add("--seeds", metavar="N", type=int, help="runs: each with its own draw, training, test examples and chip [2]")
    add("--first-seed", metavar="N", type=int, help="number of the first seed [0]")
    add("--chip-seed", metavar="N", type=int, help="which chips: variation, faults, programming [0]")
    add("--test-examples", metavar="N", type=int,
        help=f"examples to measure accuracy on, in each run [{DEFAULT_TEST_EXAMPLES}]")  # fmt: skip
    add("--max-tokens", metavar="N", type=int, help="longer texts are cut [64]")
    add("--readapt-share", metavar="X", type=float,
        help="epochs of adapting again, as a share of the first time [0.5]")  # fmt: skip
    add("--set", dest="settings", metavar="KEY=VALUE", action="append", default=[],
        help="one setting: chip.adc.bits=6, lora.recipe.epochs=4; repeatable")  # fmt: skip
    add("--out", metavar="DIR", type=Path, default=DEFAULT_OUT, help=f"new folder for the result [{DEFAULT_OUT}]")
    add("--json", action="store_true", help="print the record on stdout")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the study, write it, print it."""
    from ..errors import require
    from ..folders import whole_folder, write_synced, writing
    from ..options_file import one_value
    from ..studies.config import SimulateConfig, parse_settings

    for module in ("torch", "numba", "transformers", "rich", "matplotlib", "pint"):
        require(module)
    from ..studies.pool_merge import require_new
    from .progress import TerminalProgress
    from .stdout import kept_clear

    require_new(args.out)
    options = {name: getattr(args, name) for name in _GIVEN if getattr(args, name) is not None}
    if args.shots is not None:
        options["shots"] = (args.shots,)
    simulation = SimulateConfig(
        **{"device": "pcm", "ages": _parts(args.ages) or AGES, "method": (args.method,), "readapt": ("none",)}
        | options,
        settings=one_value((), parse_settings(args.settings)),
    )
    with kept_clear(), TerminalProgress("importing torch") as progress:
        from ..reports.records import plain
        from ..reports.repair import figure
        from ..studies.repair import RepairConfig, repair_study

        config = RepairConfig(
            simulation, args.inputs, args.prepared_on, **({"ways": _parts(args.ways)} if args.ways else {})
        )
        report = repair_study(config, progress, shlex.join(["edge-adapt", *args.words]))
        text = json_text(plain(report), indent=1) + "\n"
        with writing(args.out), whole_folder(args.out) as folder:
            write_synced(folder / "repair.json", text)
            write_synced(folder / "repair.svg", figure(report).svg)
    if args.json:
        print(text, end="")
    else:
        _print(report, args.out)
    return 0


def _parts(given: list[str] | None) -> tuple[str, ...]:
    return tuple(part for item in given or () for part in item.split(",") if part)


def _print(report: "RepairReport", out: Path) -> None:
    from rich import box
    from rich.table import Table

    from ..reports.console import console as terminal
    from ..reports.fitting import print_table
    from ..reports.repair import rows_of_table, verdict

    console = terminal()
    console.print(verdict(report), style="bold", markup=False)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1))
    for header in ("age", "what was done", "accuracy", "change", "energy", "an answer", "cells written"):
        table.add_column(header, justify="left" if header in ("age", "what was done") else "right")
    for row in rows_of_table(report):
        table.add_row(*row)
    print_table(console, table)
    for message in report.messages:
        console.print(message, markup=False)
    console.print(f"record: {out / 'repair.json'}", markup=False, soft_wrap=True)
