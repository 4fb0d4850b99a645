"""`edge-adapt pool merge`: the modules of a pool as one adapter."""

import argparse
from typing import Any

from ..display import shown
from ..errors import require
from ..inputs import json_text
from ..merge_ways import DEFAULT_GAMMA, WAYS

EXAMPLES = (
    "edge-adapt pool merge my-pool --out merged",
    "edge-adapt pool merge my-pool/tweets my-pool/amazon --out merged --how slerp --weights 0.3,0.7",
    "edge-adapt pool merge my-pool --out merged --how ties-svd --rank 32 --model minilm --lines 0.5 0.5",
)


def add_parser(actions: Any) -> None:
    """Describe the command."""
    of_updates = "; ".join(f"{way.name}: {way.summary}" for way in WAYS.values() if way.of == "updates")
    of_factors = ", ".join(way.name for way in WAYS.values() if way.of == "factors")
    merge = actions.add_parser(
        "merge",
        help="the modules of a pool as one adapter that peft loads",
        description="Merge the modules of a pool into one adapter that peft loads, and print the merge error: how far "
        f"the written adapter is from what the way means. Ways that merge whole updates B A: {of_updates}. Ways that "
        f"merge the factors A and B, whose product then has cross terms: {of_factors}.",
        examples=EXAMPLES,
    )
    add = merge.add_argument
    add("pool", metavar="POOL", nargs="+", help="folder of a pool, or folders of adapters")
    add("--out", required=True, metavar="FOLDER", help="new folder for the adapter; replaces nothing")
    add("--how", choices=tuple(WAYS), default="task-arithmetic", metavar="WAY",
        help="way to merge, by the names of peft and mergekit [task-arithmetic]")  # fmt: skip
    add("--weights", type=numbers, default=(), metavar="W,W,...",
        help="one for each module, in the order of `pool inspect`; --weights=-1,2 where the first is below 0 "
        "[even: 1/modules, or 1 with the ways of TIES]")  # fmt: skip
    add("--density", type=float, metavar="SHARE", help="share of the numbers that is kept "
        f"[{', '.join(f'{way.name} {way.density:g}' for way in WAYS.values() if way.density < 1)}]")  # fmt: skip
    add("--gamma", type=float, metavar="SHARE",
        help=f"breadcrumbs: share of the largest numbers that is left out [{DEFAULT_GAMMA:g}]")  # fmt: skip
    add("--rank", type=int, metavar="R", help="of the merged adapter [that of the largest module; of "
        "task-arithmetic and slerp as large as is needed]")  # fmt: skip
    add("--seed", type=int, metavar="N", help="of the numbers that DARE drops [0]")
    add("--model", metavar="MODEL", help="minilm, bert-tiny, vit-s, a Hugging Face folder, or a hub id: match the "
        "adapters to its linears [take them as they are]")  # fmt: skip
    add("--lines", nargs=2, type=float, metavar=("ALPHA", "BETA"),
        help="LiNeS: scale the merged update of block l of L by ALPHA + BETA l/(L-1); needs --model")  # fmt: skip
    add("--json", action="store_true", help="print merge.json on stdout")
    merge.set_defaults(run=run)


def numbers(text: str) -> tuple[float, ...]:
    """Numbers with commas between them."""
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        why = f"{text!r} are no numbers with commas between, such as 0.5,0.25,0.25"
        raise argparse.ArgumentTypeError(why) from None


def run(args: argparse.Namespace) -> int:
    """Merge and say what came of it."""
    from .progress import TerminalProgress
    from .stdout import kept_clear

    if args.model is not None:
        require("torch")
    with kept_clear(), TerminalProgress("loading the pool") as progress:
        from ..studies.pool_merge import MergeConfig, merge_pool

        config = MergeConfig(
            tuple(args.pool), args.how, args.weights, args.density, args.gamma, args.rank, args.seed,
            None if args.lines is None else tuple(args.lines), args.model,
        )  # fmt: skip
        record = merge_pool(config, args.out, progress)
    if args.json:
        print(json_text(record, indent=2))
        return 0
    for module in record["modules"]:
        print(shown(f"{module['name']}: weight {module['weight']:.4g}, rank {module['rank']}"))
    error = record["merge_error"]
    print(shown(
        f"merge error, by matrix: mean {error['mean']:.2g}, largest {error['largest']:.2g} ({error['largest_at']})"
    ))  # fmt: skip
    for message in record["messages"]:
        print(shown(message))
    print(shown(f"{args.out}: one adapter of rank {record['rank']} for {record['base_model']}, by {record['how']}"))
    return 0
