"""Frozen weights in 4 bits beside int8 and float32: size of the bundle, memory and time of a training step, features,
and accuracy after training on the device; and other ways to round to 4 bits, by the features that they give.

    python benchmarks/run.py four_bits
    EDGE_ADAPT_BUNDLES=folder python benchmarks/run.py four_bits      bundles folder/float32, folder/int8, folder/int4

Every kind of weights takes its turn; steps are measured in processor time, on one processor and one thread.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measure import paired, publish
from rival import batch_of, ours

METHOD, TASK = "lora", "movie"
KINDS = ("float32", "int8", "int4")
STEPS = {"1 x 16": (1, 16, False), "16 x 48, a quarter padding": (16, 48, True)}
SHOTS, SEEDS, TESTED = 50, 5, 400
LIMIT = (
    f"float32; MiniLM, {METHOD} on {TASK}, {SHOTS} reviews to train on, {TESTED} of the test split, {SEEDS} draws, the "
    "same for all; cosine and error of the features of these texts are to float32; other roundings were not made graphs"
)
NF4 = (
    -1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.09105004, 0.0,
    0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0,
)  # fmt: skip
"""The sixteen values of NF4 (Dettmers et al. 2023, QLoRA)."""


def run(quick: bool) -> None:
    """All rows."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(os.environ.get("EDGE_ADAPT_BUNDLES", scratch))
        for kind in KINDS:
            words = ["export", "--model", "bert-tiny" if quick else "minilm", "--method", METHOD, "--task", TASK]
            if not (folder / kind).exists():
                command = [sys.executable, "-m", "edge_adapt", *words, "--weights", kind, "--out", str(folder / kind)]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        speed = {name: in_child("speed", folder, name, quick) for name in STEPS}
        answers = in_child("answers", folder, "", quick)
    rows = [row_of(kind, folder, speed, answers) for kind in KINDS]
    rows += [row(name, **found) for name, found in in_child("roundings", folder, "", quick).items()]
    publish("four_bits", LIMIT, rows, quick)


def in_child(what: str, folder: Path, case: str, quick: bool) -> Any:
    """What one of the functions below prints, in a process of its own."""
    command = [sys.executable, __file__, what, str(folder), case, str(int(quick))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def row(what: str, **figures: Any) -> dict[str, Any]:
    """Every row has the same columns."""
    times = [f"{unit} {name}" for unit in ("ms", "MB") for name in STEPS]
    names = ["bundle MB", *times, "weights error", "features error", "features cosine", "percent", "mean",
             "points to float32", "their error", "label"]  # fmt: skip
    return {"what": what} | {name: figures.get(name) for name in names}


def row_of(kind: str, folder: Path, speed: dict[str, Any], answers: dict[str, Any]) -> dict[str, Any]:
    """The figures of one kind of bundle."""
    from edge_adapt.runtime.manifest import read_manifest
    from edge_adapt.runtime.memory import measured

    found: dict[str, Any] = {"label": "measured"}
    manifest = read_manifest(folder / kind)
    found["bundle MB"] = sum(file.bytes for file in manifest.files.values()) / 1e6
    for name, (size, tokens, _) in STEPS.items():
        found[f"ms {name}"] = 1e3 * speed[name][kind]
        found[f"MB {name}"] = measured(folder / kind, size, tokens)["peak_bytes"] / 1e6
    features, base = (np.array(answers[of]["features"]) for of in (kind, "float32"))
    found |= nearness(features, base)
    right = answers[kind]["right"]
    accuracies = [100 * bits.count("1") / len(bits) for bits in right]
    found["percent"] = " / ".join(f"{value:.1f}" for value in accuracies)
    found["mean"] = statistics.fmean(accuracies)
    if kind != "float32":
        pairs = list(zip(right, answers["float32"]["right"], strict=True))
        found["points to float32"], found["their error"] = paired(pairs)
    return row(f"bundle, {kind}", **found)


def nearness(features: np.ndarray, base: np.ndarray) -> dict[str, float]:
    """Relative error of all features, and the mean cosine of those of a text."""
    lengths = np.linalg.norm(features, axis=1) * np.linalg.norm(base, axis=1)
    return {
        "features error": float(np.linalg.norm(features - base) / np.linalg.norm(base)),
        "features cosine": float(((features * base).sum(axis=1) / lengths).mean()),
    }


def speed(folder: Path, case: str, quick: bool) -> dict[str, float]:
    """Median processor seconds of a step of each kind, a turn of several steps each."""
    size, tokens, ragged = STEPS[case]
    feeds = batch_of(size, tokens, ragged)
    steps = {kind: ours(folder / kind, feeds) for kind in KINDS}
    taken: dict[str, list[float]] = {kind: [] for kind in KINDS}
    again = 6 if size == 1 else 2
    for turn in range(2 if quick else 25 if size == 1 else 9):
        for kind, step in steps.items():
            for count in range(again):
                start = time.process_time()
                step()
                if turn > 0 and count >= again / 3:
                    taken[kind].append(time.process_time() - start)
    return {kind: statistics.median(seconds) for kind, seconds in taken.items()}


def answers(folder: Path, _case: str, quick: bool) -> dict[str, Any]:
    """Of each kind, the features of the test texts, and which of them it answers right after training on each draw."""
    from edge_adapt.runtime import Session
    from edge_adapt.runtime.options import TrainOptions
    from edge_adapt.workloads.tasks import load_task

    shots, seeds, tested = (8, 1, 20) if quick else (SHOTS, SEEDS, TESTED)
    task = load_task(TASK, test_examples=tested)
    split = lambda examples: ([e.text for e in examples], [task.labels[e.label] for e in examples])
    texts, labels = split(task.test)
    found: dict[str, Any] = {}
    for kind in KINDS:
        right = []
        for seed in range(seeds):
            with tempfile.TemporaryDirectory() as scratch:
                shutil.copytree(folder / kind, f"{scratch}/bundle")
                with Session(Path(scratch) / "bundle", threads=1) as session:
                    if seed == 0:
                        features = session.model.outputs(session.state, session.model.encoder.encode(texts), "features")
                    session.train(*split(task.few_shot(shots, seed).train), TrainOptions(seed=seed))
                    answered = [prediction.label for prediction in session.predict(texts)]
            right.append("".join(str(int(a == b)) for a, b in zip(answered, labels, strict=True)))
        found[kind] = {"features": features.tolist(), "right": right}
    return found


def roundings(_folder: Path, _case: str, quick: bool) -> dict[str, Any]:
    """Features of torch's model with its linear layers rounded in several ways, and its embeddings as int4 has them."""
    import torch
    from edge_adapt.exporters import int4
    from edge_adapt.workloads.models import load_backbone
    from edge_adapt.workloads.tasks import load_task

    name, tested = ("bert-tiny", 20) if quick else ("minilm", TESTED)
    test = load_task(TASK, test_examples=tested).test
    torch.set_num_threads(1)

    def features(round_matrix: Callable[[np.ndarray], np.ndarray] | None) -> tuple[np.ndarray, float]:
        backbone = load_backbone(name)
        lost = power = 0.0
        for module in backbone.module.modules() if round_matrix is not None else ():
            if not isinstance(module, torch.nn.Linear | torch.nn.Embedding):
                continue
            exact = module.weight.detach().numpy().copy()
            if isinstance(module, torch.nn.Embedding):
                table = int4.encode_table(exact)
                rounded = exact if table is None else table.decoded()
            else:
                assert round_matrix is not None
                rounded = round_matrix(exact.astype(np.float64)).astype(np.float32)
                lost += float(np.square(rounded - exact, dtype=np.float64).sum())
                power += float(np.square(exact, dtype=np.float64).sum())
            module.weight.data = torch.as_tensor(rounded)
        return means(backbone, test), (lost / power) ** 0.5 if power else 0.0

    base, _ = features(None)
    found = {}
    for what, rounding in ROUNDINGS.items():
        rounded, error = features(rounding)
        found[f"rounding, {what}"] = {"weights error": error, "label": "simulated", **nearness(rounded, base)}
    return found


def means(backbone: Any, examples: Any) -> np.ndarray:
    """Mean features of texts, one at a time."""
    import torch

    rows = []
    with torch.no_grad():
        for ids in backbone.encode(examples, 64):
            given = torch.as_tensor([ids])
            hidden = backbone.module(input_ids=given, attention_mask=torch.ones_like(given)).last_hidden_state
            rows.append(hidden[0].mean(dim=0).numpy())
    return np.stack(rows)


def shares() -> Iterator[float]:
    """Scales that are tried, as shares of the one by the largest magnitude."""
    yield from np.linspace(0.6, 1.05, 19)


def best_of(groups: np.ndarray, candidates: Any) -> np.ndarray:
    """For each group (..., n) the candidate with the least square error."""
    best, least = np.zeros_like(groups), np.full((*groups.shape[:-1], 1), np.inf)
    for candidate in candidates:
        error = np.square(candidate - groups).sum(axis=-1, keepdims=True)
        best, least = np.where(error < least, candidate, best), np.minimum(error, least)
    return best


def in_rows(rounding: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Groups of 32 numbers of a row, which only the product forwards could keep as codes."""
    return lambda matrix: rounding(matrix.reshape(len(matrix), -1, 32)).reshape(matrix.shape)


def plain(groups: np.ndarray) -> np.ndarray:
    """Symmetric, codes -7..7."""
    scale = np.abs(groups).max(axis=-1, keepdims=True) / 7
    return np.rint(groups / np.where(scale > 0, scale, 1)) * scale


def signed(groups: np.ndarray) -> np.ndarray:
    """Codes -8..7, the best of the scales."""
    place = np.abs(groups).argmax(axis=-1)[..., None]
    full = np.take_along_axis(groups, place, -1) / -8
    scales = [share * np.where(full != 0, full, 1) for share in shares()]
    return best_of(groups, (np.clip(np.rint(groups / scale), -8, 7) * scale for scale in scales))


def with_zero(groups: np.ndarray) -> np.ndarray:
    """Codes 0..15 less a zero point, the best of the scales."""
    low, high = np.minimum(groups.min(-1, keepdims=True), 0), np.maximum(groups.max(-1, keepdims=True), 0)

    def at(share: float) -> np.ndarray:
        scale = np.where(high > low, (high - low) * share / 15, 1)
        zero = np.rint(-low * share / scale)
        return (np.clip(np.rint(groups / scale) + zero, 0, 15) - zero) * scale

    return best_of(groups, (at(share) for share in shares()))


def normal_floats(groups: np.ndarray) -> np.ndarray:
    """NF4, the best of the scales."""
    values = np.array(NF4)
    largest = np.abs(groups).max(axis=-1, keepdims=True)
    scales = [share * np.where(largest > 0, largest, 1) for share in shares()]
    limits = (values[1:] + values[:-1]) / 2
    return best_of(groups, (values[np.searchsorted(limits, groups / scale)] * scale for scale in scales))


def tiles(matrix: np.ndarray) -> np.ndarray:
    """Tiles of 16 x 16 as int4 has them, without factors of rows and columns."""
    out, inner = matrix.shape
    groups = matrix.reshape(out // 16, 16, inner // 16, 16).transpose(0, 2, 1, 3).reshape(out // 16, inner // 16, 256)
    rounded = signed(groups).reshape(out // 16, inner // 16, 16, 16)
    return rounded.transpose(0, 2, 1, 3).reshape(out, inner)


def as_exported(matrix: np.ndarray) -> np.ndarray:
    """What `edge-adapt export --weights int4` does."""
    from edge_adapt.exporters import int4

    found = int4.encode_matrix(matrix.astype(np.float32))
    return matrix if found is None else found.decoded().astype(np.float64)


ROUNDINGS = {
    "int4: 16 x 16 tiles and factors": as_exported,
    "16 x 16 tiles": tiles,
    "32 of a row, symmetric": in_rows(plain),
    "32 of a row, signed scale": in_rows(signed),
    "32 of a row, zero point": in_rows(with_zero),
    "32 of a row, NF4": in_rows(normal_floats),
}


if __name__ == "__main__":
    what, given, case, is_quick = sys.argv[1:]
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    found = {"speed": speed, "answers": answers, "roundings": roundings}[what](Path(given), case, bool(int(is_quick)))
    print(json.dumps(found))
