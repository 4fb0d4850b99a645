"""Training on the device: steps per second of the runtime against torch eager and torch.compile in the same process,
in turns; how long until the first step; how long a save takes; peak memory, predicted and measured.

The bundle is exported anew (it takes a minute), or given:  EDGE_ADAPT_BUNDLE=folder python benchmarks/run.py on_device
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import interleaved, publish

LIMIT = (
    "torch eager; targets: batch 1 at 2x, batch 16 at 1.25x of its steps per second, cold start to the first step 2 s, "
    "save 20 ms, peak memory 1.5 x weights.data + 120 MB at 8 x 48, predicted within 20 %"
)
REVIEWS = 16
SHAPES = ((8, 48), (4, 32), (16, 64), (1, 16))


def run(quick: bool) -> None:
    """All rows, in child processes with the thread count they are about."""
    with tempfile.TemporaryDirectory() as scratch:
        bundle = Path(os.environ.get("EDGE_ADAPT_BUNDLE", f"{scratch}/bundle"))
        if not bundle.exists():
            model = "bert-tiny" if quick else "minilm"
            command = [sys.executable, "-m", "edge_adapt", "export", "--model", model, "--out", str(bundle)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        rows = [row for threads in (1, 2) for row in in_child("steps", bundle, threads, quick)]
        rows += [row for threads in (1, 2) for row in start_and_save(bundle, threads, quick)]
        rows += memory(bundle, quick)
    publish("on_device", LIMIT, rows, quick)


def in_child(what: str, bundle: Path, threads: int, quick: bool) -> Any:
    """What one of the functions below prints, in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, what, str(bundle), str(threads), str(int(quick))]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def row(what: str, **figures: Any) -> dict[str, Any]:
    """Every row has the same columns."""
    names = ("edge_adapt", "torch_eager", "torch_compile", "ratio_to_eager", "ratio_to_compile", "target")
    return {"what": what} | {name: figures.get(name) for name in names}


def steps(bundle: Path, threads: int, quick: bool) -> list[dict[str, Any]]:
    """Steps per second: forward, backward, clipping, AdamW; over the same sixteen reviews, one or all in a batch."""
    import torch
    from edge_adapt.runtime import Session

    torch.set_num_threads(threads)
    session = Session(bundle, threads=threads)
    adaptation = adaptation_of(session.manifest)
    rows = []
    texts, labels = real_examples(session.manifest, REVIEWS)
    for size, target in ((1, 2.0), (16, 1.25)):
        parts = [slice(start, start + size) for start in range(0, REVIEWS, size)]
        batches = [session.batch(texts[part], labels[part]) for part in parts]
        given = [(b.inputs["input_ids"], b.inputs["attention_mask"], b.labels) for b in batches]
        tensors = [[torch.as_tensor(array) for array in arrays] for arrays in given]
        calls = {"edge-adapt": lambda batches=batches: [session.step(batch, factor=0.0) for batch in batches]}
        calls["eager"] = torch_step(adaptation, adaptation.module, tensors)
        try:
            compiled = torch_step(adaptation, torch.compile(adaptation.module), tensors)
            compiled()
            calls["compile"] = compiled
        except Exception as error:
            print(f"torch.compile does not work here: {str(error).splitlines()[0]}", file=sys.stderr)
        seconds = interleaved(calls, 1.0 if quick else 20.0, turn=0.0 if threads == 1 else 1.0)
        per_second = {name: len(batches) / s for name, s in seconds.items()}
        tokens = sorted(int(mask.sum()) for _, masks, _ in given for mask in masks)
        mine, eager, compiled_rate = (per_second.get(name) for name in ("edge-adapt", "eager", "compile"))
        rows.append(
            row(
                f"steps/s, batches of {size}, reviews of {tokens[0]} to {tokens[-1]} tokens, threads {threads}",
                edge_adapt=mine,
                torch_eager=eager,
                torch_compile=compiled_rate,
                ratio_to_eager=mine / eager,
                ratio_to_compile=mine / compiled_rate if compiled_rate else None,
                target=target,
            )
        )
        rows += work_and_limit(adaptation, given, threads, 1.0 if quick else 5.0)
        torch._dynamo.reset()
    return rows


def work_and_limit(adaptation: Any, batches: Any, threads: int, seconds: float) -> list[dict[str, Any]]:
    """Of a mean step: operations of its products with frozen matrices, on real tokens, forward and backward; how many
    steps a second these alone would allow at the rate of a large float32 product on this machine, by torch; and how
    many it would allow to read the matrices from memory, once in each direction.
    """
    import torch

    weights = sum(tensor.numel() for tensor in adaptation.cell_tensors.values())
    tokens = sum(int(mask.sum()) for _, mask, _ in batches)
    operations = 2 * 2 * weights * tokens / len(batches)
    square = torch.ones(1024, 1024)
    rate = 2 * 1024**3 / interleaved({"product": lambda: square @ square}, seconds)["product"]
    far = torch.ones(100_000_000)  # 400 MB, more than any cache
    bandwidth = 4 * len(far) / interleaved({"read": far.sum}, seconds)["read"]
    name = f"{len(batches)} steps of {tokens} tokens in all, threads {threads}"
    return [
        row(
            f"steps/s that reading at {bandwidth / 1e9:.0f} GB/s would allow, {name}",
            edge_adapt=bandwidth / (2 * 4 * weights),
        ),
        row(f"GFLOP of a step's products with frozen matrices, {name}", edge_adapt=operations / 1e9),
        row(f"steps/s that products at {rate / 1e9:.0f} GFLOP/s would allow, {name}", edge_adapt=rate / operations),
    ]


def real_examples(manifest: Any, count: int) -> tuple[list[str], list[str]]:
    """Texts and labels of the bundle's task, in its order, so that batches are padded as in use."""
    from edge_adapt.workloads.tasks import load_task

    task = load_task(manifest.task)
    examples = task.train[:count]
    return [example.text for example in examples], [task.labels[example.label] for example in examples]


def adaptation_of(manifest: Any) -> Any:
    """The torch adaptation that the bundle was exported from."""
    from edge_adapt.exporters.bundle import attach
    from edge_adapt.exporters.config import ExportConfig
    from edge_adapt.methods import get_method
    from edge_adapt.workloads.models import load_backbone

    config = ExportConfig(get_method(manifest.method), model=manifest.model.name, task=manifest.task)
    return attach(config, load_backbone(manifest.model.name), len(manifest.labels))


def torch_step(adaptation: Any, module: Any, batches: list[Any]) -> Any:
    """A step on each batch as the torch trainer makes it, at a rate of 0 so that the state stays."""
    import torch
    from edge_adapt.methods.training.objectives import total_loss

    groups = [{**group, "lr": 0.0} for group in adaptation.parameter_groups()]
    parameters = [parameter for group in groups for parameter in group["params"]]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.0)

    def step(input_ids: Any, mask: Any, labels: Any) -> float:
        loss = total_loss(adaptation, adaptation.recipe, module(input_ids, mask), labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        return loss.item()

    return lambda: [step(*tensors) for tensors in batches]


def start_and_save(bundle: Path, threads: int, quick: bool) -> list[dict[str, Any]]:
    """Seconds from the start of the interpreter to the end of the first step, and seconds of a save."""
    rounds = 2 if quick else 7
    starts, saves = [], []
    for _ in range(rounds):
        begin = time.time()
        found = in_child("first_step", bundle, threads, quick)
        starts.append(found["end"] - begin)
        saves += found["saves"]
    return [
        row(f"seconds to the first step, threads {threads}", edge_adapt=statistics.median(starts), target=2.0),
        row(f"seconds of a save, threads {threads}", edge_adapt=statistics.median(saves), target=0.02),
        row(f"seconds of the slowest of {len(saves)} saves, threads {threads}", edge_adapt=max(saves)),
    ]


def first_step(bundle: Path, threads: int, _quick: bool) -> dict[str, Any]:
    """Verify, open, one step; then some saves, the state put back in the end."""
    from edge_adapt.runtime import Session

    with Session(bundle, threads=threads) as session:
        session.step([("a film that I liked a lot", session.labels[0])])
        end, saves = time.time(), []
        for _ in range(20):
            begin = time.perf_counter()
            session.save()
            saves.append(time.perf_counter() - begin)
        session.reset()
    return {"end": end, "saves": saves}


def memory(bundle: Path, quick: bool) -> list[dict[str, Any]]:
    """Peak resident megabytes, measured and as predicted from the manifest."""
    from edge_adapt.runtime.manifest import read_manifest
    from edge_adapt.runtime.memory import MemoryModel, measured

    manifest = read_manifest(bundle)
    model = MemoryModel.of(manifest.plan)
    limit = (1.5 * manifest.files["weights.data"].bytes + 120e6) / 1e6
    rows = []
    for size, tokens in SHAPES[: 1 if quick else None]:
        peaks = measured(bundle, size, tokens)
        predicted = model.peak(size, tokens, peaks["base_bytes"]) / 1e6
        target = limit if (size, tokens) == (8, 48) else None
        rows.append(row(f"peak MB, batch {size} x {tokens}", edge_adapt=peaks["peak_bytes"] / 1e6, target=target))
        rows.append(row(f"peak MB predicted, batch {size} x {tokens}", edge_adapt=predicted))
    return rows


if __name__ == "__main__":
    what, folder, count, is_quick = sys.argv[1:]
    print(json.dumps({"steps": steps, "first_step": first_step}[what](Path(folder), int(count), bool(int(is_quick)))))
