"""`edge-adapt export`: write a bundle that trains on a device with onnxruntime alone."""

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..defaults import DEFAULT_EXPORT
from ..display import shown
from ..inputs import json_text
from .on_device import add_data_options, reading_of

if TYPE_CHECKING:
    from ..exporters.config import ExportConfig
    from ..methods.spec import Method
    from .progress import TerminalProgress

DEFAULT_OUT = Path("bundle")

_UNITS = {"": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "y": 365.25 * 86400.0}


def add_parser(subparsers: Any) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "export",
        help="write a bundle that trains on a device with onnxruntime alone",
        description="Write a folder with training graph, inference graph, weights, tokenizer and state. "
        "edge-adapt train, predict and state use it, without torch.",
        examples=[
            "edge-adapt export --out bundle",
            "edge-adapt export --method lora --task reviews.csv --weights int8 --out bundle",
            "edge-adapt export --chip reram --age 30d --out bundle --force",
        ],
    )
    add = parser.add_argument
    add("--model", metavar="NAME|DIR|ID", default="minilm",
        help="minilm, bert-tiny, vit-s, a Hugging Face folder, or a hub id [minilm]")  # fmt: skip
    add("--method", metavar="NAME", default=DEFAULT_EXPORT,
        help=f"method whose state is held digitally [{DEFAULT_EXPORT}]")  # fmt: skip
    add("--task", metavar="NAME|FILE", default="movie",
        help="the labels, and examples to check the bundle with: a shipped task, your CSV/JSONL, or a folder "
             "of images [movie]")  # fmt: skip
    add_data_options(parser)
    add("--pool", metavar="DIR", help="LoRA pool: a folder of peft adapters [the shipped pool of the model]")
    add("--reserve-classes", metavar="N", type=int, default=0, help="room for classes taught on the device later [0]")
    add("--image-size", metavar="N", type=int, help="side of the images in pixels [that of the model]")
    add("--max-tokens", metavar="N", type=int, default=64, help="longer texts are cut [64]")
    add("--weights", choices=("float32", "int8", "int4"), default="float32",
        help="how frozen weights are stored; int8: a quarter of the size; int4: a sixth, and less memory in use, but "
             "less exact [float32]")  # fmt: skip
    add("--chip", metavar="FILE|NAME",
        help="export the weights that the cells of this simulated chip hold (edge-adapt devices list)")  # fmt: skip
    add(
        "--age", metavar="TIME", type=seconds, default=0.0, help="time since the chip was programmed: 90s, 12h, 30d [0]"
    )
    add("--seed", metavar="N", type=int, default=0, help="of the initial state and of the chip [0]")
    add("--set", dest="settings", metavar="KEY=VALUE", action="append", default=[],
        help="one setting: lorafusion.cross_terms=off, lora.recipe.epochs=4; repeatable")  # fmt: skip
    add(
        "--out",
        metavar="DIR",
        type=Path,
        default=DEFAULT_OUT,
        help=f"folder of the bundle; replaced with --force only [{DEFAULT_OUT}]",
    )
    add("--force", action="store_true", help="replace a bundle that is there, with its trained state")
    add("--json", action="store_true", help="print one JSON object: files, sizes, parity")
    parser.set_defaults(run=run)


def seconds(text: str) -> float:
    """Seconds in words such as 90s, 12h or 30d."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*", text)
    if found is None or found[2] not in _UNITS:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write it as 90s, 10min, 12h, 30d or 1y")
    return float(found[1]) * _UNITS[found[2]]


def run(args: argparse.Namespace) -> int:
    """Export and say what was written."""
    from ..errors import require

    for module in ("torch", "transformers", "onnx", "onnxscript", "rich"):
        require(module)
    from ..exporters.config import check_names
    from .progress import TerminalProgress
    from .stdout import kept_clear

    config = _config(args)
    check_names(config)
    with kept_clear(), TerminalProgress("reading the task") as progress:
        record = _export(config, args, progress)
    print(json_text(record, indent=2) if args.json else _summary(record))
    return 0


def _config(args: argparse.Namespace, images: bool = False) -> "ExportConfig":
    """What the options ask for; methods have other recipes for `images`. Raises `UsageError` for what cannot be."""
    from ..exporters.config import ExportConfig
    from ..options_file import one_value
    from ..studies.config import parse_settings

    settings = dict(one_value((), parse_settings(args.settings)))
    of_chip = {key: value for key, value in settings.items() if key.startswith("chip.")}
    of_method = {key: settings[key] for key in settings.keys() - of_chip.keys()}
    return ExportConfig(
        method=_method(args.method, of_method, images),
        model=args.model,
        task=args.task,
        pool=args.pool,
        reserved_classes=args.reserve_classes,
        max_tokens=args.max_tokens,
        seed=args.seed,
        weights=args.weights,
        chip=args.chip,
        age_seconds=args.age,
        chip_settings=of_chip,
        image_size=args.image_size,
        reading=reading_of(args),
    )


def _export(config: "ExportConfig", args: argparse.Namespace, progress: "TerminalProgress") -> dict[str, Any]:
    """The record of what was written. All that the options say is looked at before torch is imported."""
    from ..exporters.config import check_model, read_task, require_place

    task = read_task(config)
    if task.kind == "image":
        config = _config(args, images=True)
    check_model(config)
    require_place(args.out, args.force)
    progress.stage("importing torch and onnx")
    from ..exporters.bundle import export_bundle

    return export_bundle(config, args.out, progress, args.force, task)


def _method(given: str, settings: Mapping[str, str], images: bool) -> "Method":
    """The one method that is exported. Raises `UsageError` for `all`, and for a placement in cells of a method that
    has another: what the bundle trains would not be what was asked for.
    """
    from ..errors import UsageError
    from ..methods import Placement
    from ..studies.variants import choose_variants

    if given == "all":
        raise UsageError("a bundle holds one method; --method all names many: give --out and one name for each")
    variants = choose_variants((given,), settings, images=images)
    method = variants[0].method
    asked = {variant.placement for variant in variants}
    if Placement.DIGITAL in method.placements and Placement.DIGITAL not in asked:
        raise UsageError(
            f"{given} trains matrices that sit in cells; a bundle trains a state that is held digitally: take "
            f"{method.name}:{Placement.DIGITAL}"
        )
    return method


def _summary(record: dict[str, Any]) -> str:
    parity, source = record["parity"], record["weights"]["source"]
    chip = "" if source == "exact" else (
        f"weights of a simulated {source['chip']}, seed {source['seed']}, {source['age_seconds'] / 3600:g} h after "
        f"programming: {100 * source['relative_error']:.1f} % from the exact ones\n"
    )  # fmt: skip
    held = record["weights"]
    rounded = "" if held["dtype"] != "int4" else (
        f"{held['int4_numbers']:,} frozen numbers in 4 bits, {held['float32_numbers']:,} in float32\n"
    )  # fmt: skip
    return (
        f"{record['out']}: {record['method']} on {record['model']} for {record['task']} "
        f"({', '.join(record['labels'])}), {record['trained_numbers']:,} trained numbers, "
        f"{record['bytes'] / 1e6:.1f} MB\n{chip}{rounded}"
        f"agrees with torch on {len(parity['batches'])} batches: loss {parity['loss']:.1e}, "
        f"logits {parity['logits']:.1e}, gradients {parity['gradient']:.1e} "
        f"(relative; allowed {parity['tolerance']:.0e}){_beyond(parity['by_float64'])}"
        + "".join(f"\n{shown(message)}" for message in record["messages"])
    )


def _beyond(values: list[dict[str, Any]]) -> str:
    """What is said of values that torch's float64 decided about."""
    if not values:
        return ""
    worst = max(values, key=lambda value: value["graph_from_torch"])
    return (
        f"\nbeyond that: {worst['value']}{f' and {len(values) - 1} more' if len(values) > 1 else ''}, "
        f"{worst['graph_from_torch']:.1e} from torch; from torch's float64 {worst['graph_from_float64']:.1e}, torch's "
        f"own float32 {worst['torch_from_float64']:.1e}"
    )
