"""`edge-adapt pool fit`: a pool fused for one task, as one adapter."""

import argparse
from typing import Any

from ..defaults import DEFAULT_SHOTS, DEFAULT_TEST_EXAMPLES
from ..display import shown
from ..errors import require
from ..inputs import json_text
from .on_device import add_data_options, reading_of

EXAMPLES = (
    "edge-adapt pool fit my-pool --task movie --shots 100 --out fitted",
    "edge-adapt pool fit my-pool --model my-model --task my.csv --no-magnitudes --out fitted",
)


def add_parser(actions: Any) -> None:
    """Describe the command."""
    fit = actions.add_parser(
        "fit",
        help="one adapter that peft loads, of a pool fused for a task",
        description="Train the fusion coefficients and magnitudes of LoRAFusion on a task, with exact weights, and "
        "write them with the pool as one adapter that peft loads: DoRA, or LoRA without magnitudes. Prints the "
        "accuracy before and after on test examples, and the merge error.",
        examples=EXAMPLES,
    )
    add = fit.add_argument
    add("pool", metavar="POOL", nargs="+", help="folder of a pool, or folders of adapters")
    add("--task", required=True, help="name of a task, a .csv/.jsonl file or a folder of images")
    add("--out", required=True, metavar="FOLDER", help="new folder for the adapter; replaces nothing")
    add("--model", default="minilm", help="minilm, bert-tiny, vit-s, a Hugging Face folder, or a hub id [minilm]")
    add("--shots", type=int, default=DEFAULT_SHOTS, metavar="N",
        help=f"labelled examples; all are trained on [{DEFAULT_SHOTS}]")  # fmt: skip
    add("--test-examples", type=int, default=DEFAULT_TEST_EXAMPLES, metavar="N",
        help=f"of the test split, which is not trained on [{DEFAULT_TEST_EXAMPLES}]")  # fmt: skip
    add("--max-tokens", type=int, default=64, metavar="N", help="per text [64]")
    add("--seed", type=int, default=0, metavar="N", help="of the draw of examples and of their order [0]")
    add("--no-cross-terms", action="store_true",
        help="sum whole updates: no B of one module times A of another; the rank is the sum of the ranks")  # fmt: skip
    add("--no-magnitudes", action="store_true", help="train coefficients alone, and write a plain LoRA")
    add_data_options(fit)
    add("--json", action="store_true", help="print fit.json on stdout")
    fit.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fit and say what came of it."""
    require("torch")
    from .progress import TerminalProgress
    from .stdout import kept_clear

    with kept_clear(), TerminalProgress("importing torch") as progress:
        from ..studies.pool_fit import FitConfig, fit_pool

        config = FitConfig(
            tuple(args.pool), args.task, args.model, args.shots, args.seed, args.test_examples, args.max_tokens,
            not args.no_cross_terms, not args.no_magnitudes, reading_of(args),
        )  # fmt: skip
        record = fit_pool(config, args.out, progress)
    if args.json:
        print(json_text(record, indent=2))
        return 0
    for line in _lines(record):
        print(shown(line))
    for message in record["messages"]:
        print(shown(message))
    modules = f"{len(record['modules'])} module{'' if len(record['modules']) == 1 else 's'}"
    print(shown(f"{args.out}: {record['format']} of rank {record['rank']} for {record['base_model']}, of {modules}"))
    return 0


def _lines(record: dict[str, Any]) -> list[str]:
    test = record["test"]
    rows = {
        "model alone": test["before"]["model"],
        "pool, fused evenly": test["before"]["pool"],
        "fitted": test["after"],
    }
    lines = [f"{record['task']}, {record['shots']} shots, {test['examples']} test examples"]
    for name, row in rows.items():
        if row["accuracy"] is None:
            lines.append(f"  {name}: {test['metric']} {row['score']:.3f}")
        else:
            other = "" if test["metric"] == "accuracy" else f", {test['metric']} {row['score']:.3f}"
            lines.append(f"  {name}: accuracy {row['accuracy']:.3f} +- {row['standard_error']:.3f}{other}")
    for name, gain in test["gain"].items():
        if gain["accuracy"] is not None:
            lines.append(f"  fitted minus {name}: {gain['accuracy']:+.3f} +- {gain['standard_error']:.3f}")
    what = {
        "written": "of what is written",
        "cross_terms": "of a merge without the cross terms",
        "magnitudes": "of a plain LoRA, without the magnitudes",
    }
    for kind, words in what.items():
        if (error := record["merge_error"][kind]) is not None:
            lines.append(
                f"merge error {words}: mean {error['mean']:.2g}, largest {error['largest']:.2g} ({error['largest_at']})"
            )
    return lines
