"""`edge-adapt simulate`: the main job. Adapts on a simulated chip and writes a report."""

import argparse
import shlex
from pathlib import Path
from typing import Any

from ..defaults import DEFAULT_METHODS, DEFAULT_READAPT, DEFAULT_SHOTS, DEFAULT_TEST_EXAMPLES
from .on_device import DATA_OPTIONS, add_data_options

_WRITING_SECONDS = 2.0  # of the report, figures included

DEFAULT_OUT = Path("edge-adapt-report")


def add_parser(subparsers: Any) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "simulate",
        help="adapt on a simulated chip and report accuracy, energy, time and wear",
        description="Adapt a frozen Transformer on a simulated crossbar chip by several methods; "
        "write report.json and report.html.",
        examples=[
            "edge-adapt simulate --device reram",
            "edge-adapt simulate --device pcm --task tweets --method lora lorafusion --shots 32",
            "edge-adapt simulate --device my-chip.yaml --task reviews.csv --set chip.adc.bits=6 --out my-report",
        ],
    )
    _add_inputs(parser)
    _add_work(parser)
    add = parser.add_argument
    add("--config", metavar="FILE", type=Path, help="YAML file with the same options; the command line wins")
    add("--jobs", metavar="N", type=int, help="processes that share the work; results do not depend on it [all cores]")
    add(
        "--out", metavar="DIR", type=Path, help=f"folder of the report; replaces a report that is there [{DEFAULT_OUT}]"
    )
    add("--json", action="store_true", help="print the report object on stdout instead of the summary")
    parser.set_defaults(run=run, kept=kept)


def _add_inputs(parser: Any) -> None:
    """What is adapted, on what, to which examples."""
    add = parser.add_argument
    add("--device", metavar="NAME|FILE", help="chip: a shipped one (edge-adapt devices list) or your YAML file [reram]")
    add("--model", metavar="NAME|DIR|ID", help="minilm, bert-tiny, vit-s, a Hugging Face folder, or a hub id [minilm]")
    add(
        "--task",
        metavar="NAME|FILE",
        help="a shipped task (movie, tweets, fashion-mnist, ...), your CSV/JSONL with text and label, or your folder "
        "with a folder of images for each class [movie]",
    )
    add_data_options(parser)
    add("--pool", metavar="DIR", help="LoRA pool: a folder of peft adapters [the shipped pool of the model]")
    add(
        "--method",
        metavar="NAME[:PLACEMENT]",
        action="append",
        nargs="+",
        help=f"methods to compare, or all; repeatable [{' '.join(DEFAULT_METHODS)}]",
    )
    add(
        "--shots",
        metavar="N",
        type=int,
        nargs="+",
        help=f"labelled examples, a fifth of them for validation; several make several runs [{DEFAULT_SHOTS}]",
    )
    add("--seeds", metavar="N", type=int,
        help="runs: each with a draw of the examples, a training, test examples and a chip of its own [2]")  # fmt: skip
    add("--chip-seed", metavar="N", type=int, help="which chips: variation, faults, programming; see --chips [0]")
    add("--chips", choices=("each-run", "one"),
        help="each-run: run n is on chip number chip-seed + n; one: all runs are on chip number chip-seed "
        "[each-run]")  # fmt: skip
    add("--first-seed", metavar="N", type=int, help="number of the first seed [0]")
    add("--test-examples", metavar="N", type=int,
        help=f"examples to measure accuracy on, in each run [{DEFAULT_TEST_EXAMPLES}]")  # fmt: skip


def _add_work(parser: Any) -> None:
    """What is done with it, and how."""
    add = parser.add_argument
    add("--ages", metavar="AGE", nargs="+",
        help="when the chip is tested again after programming, and adapted again at the last age: 1h 1d 30d "
        "[30d]")  # fmt: skip
    add("--check-pool", metavar="K", type=int,
        help="say whether the pool fits by K-fold cross-validation over all shots, for K times the training with "
        "exact weights [0: by the fifth that is held back]")  # fmt: skip
    add("--max-tokens", metavar="N", type=int, help="longer texts are cut [64]")
    add(
        "--image-size",
        metavar="N",
        type=int,
        help="pixels on a side of the images that a vision model is given [its own]",
    )
    add("--readapt", metavar="NAME", nargs="+",
        help=f"methods that adapt again at the last age; or all, or none [of the default methods "
        f"{' '.join(DEFAULT_READAPT)}, else all]")  # fmt: skip
    add(
        "--readapt-share",
        metavar="X",
        type=float,
        help="epochs of the second adaptation, as a share of the first [0.5]",
    )
    add("--fidelity", choices=("fast", "bitserial", "ideal", "count"),
        help="fast: all effects; bitserial: and each input digit read and converted on its own, slower; "
        "ideal: none, costs only; count: from the model's shapes alone [fast]")  # fmt: skip
    add("--trainer", choices=("torch", "onnxruntime"),
        help="who trains with exact weights; onnxruntime: in an exported bundle, as a device does [torch]")  # fmt: skip
    add("--set", dest="settings", metavar="KEY=VALUE", action="append", default=[],
        help="one setting: chip.adc.bits=6, lorafusion.cross_terms=off, lora.recipe.epochs=4, "
        "lorafusion.recipe.optimiser=mezo; repeatable")  # fmt: skip


def kept(args: argparse.Namespace) -> str:
    """What a stopped run leaves behind."""
    out = args.out or DEFAULT_OUT
    return f"nothing of it was kept{f'; {out} is as it was' if out.exists() else ''}"


def run(args: argparse.Namespace) -> int:
    """Simulate, write the report, print it."""
    from ..errors import UsageError, require
    from ..options_file import one_value
    from ..studies.config import SimulateConfig, parse_settings, read_config

    options = read_config(args.config) if args.config else {}
    if (args.fidelity or options.get("fidelity")) == "count":
        from .count import run_as_simulation

        return run_as_simulation(args, options)
    for module in ("torch", "numba", "transformers", "rich", "jinja2", "matplotlib", "pint"):
        require(module)
    from ..reports import check_destination, print_summary, write_report
    from .progress import TerminalProgress

    out = args.out or options.pop("out", None) or DEFAULT_OUT
    options.pop("out", None)
    for name in ("device", "model", "task", "pool", "seeds", "first_seed", "chip_seed", "chips", "test_examples",
                 "max_tokens", "check_pool", "image_size", "readapt_share", "fidelity", "trainer",
                 *DATA_OPTIONS):  # fmt: skip
        if getattr(args, name) is not None:
            options[name] = getattr(args, name)
    if args.method is not None:
        options["method"] = tuple(part for group in args.method for item in group for part in item.split(",") if part)
    if args.shots is not None:
        options["shots"] = tuple(args.shots)
    if args.readapt is not None:
        options["readapt"] = tuple(part for item in args.readapt for part in item.split(",") if part)
    if args.ages is not None:
        options["ages"] = tuple(part for item in args.ages for part in item.split(",") if part)
    options["settings"] = one_value(options.get("settings", ()), parse_settings(args.settings))
    jobs = options.pop("jobs", None) if args.jobs is None else args.jobs
    options.pop("jobs", None)
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs must be a whole number, 1 or more; got {jobs}")
    config = SimulateConfig(**options)
    check_destination(out)
    from .stdout import kept_clear

    with kept_clear(), TerminalProgress("importing torch", afterwards=_WRITING_SECONDS) as progress:
        if (out / "report.json").exists():
            progress.say_at_start(f"the report in {out} will be replaced when the new one is ready")
        from ..studies.crew import default_jobs
        from ..studies.simulate import simulate

        report = simulate(config, progress, shlex.join(["edge-adapt", *args.words]), jobs or default_jobs())
        progress.say_held()
        progress.stage("writing the report")
        paths = write_report(report, out)
    if args.json:
        print(paths.json.read_text(encoding="utf-8"), end="")
    else:
        from ..reports.console import console as terminal

        print_summary(report, terminal(), paths)
    return 0
