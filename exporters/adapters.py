"""The trained state of a bundle as a `peft` adapter, for the methods whose mathematics is one of `peft`'s: they say so
themselves (`Method.lora_form`). Row norms that one trains are the magnitudes of DoRA.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save

from ..errors import UsageError
from ..folders import whole_folder, writing
from ..methods import METHODS, Method, get_method
from ..methods.lora_form import LoraForm, State
from ..runtime.manifest import Manifest
from ..workloads.families import POOLING_WORDS
from ..workloads.models import load_backbone
from ..workloads.peft_config import CONFIG_FILE
from ..workloads.peft_folder import WEIGHTS_FILE, LoraModule, write_files
from ..workloads.pools import Pool, default_pool, load_pool
from ..workloads.shapes import ModelShape

HEAD_FILE = "head.safetensors"


def origin(method: Method, model: str, pool: Pool | None, pooling: str = "mean") -> dict[str, Any]:
    """For the manifest: the options of the method, its model and its pool, which the way back to an adapter needs, and
    what the head sees.
    """
    options = {f.name: getattr(method, f.name) for f in fields(method) if f.name not in ("recipe", "warm_start")}
    return {"options": options, "model": model, "features": POOLING_WORDS[pooling]} | (
        {} if pool is None else {"pool": {"path": pool.path, "sha256": digest(pool)}}
    )


def digest(pool: Pool) -> str:
    """SHA-256 of a pool's matrices, in order (hexadecimal)."""
    found = hashlib.sha256()
    for module in pool.modules:
        found.update(f"{module.scale!r}".encode())
        for part in (module.a, module.b):
            for name in pool.target_names:
                found.update(f"{name}{part[name].shape}".encode() + np.ascontiguousarray(part[name]).tobytes())
    return found.hexdigest()


def write_peft(
    out: Path, manifest: Manifest, state: State, labels: tuple[str, ...], model: str | None = None,
    pool: str | None = None,
) -> None:  # fmt: skip
    """Write a folder that `peft.PeftModel.from_pretrained` loads onto the bundle's model, the head beside it.

    Args:
        labels: names of the rows of the head that are in use.
        model, pool: where model and pool lie, when not where they were at export.

    Raises:
        UsageError: a method that is no LoRA, weights of a chip or rounded ones, another model or pool.
        EdgeAdaptError: the folder cannot be written.
    """
    if out.exists():
        raise UsageError(f"{out} is there already; give another name")
    module, magnitudes = as_lora(manifest, state, model, pool)
    with writing(out), whole_folder(out) as folder:
        features = manifest.origin.get("features", POOLING_WORDS["mean"])
        write_with_head(folder, module, magnitudes, state, labels, features)


def write_with_head(
    folder: Path, module: LoraModule, magnitudes: Mapping[str, np.ndarray], state: State, labels: tuple[str, ...],
    features: str,
) -> None:  # fmt: skip
    """Into a folder that is there: the files of an adapter, one of DoRA where there are magnitudes, and the head of a
    state, with the names of its rows and in words what it sees. Raises `OSError`.
    """
    write_files(folder, module)
    if magnitudes:
        _add_magnitudes(folder, magnitudes)
    head = {name: np.ascontiguousarray(state[name][: len(labels)]) for name in ("head.weight", "head.bias")}
    metadata = {"labels": json.dumps(labels, ensure_ascii=False), "features": features}
    (folder / HEAD_FILE).write_bytes(save(head, metadata))


def as_lora(
    manifest: Manifest, state: State, model: str | None = None, pool: str | None = None
) -> tuple[LoraModule, Mapping[str, np.ndarray]]:
    """The state as one LoRA module, and the magnitudes (out,) of the linears that have some. Raises `UsageError`."""
    kept = METHODS.get(manifest.method)
    if kept is None or not kept.is_lora:
        able = sorted(name for name, method in METHODS.items() if method.is_lora)
        raise UsageError(
            f"peft has no adapter that computes what {manifest.method} does; only {' and '.join(able)} can be "
            "written as one (--format onnx-adapter takes any state)"
        )
    if manifest.weights.get("source") != "exact" or manifest.weights.get("dtype") != "float32":
        exact = manifest.weights.get("source") == "exact"
        other = f"rounded to {manifest.weights.get('dtype')}" if exact else "those of a chip"
        raise UsageError(
            f"this bundle's frozen weights are not the model's own but {other}: its state is no adapter of the model "
            "that peft would put it on"
        )
    if "options" not in manifest.origin:
        raise UsageError("the bundle does not say with which options it was exported; export it again")
    method = get_method(manifest.method, **manifest.origin["options"])  # refuses what this version does not know
    form = method.lora_form(state, *(_pool_of(manifest, model, pool) if method.needs_pool else (None, None)))
    kept_as = {"task": manifest.task, "base_model": manifest.model.name, "base_fingerprint": manifest.model.fingerprint}
    return module_of(form, manifest.method, **kept_as), form.magnitudes


def module_of(form: LoraForm, name: str, *, task: str, base_model: str, base_fingerprint: str) -> LoraModule:
    """The two matrices of every linear as a module, float32."""
    return LoraModule(
        name=name,
        rank=max(len(matrix) for matrix in form.a.values()),
        scale=form.scale,
        a={name: matrix.astype(np.float32) for name, matrix in form.a.items()},
        b={name: matrix.astype(np.float32) for name, matrix in form.b.items()},
        task=task,
        base_model=base_model,
        base_fingerprint=base_fingerprint,
    )


def _pool_of(manifest: Manifest, model: str | None, path: str | None) -> tuple[Pool, ModelShape]:
    """The pool that the bundle was exported with, and the shape of its model. Raises `UsageError` for another one."""
    recorded = manifest.origin["pool"]
    backbone = load_backbone(model or manifest.origin["model"])
    if backbone.fingerprint != manifest.model.fingerprint:
        raise UsageError(f"the model {backbone.name!r} is not the one the bundle was exported from; give it by --model")
    if path is None:
        path = recorded["path"] if Path(recorded["path"]).is_dir() else str(default_pool(backbone.name))
    pool = load_pool(path, backbone)
    if digest(pool) != recorded["sha256"]:
        raise UsageError(f"the pool {pool.path} is not the one the bundle was exported with; give that one by --pool")
    return pool, backbone.shape


def _add_magnitudes(folder: Path, magnitudes: Mapping[str, np.ndarray]) -> None:
    """Make a LoRA folder one of DoRA."""
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    (folder / CONFIG_FILE).write_text(json.dumps(config | {"use_dora": True}, indent=2) + "\n", encoding="utf-8")
    with safe_open(folder / WEIGHTS_FILE, framework="numpy") as file:
        metadata = file.metadata()
    tensors = load_file(folder / WEIGHTS_FILE)
    for name, value in magnitudes.items():
        tensors[f"base_model.model.{name}.lora_magnitude_vector"] = np.ascontiguousarray(value)
    (folder / WEIGHTS_FILE).write_bytes(save(tensors, metadata))
