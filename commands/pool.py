"""`edge-adapt pool`: train a pool of LoRA modules, look into one, make one adapter of it."""

import argparse
from typing import Any

from ..errors import require
from ..inputs import json_text
from ..paths import expanded
from . import pool_fit, pool_merge
from .on_device import add_data_options


def add_parser(subparsers: Any) -> None:
    """Add `pool train`, `inspect`, `merge` and `fit`."""
    training = "edge-adapt pool train --model minilm --tasks movie,tweets --out my-pool"
    looking = "edge-adapt pool inspect my-pool"
    parser = subparsers.add_parser(
        "pool",
        help="train a pool of LoRA modules, look into one, make one adapter of it",
        description="Train a pool of LoRA modules, look into one, or make one adapter of it.",
        examples=[training, looking, pool_merge.EXAMPLES[0]],
    )
    actions = parser.add_subparsers(title="commands", dest="action", metavar="COMMAND")

    train = actions.add_parser(
        "train",
        help="train one LoRA module per task; goes on where it was stopped",
        description="Train one LoRA module per task; goes on where it was stopped.",
        examples=[training, "edge-adapt pool train --model my-model --tasks one.csv,two.csv --rank 8 --out my-pool"],
    )
    train.add_argument("--model", required=True, help="minilm, bert-tiny, vit-s, a Hugging Face folder, or a hub id")
    train.add_argument(
        "--tasks", required=True, help="comma-separated names of tasks, .csv/.jsonl files or image folders"
    )
    add_data_options(train)
    train.add_argument(
        "--out", required=True, help="folder for the pool; goes on with a part of the same pool, replaces nothing"
    )
    train.add_argument("--rank", type=int, default=16, help="rank of each module (default 16)")
    train.add_argument("--alpha", type=float, default=32.0, help="scale of the update times rank (default 32)")
    train.add_argument("--epochs", type=int, default=3, help="passes over the examples (default 3)")
    train.add_argument("--seed", type=int, default=0, help="of the initial values and the order (default 0)")
    train.add_argument("--max-examples", type=int, default=2500, help="per task (default 2500)")
    train.add_argument("--max-tokens", type=int, default=64, help="per text (default 64)")
    train.add_argument("--batch-size", type=int, default=32, help="examples per step (default 32)")
    train.add_argument("--learning-rate", type=float, default=1e-3, help="of A and B (default 0.001)")
    train.add_argument("--head-learning-rate", type=float, default=2e-3, help="of the classifier (default 0.002)")
    train.add_argument("--targets", default="query,value", metavar="ROLES",
                       help="linears to adapt, comma-separated: query, key, value, attention_output, ffn_gate, ffn_up, "
                       "ffn_down (default query,value)")  # fmt: skip
    train.add_argument("--dtype", choices=("float32", "float16"), default="float16", help="of the files (float16)")
    train.add_argument("--json", action="store_true", help="print pool.json on stdout")
    train.set_defaults(run=run, kept=kept)

    inspect = actions.add_parser(
        "inspect",
        help="modules of a pool: task, rank, scale, size of the update",
        description="List the modules of a pool: task, rank, scale, size of the update.",
        examples=[looking, f"{looking} --json"],
    )
    inspect.add_argument("path", help="folder of a pool or of one adapter in peft format")
    inspect.add_argument("--json", action="store_true", help="print one JSON object")
    inspect.set_defaults(run=run)

    pool_merge.add_parser(actions)
    pool_fit.add_parser(actions)


def kept(args: argparse.Namespace) -> str:
    """What a stopped training leaves behind: the modules that it had finished."""
    out = expanded(args.out)
    found = len(list(out.glob("*/adapter_config.json"))) if out.is_dir() else 0
    return f"{found} finished module{'' if found == 1 else 's'} kept in {args.out}: the same command goes on from there"


def run(args: argparse.Namespace) -> int:
    """Run `pool train` or `pool inspect`; returns the exit code."""
    require("torch")
    return _train(args) if args.action == "train" else _inspect(args)


def _train(args: argparse.Namespace) -> int:
    from dataclasses import fields

    from ..reports.fitting import print_table
    from .progress import TerminalProgress
    from .stdout import kept_clear

    with kept_clear(), TerminalProgress("importing torch") as progress:
        from ..studies.pools import PoolConfig, train_pool

        given = {field.name: getattr(args, field.name) for field in fields(PoolConfig)}
        values = {name: value for name, value in given.items() if value is not None}
        values["tasks"] = tuple(task.strip() for task in args.tasks.split(",") if task.strip())
        progress.stage("loading model and tasks")
        record = train_pool(PoolConfig(**values), args.out, progress)
    if args.json:
        print(json_text(record, indent=2))
        return 0
    from rich.markup import escape
    from rich.table import Table

    from ..reports.console import console as terminal

    table = Table(title=escape(f"Pool for {record['base_model']} in {args.out}"))
    for header, justify in (("module", "left"), ("trained on", "right"), ("held-out accuracy", "right")):
        table.add_column(header, justify=justify)  # type: ignore[arg-type]
    for entry in record["modules"]:
        accuracy = f"{entry['held_out_accuracy']:.3f} of {entry['held_out_examples']}"
        table.add_row(escape(entry["name"]), f"{entry['train_examples']} examples", accuracy)
    console = terminal()
    print_table(console, table, listing=True)
    for message in record["messages"]:
        console.print(message, markup=False)
    return 0


def _inspect(args: argparse.Namespace) -> int:
    from ..reports.fitting import print_table
    from ..studies.pools import inspect_pool

    record = inspect_pool(args.path)
    if args.json:
        print(json_text(record, indent=2))
        return 0
    from rich.markup import escape
    from rich.table import Table

    from ..reports.console import console as terminal

    title = f"{args.path}: {len(record['modules'])} modules for {record['base_model']}, {record['weights']:,} weights"
    table = Table(title=escape(title))
    for header in ("module", "task", "rank", "scale", "norm of s B A", "held-out accuracy"):
        table.add_column(header, justify="left" if header in ("module", "task") else "right")
    for module in record["modules"]:
        accuracy = module["held_out_accuracy"]
        table.add_row(
            escape(module["name"]),
            escape(module["task"] or "unknown"),
            str(module["rank"]),
            f"{module['scale']:g}",
            f"{module['update_norm']:.2f}",
            "unknown" if accuracy is None else f"{accuracy:.3f}",
        )
    console = terminal()
    print_table(console, table, listing=True)
    for line in (*record["messages"], *([f"made by: {record['command']}"] if record["command"] else [])):
        console.print(line, markup=False)
    return 0
