"""Accuracy of a bundle that stands for one simulated chip, beside the bundle with exact weights, both trained by the
runtime; and beside what `edge-adapt simulate` says for the same chip, which it trains with its reads in the loop.

Takes some ten minutes:  python benchmarks/run.py chip_bundle
Bundles that are there already are used:  EDGE_ADAPT_BUNDLES=folder, with `exact` and `chip` in it
Another model:  EDGE_ADAPT_MODEL=bert-tiny
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measure import publish

CHIP, CHIP_SEED, METHOD, TASK = "pcm", 0, "lorafusion", "movie"
MODEL = os.environ.get("EDGE_ADAPT_MODEL", "minilm")
LIMIT = (
    f"the same draws for all: {MODEL}, {METHOD} on {TASK}, {CHIP} with chip seed {CHIP_SEED}; a bundle holds what "
    "the cells hold after programming, without read noise and converters, and draws another order of the examples"
)


def run(quick: bool) -> None:
    """Accuracies of every seed."""
    model, shots, seeds, tested = ("bert-tiny", 16, 1, 40) if quick else (MODEL, 100, 3, 400)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(os.environ.get("EDGE_ADAPT_BUNDLES", scratch))
        rows = []
        for name, of_chip in (("exact", ()), ("chip", ("--chip", CHIP, "--seed", str(CHIP_SEED)))):
            bundle = folder / name
            if not bundle.exists():
                command("export", "--model", model, "--method", METHOD, "--task", TASK, "--out", str(bundle), *of_chip)
            found = [trained(bundle, Path(scratch) / f"{name}-{seed}", shots, seed, tested) for seed in range(seeds)]
            rows.append(row(f"bundle, {name} weights", found, "measured"))
        report = command(
            "simulate", "--device", CHIP, "--model", model, "--task", TASK, "--method", f"{METHOD}:DIGITAL",
            "--shots", str(shots), "--seeds", str(seeds), "--chip-seed", str(CHIP_SEED), "--chips", "one",
            "--test-examples", str(tested),
            "--out", f"{scratch}/report", "--json",
        )  # fmt: skip
    for key, what in (("accuracy_exact", "exact weights"), ("accuracy_chip", "the chip in the loop")):
        found = [result[key] for result in sorted(report["results"], key=lambda result: result["seed"])]
        rows.append(row(f"simulate, {what}", found, "measured" if key == "accuracy_exact" else "simulated"))
    publish("chip_bundle", LIMIT, rows, quick)


def command(*words: str) -> Any:
    """What a command of edge-adapt prints as JSON."""
    more = () if "--json" in words else ("--json",)
    done = subprocess.run(
        [sys.executable, "-m", "edge_adapt", *words, *more], stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout)


def trained(bundle: Path, copy: Path, shots: int, seed: int, tested: int) -> float:
    """Accuracy on the test split of a copy of the bundle that the runtime trained on the seed's draw."""
    from edge_adapt.runtime import Session
    from edge_adapt.runtime.options import TrainOptions
    from edge_adapt.workloads.tasks import load_task

    task = load_task(TASK, test_examples=tested)
    split = lambda examples: ([e.text for e in examples], [task.labels[e.label] for e in examples])
    shutil.copytree(bundle, copy)
    with Session(copy, threads=1) as session:
        session.train(*split(task.few_shot(shots, seed).train), TrainOptions(seed=seed))
        found = session.evaluate(*split(task.test)).accuracy
    shutil.rmtree(copy)
    return found


def row(what: str, accuracies: list[float], label: str) -> dict[str, Any]:
    """A line of the table: accuracies in per cent."""
    shown = " / ".join(f"{100 * value:.1f}" for value in accuracies)
    return {"what": what, "percent": shown, "mean": 100 * sum(accuracies) / len(accuracies), "label": label,
            "accuracies": accuracies}  # fmt: skip
