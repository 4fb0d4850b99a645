"""`edge-adapt plan`: how much memory training a bundle will need."""

import argparse
from pathlib import Path
from typing import Any

from ..inputs import json_text
from .on_device import byte_count


def add_parser(subparsers: Any) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "plan",
        help="memory that training a bundle needs, before it runs",
        description="Predict the peak resident memory of training a bundle, or measure it in a process of its own.",
        examples=[
            "edge-adapt plan bundle",
            "edge-adapt plan bundle --batch 8 --memory-budget 300MB",
        ],
    )
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="folder that `edge-adapt export` wrote")
    add = parser.add_argument
    add("--batch", metavar="N", type=int, help="examples computed at a time [the bundle's recipe]")
    add("--seq", metavar="N", type=int, help="tokens of the longest one [the most the bundle takes]")
    add("--memory-budget", metavar="SIZE", type=byte_count, help="say into how many parts a batch must be cut")
    add("--measure", action="store_true", help="also run three steps in a process of its own and look")
    add("--threads", metavar="N", type=int, default=1, help="threads while measuring [1]")
    add("--json", action="store_true", help="print a JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Predict, and measure if asked."""
    from ..errors import UsageError
    from ..runtime.manifest import read_manifest
    from ..runtime.memory import MemoryModel, base_bytes, measured

    manifest = read_manifest(args.bundle)
    longest = manifest.images.tokens if manifest.images else manifest.tokenizer.max_tokens if manifest.tokenizer else 1
    shortest = longest if manifest.images else 1
    batch = manifest.recipe.batch_size if args.batch is None else args.batch
    tokens = longest if args.seq is None else args.seq
    if batch < 1 or not shortest <= tokens <= longest:
        allowed = f"{longest}, of an image" if manifest.images else f"1..{longest}"
        raise UsageError(f"--batch must be at least 1, --seq {allowed}; got {batch}, {tokens}")
    data: dict[str, Any] = {"batch": batch, "tokens": tokens}
    if manifest.plan or not args.measure:
        model, base = MemoryModel.of(manifest.plan), base_bytes()
        data["predicted_peak_bytes"] = model.peak(batch, tokens, base)
        data["libraries_bytes"] = base
        data["bundle_bytes"] = round(model.fixed)
        data["activations_bytes"] = round(model.beyond_base(batch, tokens) - model.fixed)
        if args.memory_budget is not None:
            data["parts"] = model.parts(batch, tokens, args.memory_budget, base)
    if args.measure:
        data["measured_peak_bytes"] = measured(args.bundle, batch, tokens, args.threads)["peak_bytes"]
    if args.json:
        print(json_text(data))
        return 0
    print(f"training on {batch} {manifest.model.kind}s of {tokens} tokens at a time")
    for key, value in data.items():
        if key.endswith("_bytes"):
            print(f"  {key.removesuffix('_bytes').replace('_', ' '):15s} {value / 1e6:8.1f} MB")
    if "parts" in data:
        print(f"  within {args.memory_budget / 1e6:.0f} MB: --accumulate {data['parts']}")
    return 0
