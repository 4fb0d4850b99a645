"""Adapter folders in `peft` format (`adapter_config.json` + `adapter_model.safetensors`), without peft or torch."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from safetensors import SafetensorError, deserialize, safe_open
from safetensors.numpy import save

from ..errors import EdgeAdaptError, UsageError
from .peft_config import CONFIG_FILE, AdapterConfig, read_config

WEIGHTS_FILE = "adapter_model.safetensors"

_PREFIX = "base_model.model."
_TENSOR = re.compile(r"(?P<module>.+)\.lora_(?P<kind>[AB])\.weight")


@dataclass(frozen=True)
class LoraModule:
    """One LoRA adapter: the weight of linear `n` is changed by `scale * b[n] @ a[n]`.

    `a[n]` is (rank of n, in) and `b[n]` is (out, rank of n), float32. `rank` is the largest of the ranks. Adapters with
    several scales are brought to one by multiplying B. `base_fingerprint` (see `models.weights_fingerprint`) and `task`
    are known for adapters that this project wrote.
    """

    name: str
    rank: int
    scale: float
    a: Mapping[str, np.ndarray]
    b: Mapping[str, np.ndarray]
    task: str | None = None
    base_model: str | None = None
    base_fingerprint: str | None = None
    messages: tuple[str, ...] = ()

    def delta(self, linear: str) -> np.ndarray:
        """Change of the weight of `linear`, (out, in) float32."""
        return self.scale * (self.b[linear] @ self.a[linear])


def is_adapter_folder(folder: Path) -> bool:
    """Whether `folder` looks like one adapter in peft format."""
    return (folder / CONFIG_FILE).is_file()


def load_module(folder: Path) -> LoraModule:
    """Read one adapter; its linears have the module paths of the model it was trained on.

    Raises:
        EdgeAdaptError: a file is missing, broken or truncated, a tensor is missing, not finite, or of the wrong rank.
        UsageError: the adapter uses something that is not supported (see `peft_config.read_config`), or holds tensors
            that its config leaves out.
    """
    config = read_config(folder)
    path = folder / WEIGHTS_FILE
    tensors, metadata = _read_tensors(path)
    found: dict[str, dict[str, np.ndarray]] = {"A": {}, "B": {}}
    ignored = []
    for key, tensor in tensors.items():
        name = key.removeprefix(_PREFIX)
        if match := _TENSOR.fullmatch(name):
            found[match["kind"]][match["module"]] = tensor
        elif set(name.split(".")) & set(config.heads):
            ignored.append(name)
        else:
            raise EdgeAdaptError(
                f"{path}: {key!r} is no LoRA tensor of a linear layer; only lora_A and lora_B are read"
            )
    _check_pairs(path, config, found["A"], found["B"])
    for linear in found["A"]:
        if rule := config.targets.left_out_by(linear):
            raise UsageError(
                f"{path} holds tensors of {linear}, which {rule} of {CONFIG_FILE} leaves out: peft would ignore them; "
                "take the tensors out, or correct the config"
            )
    b = {linear: _rescaled(b, config.scale_of(linear) / config.scale) for linear, b in found["B"].items()}
    messages = (f"adapter {folder.name}: the trained head ({', '.join(ignored)}) is ignored",) if ignored else ()
    return LoraModule(
        name=folder.name,
        rank=max(tensor.shape[0] for tensor in found["A"].values()),
        scale=config.scale,
        a=found["A"],
        b=b,
        task=metadata.get("task"),
        base_model=config.base_model,
        base_fingerprint=metadata.get("base_fingerprint"),
        messages=messages,
    )


def save_module(folder: str | Path, module: LoraModule, dtype: Literal["float32", "float16"] = "float32") -> None:
    """Write one adapter that peft can load. A killed write leaves no half adapter behind; an old one is replaced.

    Task and fingerprint of the base model are kept in the metadata of the weights file.

    Raises:
        EdgeAdaptError: the folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".tmp-{folder.name}-", dir=folder.parent))
        try:
            new = work / "new"
            new.mkdir()
            _write_files(new, module, dtype)
            if folder.exists():
                os.replace(folder, work / "old")
            os.replace(new, folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        raise EdgeAdaptError(f"cannot write the adapter {folder}: {error}") from error


def _write_files(folder: Path, module: LoraModule, dtype: str) -> None:
    ranks = {linear: int(a.shape[0]) for linear, a in module.a.items() if a.shape[0]}
    odd = {linear: rank for linear, rank in ranks.items() if rank != module.rank}
    config = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": module.base_model,
        "r": module.rank,
        "lora_alpha": module.scale * module.rank,
        "target_modules": sorted(ranks),
        "rank_pattern": {re.escape(linear): rank for linear, rank in sorted(odd.items())},
        "alpha_pattern": {re.escape(linear): module.scale * rank for linear, rank in sorted(odd.items())},
        "use_rslora": False,
        "use_dora": False,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tensors = {}
    for linear in ranks:
        for kind, tensor in (("A", module.a[linear]), ("B", module.b[linear])):
            tensors[f"{_PREFIX}{linear}.lora_{kind}.weight"] = np.ascontiguousarray(tensor, dtype=dtype)
    metadata = {"format": "pt", "task": module.task, "base_fingerprint": module.base_fingerprint}
    known = {key: value for key, value in metadata.items() if value}
    (folder / WEIGHTS_FILE).write_bytes(save(tensors, known))  # save_file would make it readable by its owner only


def _read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """All tensors of a safetensors file as float32, and its metadata. bfloat16 is widened by hand: numpy has none."""
    if not path.is_file():
        raise EdgeAdaptError(
            f"{path.parent} holds no {path.name}; adapters saved as adapter_model.bin are pickles and are not loaded: "
            "save them again with peft's save_pretrained"
        )
    tensors = {}
    try:
        with safe_open(path, framework="numpy") as opened:
            metadata = opened.metadata() or {}
        for name, entry in deserialize(path.read_bytes()):
            tensors[name] = _as_float32(path, name, entry["dtype"], entry["shape"], entry["data"])
    except (SafetensorError, OSError) as error:
        raise EdgeAdaptError(f"{path} is broken or truncated: {error}") from error
    return tensors, metadata


def _as_float32(path: Path, name: str, dtype: str, shape: list[int], data: bytearray) -> np.ndarray:
    if dtype == "BF16":
        values = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    elif dtype in ("F16", "F32", "F64"):
        values = np.frombuffer(data, f"<f{int(dtype[1:]) // 8}").astype(np.float32)
    else:
        raise EdgeAdaptError(f"{path}: {name} is stored as {dtype}; allowed: F16, BF16, F32, F64")
    if not np.isfinite(values).all():
        raise EdgeAdaptError(f"{path}: {name} holds values that are not finite")
    return values.reshape(shape)


def _rescaled(tensor: np.ndarray, factor: float) -> np.ndarray:
    return tensor if factor == 1.0 else tensor * np.float32(factor)


def _check_pairs(path: Path, config: AdapterConfig, a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> None:
    """Every A has its B, both are matrices, and their ranks are those of the config."""
    if not a and not b:
        raise EdgeAdaptError(f"{path} holds no LoRA tensors")
    for linear in sorted(set(a) | set(b)):
        if linear not in a or linear not in b:
            there, absent = ("A", "B") if linear in a else ("B", "A")
            raise EdgeAdaptError(f"{path}: {linear} has a lora_{there} but no lora_{absent}")
        if a[linear].ndim != 2 or b[linear].ndim != 2:
            raise EdgeAdaptError(
                f"{path}: the LoRA tensors of {linear} are no matrices; only linear layers are supported"
            )
        ranks = {config.rank_of(linear), a[linear].shape[0], b[linear].shape[1]}
        if len(ranks) > 1:
            raise EdgeAdaptError(
                f"{path}: {linear} should have rank {config.rank_of(linear)}, but lora_A is {a[linear].shape} and "
                f"lora_B is {b[linear].shape}"
            )
