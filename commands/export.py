"""`edge-adapt export`: write a bundle that trains on a device with onnxruntime alone."""

import argparse
import json
from pathlib import Path
from typing import Any

DEFAULT_OUT = Path("bundle")


def add_parser(subparsers: Any) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "export",
        help="write a bundle that trains on a device with onnxruntime alone",
        description="Write a folder with training graph, inference graph, weights, tokenizer and state. "
        "edge-adapt train, predict and state use it, without torch.",
    )
    add = parser.add_argument
    add("--model", metavar="NAME|DIR|ID", default="minilm",
        help="minilm, bert-tiny, a Hugging Face folder, or a hub id [minilm]")  # fmt: skip
    add("--method", metavar="NAME", default="lorafusion", help="method whose state is held digitally [lorafusion]")
    add("--task", metavar="NAME|FILE", default="movie",
        help="the labels, and texts to check the bundle with: a shipped task, or your CSV/JSONL [movie]")  # fmt: skip
    add("--pool", metavar="DIR", help="LoRA pool: a folder of peft adapters [the shipped pool of the model]")
    add("--reserve-classes", metavar="N", type=int, default=0, help="room for classes taught on the device later [0]")
    add("--max-tokens", metavar="N", type=int, default=64, help="longer texts are cut [64]")
    add("--seed", metavar="N", type=int, default=0, help="of the initial state and of the chip [0]")
    add("--set", dest="settings", metavar="KEY=VALUE", action="append", default=[],
        help="one setting: lorafusion.cross_terms=off, lora.recipe.epochs=4; repeatable")  # fmt: skip
    add("--out", metavar="DIR", type=Path, default=DEFAULT_OUT, help=f"folder of the bundle [{DEFAULT_OUT}]")
    add("--force", action="store_true", help="replace a bundle that is there, with its trained state")
    add("--json", action="store_true", help="print one JSON object: files, sizes, parity")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Export and say what was written."""
    from ..errors import require

    for module in ("torch", "transformers", "onnx", "onnxscript", "rich"):
        require(module)
    from ..exporters.bundle import ExportConfig, export_bundle
    from ..studies.config import parse_settings
    from ..studies.workbench import choose_variants
    from .progress import TerminalProgress

    variants = choose_variants((args.method,), dict(parse_settings(args.settings)))
    config = ExportConfig(
        method=variants[0].method,
        model=args.model,
        task=args.task,
        pool=args.pool,
        reserved_classes=args.reserve_classes,
        max_tokens=args.max_tokens,
        seed=args.seed,
    )
    with TerminalProgress() as progress:
        record = export_bundle(config, args.out, progress, args.force)
    print(json.dumps(record, indent=2) if args.json else _summary(record))
    return 0


def _summary(record: dict[str, Any]) -> str:
    parity = record["parity"]
    return (
        f"{record['out']}: {record['method']} on {record['model']} for {record['task']} "
        f"({', '.join(record['labels'])}), {record['trained_numbers']:,} trained numbers, "
        f"{record['bytes'] / 1e6:.1f} MB\n"
        f"agrees with torch on {len(parity['batches'])} batches: loss {parity['loss']:.1e}, "
        f"logits {parity['logits']:.1e}, gradients {parity['gradient']:.1e} "
        f"(relative; allowed {parity['tolerance']:.0e})"
    )
