"""Whether a sound slot is a state of a bundle: the tensors that it must hold, and nothing that training, going on with
a run, or showing it would break on. A right checksum proves only that the file is as somebody wrote it.
"""

from collections.abc import Mapping

import numpy as np

from .manifest import Manifest
from .start import NOT_KNOWN, is_digest
from .state import CURRENT, OptimiserRecord, Snapshot

_LIKE_THE_STATE = (
    CURRENT, "optimiser/m/", "optimiser/v/", "mezo/start/", "run/state/", "run/best/", "run/optimiser/m/",
    "run/optimiser/v/", "run/optimiser/start/",
)  # fmt: skip
"""Prefixes of tensors that are each like one of the state."""

_REPLAY = ("ids", "labels", "lengths")


def misfit(manifest: Manifest, snapshot: Snapshot) -> str:
    """What keeps a sound snapshot from being a state of the bundle; "" where nothing does."""
    checks = (_of_state, _of_classes, _of_numbers, _of_replay, _of_optimisers, _of_run)
    return next((problem for check in checks if (problem := check(manifest, snapshot))), "")


def _of_state(manifest: Manifest, snapshot: Snapshot) -> str:
    shapes = {tensor.name: tensor.shape for tensor in manifest.state}
    if problem := _other_names(snapshot.part(CURRENT), shapes):
        return problem
    for prefix in _LIKE_THE_STATE:
        for name, value in snapshot.part(prefix).items():
            if wrong := _wrong(value, shapes.get(name)):
                return f"the tensor {prefix + name!r} {wrong}"
    for name, value in snapshot.tensors.items():
        # Of a step whose loss was not finite, and that was undone, the loss stays.
        if name != "run/losses" and value.dtype.kind == "f" and not np.isfinite(value).all():
            return f"the tensor {name!r} holds numbers that are not finite"
    return ""


def _of_classes(manifest: Manifest, snapshot: Snapshot) -> str:
    taught = snapshot.header.taught
    if len(taught) > manifest.reserved_classes or len({*manifest.labels, *taught}) < len(manifest.labels) + len(taught):
        return f"it names classes that were taught, {', '.join(taught)}, that this bundle cannot have"
    return ""


def _of_numbers(_manifest: Manifest, snapshot: Snapshot) -> str:
    for name, value in snapshot.header.results.items():
        if not isinstance(value, int | float) or isinstance(value, bool):
            return f"its result {name!r} is no number"
    start = snapshot.header.start_sha256
    return "" if start == NOT_KNOWN or is_digest(start) else "what it was trained from is no digest"


def _of_replay(manifest: Manifest, snapshot: Snapshot) -> str:
    kept = snapshot.part("replay/")
    if not kept:
        return ""
    if tuple(sorted(kept)) != _REPLAY:
        return "its examples to replay are not whole"
    ids, labels, lengths = (kept[name] for name in _REPLAY)
    inner: tuple[int, ...]
    kind: type[np.generic]
    if manifest.images is None:
        longest, kind, inner = manifest.tokenizer.max_tokens if manifest.tokenizer else 0, np.int32, ()
    else:
        longest, kind, inner = manifest.images.stored, np.uint8, (manifest.images.stored, 3)
    rows = (ids.dtype, ids.shape[1:]) == (kind, inner) and ids.ndim > len(inner)
    if not rows or labels.dtype != np.int32 or lengths.dtype != np.int32 or labels.ndim != 1:
        return "its examples to replay are of another kind"
    total = int(lengths.sum(dtype=np.int64))
    if labels.shape != lengths.shape or not _within(lengths, 1, longest) or total != len(ids):
        return "its examples to replay are not as long as it says"
    classes = len(manifest.labels) + len(snapshot.header.taught)
    if not _within(labels, 0, classes - 1) or int(ids.min(initial=0)) < 0:
        return "its examples to replay are none of this bundle"
    return ""


def _of_optimisers(manifest: Manifest, snapshot: Snapshot) -> str:
    header = snapshot.header
    records = {"optimiser/": header.optimiser, "run/optimiser/": header.run.optimiser if header.run else None}
    for prefix, record in records.items():
        if record is not None and (problem := _of_memory(manifest, record, snapshot.part(prefix))):
            return f"its optimiser ({prefix}) {problem}"
    pairs = snapshot.part("mezo/")
    if pairs and (problem := _of_pairs(manifest, pairs)):
        return f"its pairs of mezo {problem}"
    if not header.mezo_rates.keys() <= {tensor.name for tensor in manifest.state}:
        return "it has rates of tensors that the bundle has not"
    return ""


def _of_memory(manifest: Manifest, record: OptimiserRecord, tensors: Mapping[str, np.ndarray]) -> str:
    if record.kind == "mezo":
        if not (problem := _of_pairs(manifest, tensors)) and len(tensors["seeds"]) != record.updates:
            return "has not as many pairs as it says"
        return problem
    if record.kind not in ("adamw", "sgd"):
        return f"is {record.kind!r}, which is none"
    trained = {tensor.name for tensor in manifest.trained}
    first, second = ({name[2:] for name in tensors if name.startswith(part)} for part in ("m/", "v/"))
    allowed = {"adamw": [trained] if record.updates else [set()], "sgd": [trained, set()]}[record.kind]
    whole = first in allowed and second == (first if record.kind == "adamw" else set())
    return "" if whole else "has not the moments of every trained tensor"


def _of_pairs(manifest: Manifest, tensors: Mapping[str, np.ndarray]) -> str:
    seeds, scalars = (tensors.get(name, np.zeros(())) for name in ("seeds", "scalars"))
    kinds = (seeds.dtype, scalars.dtype) == (np.uint64, np.float32)
    started = {name.removeprefix("start/") for name in tensors if name.startswith("start/")}
    whole = kinds and seeds.ndim == 1 and seeds.shape == scalars.shape
    return "" if whole and started == {tensor.name for tensor in manifest.state} else "are not whole"


def _of_run(manifest: Manifest, snapshot: Snapshot) -> str:
    run = snapshot.header.run
    if run is None:
        return ""
    shapes = {tensor.name: tensor.shape for tensor in manifest.state}
    for part in ("run/state/", *(("run/best/",) if run.best_epoch >= 0 else ())):
        if problem := _other_names(snapshot.part(part), shapes):
            return f"of its unfinished run {problem}"
    losses = snapshot.tensors.get("run/losses")
    if losses is None or losses.dtype != np.float64 or losses.ndim != 1:
        return "of its unfinished run the losses are missing"
    try:
        np.random.default_rng(0).bit_generator.state = dict(run.random)
    except Exception:  # numpy raises all kinds for a state that is none
        return "the generator of its unfinished run is in no state that can be"
    return ""


def _within(values: np.ndarray, least: int, most: int) -> bool:
    return not values.size or (int(values.min()) >= least and int(values.max()) <= most)


def _other_names(given: Mapping[str, np.ndarray], wanted: Mapping[str, object]) -> str:
    if not (different := given.keys() ^ wanted.keys()):
        return ""
    name = min(different)
    return f"the tensor {name!r} is {'missing' if name in wanted else 'none of this bundle'}"


def _wrong(value: np.ndarray, shape: tuple[int, ...] | None) -> str:
    """What is wrong with a tensor that should be float32 and have a shape; "" where nothing is."""
    if shape is None:
        return "belongs to none of this bundle"
    if value.dtype != np.float32 or value.shape != shape:
        return f"is {value.dtype} {value.shape}, not float32 {shape}"
    return ""
