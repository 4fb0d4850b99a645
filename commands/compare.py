"""`edge-adapt compare`: every method on every device and task, as one table, one page and the words that follow."""

import argparse
import shlex
from pathlib import Path
from typing import Any

from ..defaults import DEFAULT_SHOTS, DEFAULT_TEST_EXAMPLES
from .on_device import DATA_OPTIONS, add_data_options

DEFAULT_OUT = Path("edge-adapt-compare")
_OPTIONS = ("model", "pool", "seeds", "first_seed", "chip_seed", "test_examples", "max_tokens", "image_size",
            "readapt_share", "fidelity", *DATA_OPTIONS)  # fmt: skip


def add_parser(subparsers: Any) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "compare",
        help="compare methods on several devices and tasks: one table, one page, resumable",
        description="Simulate every method on every device and task; write compare.json and compare.html. A finished "
        "simulation is kept in DIR/cells and used again while its options and the contents of all its inputs stay the "
        "same, so that a stopped run goes on where it was.",
        examples=[
            "edge-adapt compare --devices reram,pcm --tasks movie",
            "edge-adapt compare --devices reram my-chip.yaml --methods lora,lorafusion --seeds 1 --out my-table",
        ],
    )
    add = parser.add_argument
    names = {"action": "append", "nargs": "+"}
    add("--methods", metavar="NAME[:PLACEMENT]", help="methods, joined by commas or one by one [all]", **names)
    add("--devices", metavar="NAME|FILE", help="chips, shipped ones or your YAML files [reram,pcm,fefet,sram]", **names)
    add(
        "--tasks",
        metavar="NAME|FILE",
        help="shipped tasks, your CSV/JSONL files, or folders of images [movie]",
        **names,
    )
    add_data_options(parser)
    add("--seeds", metavar="N", type=int, help="runs: draws of the examples, of training and of read noise [3]")
    add("--shots", metavar="N", type=int, help=f"labelled examples, a fifth of them for validation [{DEFAULT_SHOTS}]")
    add("--model", metavar="NAME|DIR|ID", help="minilm, bert-tiny, a Hugging Face folder, or a hub id [minilm]")
    add("--pool", metavar="DIR", help="LoRA pool: a folder of peft adapters [the shipped pool of the model]")
    add("--first-seed", metavar="N", type=int, help="number of the first seed [0]")
    add("--chip-seed", metavar="N", type=int, help="which chips: variation, faults, programming [0]")
    add("--test-examples", metavar="N", type=int, help=f"examples to measure accuracy on [{DEFAULT_TEST_EXAMPLES}]")
    add("--max-tokens", metavar="N", type=int, help="longer texts are cut [64]")
    add("--image-size", metavar="N", type=int, help="pixels on a side of the images that a vision model is given")
    add("--readapt", metavar="NAME", nargs="+", help="methods that adapt again at the last age; or all, or none [all]")
    add("--readapt-share", metavar="X", type=float,
        help="epochs of the second adaptation, as a share of the first [0.5]")  # fmt: skip
    add("--fidelity", choices=("fast", "bitserial", "ideal"),
        help="fast: all effects; bitserial: and each input digit by itself; ideal: none [fast]")  # fmt: skip
    add("--set", dest="settings", metavar="KEY=VALUE", action="append", default=[],
        help="one setting, for every simulation: chip.adc.bits=6, lora.recipe.epochs=4; repeatable")  # fmt: skip
    add("--config", metavar="FILE", type=Path, help="YAML file with the same options; the command line wins")
    add("--jobs", metavar="N", type=int, help="processes that share the work; results do not depend on it [all cores]")
    add("--out", metavar="DIR", type=Path,
        help=f"folder of the comparison; replaces a page that is there, keeps simulations [{DEFAULT_OUT}]")  # fmt: skip
    add("--json", action="store_true", help="print the comparison object on stdout instead of the summary")
    parser.set_defaults(run=run, kept=kept)


def kept(args: argparse.Namespace) -> str:
    """What a stopped run leaves behind: the simulations that it had finished."""
    cells = getattr(args, "cells", None)
    found = len(list(cells.glob("*.json"))) if cells is not None else 0
    if not found:
        return "no simulation was finished, and nothing was kept"
    return (
        f"{found} finished simulation{'' if found == 1 else 's'} kept in {cells}: the same command goes on from there"
    )


def run(args: argparse.Namespace) -> int:
    """Compare, write the page, print what follows; 1 when every simulation failed or the run was stopped."""
    from ..errors import UsageError, require

    for module in ("torch", "numba", "transformers", "rich", "jinja2", "matplotlib", "pint"):
        require(module)
    from ..reports.compare import check_folder, print_comparison, with_findings, write_comparison
    from ..studies.compare_config import CompareConfig

    options = _options(args)
    out, jobs = options.pop("out", DEFAULT_OUT), options.pop("jobs", None)
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs must be a whole number, 1 or more; got {jobs}")
    config = CompareConfig.of(options)
    check_folder(out)
    args.cells = out / "cells"
    from .progress import TerminalProgress
    from .stdout import kept_clear

    command = shlex.join(["edge-adapt", *args.words])
    with kept_clear(), TerminalProgress("importing torch") as progress:
        if (out / "compare.json").exists():
            progress.say_at_start(
                f"the comparison in {out} will be replaced when the new one is ready; its finished simulations stay"
            )
        from ..studies.compare import compare
        from ..studies.crew import default_jobs

        comparison = with_findings(compare(config, out, progress, command, jobs or default_jobs()))
        progress.say_held()
        progress.stage("drawing and writing the page")
        paths = write_comparison(comparison, out)
    if args.json:
        print(paths.json.read_text(encoding="utf-8"), end="")
    else:
        from ..reports.console import console as terminal

        print_comparison(comparison, terminal(), paths)
    return 0 if comparison["results"] else 1


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """The options of the config file and of the command line, which wins."""
    from ..options_file import one_value
    from ..studies.compare_config import LISTS, read_compare_config, split_names
    from ..studies.config import parse_settings

    options = read_compare_config(args.config) if args.config else {}
    for name in (*_OPTIONS, "out", "jobs"):
        if getattr(args, name) is not None:
            options[name] = getattr(args, name)
    for name in LISTS:
        if (given := getattr(args, name)) is not None:
            options[name] = split_names([item for group in given for item in group])
    if args.shots is not None:
        options["shots"] = (args.shots,)
    if args.readapt is not None:
        options["readapt"] = split_names(args.readapt)
    options["settings"] = one_value(options.get("settings", ()), parse_settings(args.settings))
    return options
