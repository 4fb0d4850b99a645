"""`edge-adapt methods`: what the adaptation methods are and how many numbers each trains."""

import argparse
from typing import Any

from ..errors import require
from ..inputs import json_text
from .stdout import kept_clear


def add_parser(subparsers: Any) -> None:
    """Add `methods list` and `methods count`."""
    counting = "edge-adapt methods count --model minilm --method lorafusion"
    parser = subparsers.add_parser(
        "methods",
        help="list the adaptation methods, count what they train",
        description="List the adaptation methods, or count what one trains.",
        examples=["edge-adapt methods list", counting],
    )
    actions = parser.add_subparsers(title="commands", dest="action", metavar="COMMAND")

    listing = actions.add_parser(
        "list",
        help="name, what is trained, where it lives, how far the gradient travels",
        description="List the methods: name, what is trained, where it lives, how far the gradient travels.",
        examples=["edge-adapt methods list", "edge-adapt methods list --json"],
    )
    listing.add_argument("--json", action="store_true", help="print one JSON object")
    listing.set_defaults(run=run)

    count = actions.add_parser(
        "count",
        help="trained numbers of a method on a model, from shapes alone",
        description="Count the trained numbers of a method on a model, from shapes alone.",
        examples=[counting, "edge-adapt methods count --model llama-3-8b --method lora --rank 8 --json"],
    )
    count.add_argument("--model", required=True, metavar="NAME|FILE|DIR",
                       help="a shape, e.g. minilm, flan-t5-large, or a Hugging Face model folder")  # fmt: skip
    count.add_argument("--method", required=True, help="name of a method, see: methods list")
    count.add_argument(
        "--rank", type=_positive, help="rank of the method, or of each pool module (default: its own, 16)"
    )
    count.add_argument("--pool-size", type=_positive, default=6, help="LoRA modules in the pool (default 6)")
    count.add_argument(
        "--special-tokens", type=_positive, help="special tokens of one example, for pasta (2; pairs 3, in RoBERTa 4)"
    )
    count.add_argument("--prompts", type=_positive, help="prompt tokens, for the methods that add some")
    count.add_argument("--json", action="store_true", help="print one JSON object")
    count.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run `methods list` or `methods count`; returns the exit code."""
    require("torch")
    return _list(args) if args.action == "list" else _count(args)


def describe_methods() -> list[dict[str, Any]]:
    """One JSON-able record per registered method, family by family."""
    from ..methods import METHODS
    from ..methods.spec import FAMILIES

    families = list(FAMILIES)

    return [
        {
            "name": method.name,
            "title": method.title,
            "family": method.family,
            "summary": method.summary,
            "placements": [str(placement) for placement in method.placements],
            "backward_need": str(method.gradient),
            "needs_pool": method.needs_pool,
            "trains": bool(method.recipe.learning_rates),
            "recipe_search": method.searched or None,
            "source": method.source,
        }
        for method in sorted(METHODS.values(), key=lambda method: (families.index(method.family), method.name))
    ]


def count_parameters(
    model: str, method: str, rank: int | None = None, pool_size: int = 6, **options: int
) -> dict[str, Any]:
    """The JSON object of `methods count`: the method's count, and LoRA's of the same rank to compare with.

    `rank`: default the method's own, 16 for one without. `options` of the method replace its own.
    """
    from ..methods import get_method
    from ..workloads.named_shapes import load_shape

    chosen = get_method(method, **options)
    shape = load_shape(model)
    rank = getattr(chosen, "rank", 16) if rank is None else rank
    count, lora = chosen.count(shape, rank=rank, pool_size=pool_size), get_method("lora").count(shape, rank=rank)
    return {
        "model": model,
        "method": method,
        "rank": rank,
        **({"pool_size": pool_size} if chosen.needs_pool else {}),
        **options,
        "trained_parameters": count.trained_parameters,
        "breakdown": dict(count.trained),
        "weights_in_cells_frozen": count.cells_frozen,
        "weights_in_cells_rewritten": count.cells_trained,
        "lora_trained_parameters": lora.trained_parameters,
        "share_of_lora": count.trained_parameters / lora.trained_parameters,
    }


def _list(args: argparse.Namespace) -> int:
    from ..methods.spec import FAMILIES
    from ..reports.fitting import print_table

    records = describe_methods()
    if args.json:
        print(json_text({"methods": records}, indent=2))
        return 0
    from rich.table import Table

    from ..reports.console import console as terminal

    console = terminal()
    table = Table(title="Adaptation methods", show_lines=True)
    for header in ("method", "what is trained", "placements", "gradient"):
        table.add_column(header, no_wrap=header != "what is trained")
    for record in records:
        found = "" if record["recipe_search"] or not record["trains"] else " Its recipe was not searched for."
        what = f"{record['summary']}.{found}\n[dim]{FAMILIES[record['family']]}; {record['source']}[/dim]"
        table.add_row(record["name"], what, "\n".join(record["placements"]), record["backward_need"])
    if not console.is_terminal:
        table.title = None
    print_table(console, table, listing=True)
    return 0


def _count(args: argparse.Namespace) -> int:
    from ..reports.fitting import print_table

    given = {"special_tokens": args.special_tokens, "prompts": args.prompts}
    options = {name: value for name, value in given.items() if value is not None}
    with kept_clear():
        record = count_parameters(args.model, args.method, args.rank, args.pool_size, **options)
    if args.json:
        print(json_text(record, indent=2))
        return 0
    from rich.table import Table

    from ..reports.console import console as terminal

    table = Table(title=f"{args.method} on {args.model}, without the classifier head")
    table.add_column("trained")
    table.add_column("numbers", justify="right")
    for kind, number in record["breakdown"].items():
        table.add_row(kind, f"{number:,}")
    table.add_row("[bold]together[/bold]", f"[bold]{record['trained_parameters']:,}[/bold]")
    table.add_row(f"LoRA of rank {record['rank']}", f"{record['lora_trained_parameters']:,}")
    table.add_row("share of LoRA's", f"{record['share_of_lora']:.2%}")
    if record["weights_in_cells_frozen"]:
        beside = f"pool of {args.pool_size}" if "pool_size" in record else "matrices beside the model's"
        table.add_row(f"{beside}, in cells, programmed once", f"{record['weights_in_cells_frozen']:,}")
    if record["weights_in_cells_rewritten"]:
        table.add_row("weights in cells that training rewrites", f"{record['weights_in_cells_rewritten']:,}")
    print_table(terminal(), table)
    return 0


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 1; got {text!r}")
    return int(text)
