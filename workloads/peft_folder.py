"""Adapter folders in `peft` format (`adapter_config.json` + `adapter_model.safetensors`), without peft or torch."""

import json
import math
import re
import shlex
import struct
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ..errors import EdgeAdaptError, UsageError
from ..folders import whole_folder
from ..inputs import NotJsonError, open_file, parse_json
from .peft_config import CONFIG_FILE, AdapterConfig, read_config
from .peft_values import Targets

WEIGHTS_FILE = "adapter_model.safetensors"
PICKLE_FILE = "adapter_model.bin"

CONVERT = (
    'python -c "import torch, safetensors.torch as s; '
    f"t = torch.load('{PICKLE_FILE}', map_location='cpu', weights_only=True); "
    f"s.save_file({{k: v.clone().contiguous() for k, v in t.items()}}, '{WEIGHTS_FILE}')\""
)
"""Command that turns the pickle in the working folder into safetensors. torch then runs no code of the file."""

HEADER_BYTES, MOST_NUMBERS = 8 << 20, 100_000_000
"""No weights file of an adapter has a longer header, or more numbers."""
_LENGTH, _POINTER_SIGNS = struct.Struct("<Q"), 15
_PREFIX = "base_model.model."
_TENSOR = re.compile(r"(?P<module>.+)\.lora_(?P<kind>[AB])\.weight")
_SHARD = re.compile(r"adapter_model-(?P<number>\d+)-of-(?P<count>\d+)\.safetensors")
_FLOATS = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}


@dataclass(frozen=True)
class LoraModule:
    """One LoRA adapter: the weight of linear `n` is changed by `scale * b[n] @ a[n]`.

    `a[n]` is (rank of n, in) and `b[n]` is (out, rank of n), float32. `rank` is the largest of the ranks. `scale` is
    above zero: adapters with several scales, or one below zero, are brought to it by multiplying B. `base_fingerprint`
    (see `models.weights_fingerprint`) and `task` are known for adapters that this project wrote, else None.

    `others`: what lies in the file beside the matrices of linear layers, by tensor name: heads, embeddings, adapters of
    convolutions. Whether it matters only the model tells (see `peft_match`). None stands for values of another type
    than float. `targets`: what the adapter's config lets it change.
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
    others: Mapping[str, np.ndarray | None] = field(default_factory=dict)
    targets: Targets = field(default_factory=Targets, compare=False)

    @property
    def changes_nothing(self) -> bool:
        """Whether every update is zero, as that of an adapter before its training."""
        return all(not (self.a[linear].any() and self.b[linear].any()) for linear in self.a)

    def delta(self, linear: str) -> np.ndarray:
        """Change of the weight of `linear`, (out, in) float32."""
        return self.scale * (self.b[linear] @ self.a[linear])


def is_adapter_folder(folder: Path) -> bool:
    """Whether `folder` looks like one adapter in peft format."""
    return (folder / CONFIG_FILE).is_file()


def load_module(folder: Path) -> LoraModule:
    """Read one adapter; its linears have the module paths of the model it was trained on.

    Raises:
        UsageError: a file is missing, broken or truncated, a tensor is missing, empty, not finite, or of the wrong
            rank.
        UsageError: the adapter uses something that is not supported (see `peft_config.read_config`), holds tensors
            that its config leaves out, or is stored as a pickle.
    """
    config = read_config(folder)
    files = _weight_files(folder)
    found: dict[str, dict[str, np.ndarray]] = {"A": {}, "B": {}}
    others: dict[str, np.ndarray | None] = {}
    metadata: dict[str, str] = {}
    for file in files:
        entries, of_file = _read_file(file)
        metadata |= of_file
        for key, entry in entries:
            name = key.removeprefix(_PREFIX)
            if (match := _TENSOR.fullmatch(name)) and len(entry["shape"]) <= 2:
                found[match["kind"]][match["module"]] = _matrix(file, key, entry)
            else:
                others[name] = _values(entry)
    path = files[0]
    if not found["A"] and not found["B"]:
        there = f"; its first tensor is {min(others)}" if others else ""
        raise UsageError(
            f"{path} holds no LoRA tensors of linear layers as save_pretrained of peft names them "
            f"(...lora_A.weight){there}"
        )
    _check_pairs(path, config, found["A"], found["B"])
    for linear in found["A"]:
        if rule := config.targets.left_out_by(linear):
            raise UsageError(
                f"{path} holds tensors of {linear}, which {rule} of {CONFIG_FILE} leaves out: peft would ignore them; "
                "take the tensors out, or correct the config"
            )
    scale = abs(config.scale)
    b = {linear: _rescaled(b, config.scale_of(linear) / scale) for linear, b in found["B"].items()}
    module = LoraModule(
        name=folder.name,
        rank=max(tensor.shape[0] for tensor in found["A"].values()),
        scale=scale,
        a=found["A"],
        b=b,
        task=metadata.get("task"),
        base_model=config.base_model,
        base_fingerprint=metadata.get("base_fingerprint"),
        messages=_left_aside(folder, files),
        others=others,
        targets=config.targets,
    )
    _check_size(path, module)
    return module


def save_module(folder: str | Path, module: LoraModule, dtype: Literal["float32", "float16"] = "float32") -> None:
    """Write one adapter that peft can load. A killed write leaves no half adapter behind; an old one is replaced.

    Task and fingerprint of the base model are kept in the metadata of the weights file.

    Raises:
        EdgeAdaptError: the folder cannot be written.
    """
    folder = Path(folder)
    try:
        with whole_folder(folder) as new:
            write_files(new, module, dtype)
    except (OSError, SafetensorError) as error:
        raise EdgeAdaptError(f"cannot write the adapter {folder}: {error}") from error


def write_files(folder: Path, module: LoraModule, dtype: str = "float32") -> None:
    """The two files of one adapter, into a folder that is there. Raises `OSError`."""
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


def _weight_files(folder: Path) -> list[Path]:
    """The safetensors files of an adapter: one, or all its shards. Raises where they are not all there."""
    whole = folder / WEIGHTS_FILE
    if whole.is_file():
        return [whole]
    shards = {int(m["number"]): (file, int(m["count"])) for file in sorted(folder.iterdir())
              if (m := _SHARD.fullmatch(file.name)) and file.is_file()}  # fmt: skip
    if shards:
        count = max(count for _, count in shards.values())
        if absent := [number for number in range(1, count + 1) if number not in shards]:
            raise UsageError(f"{folder} lacks {len(absent)} of the {count} files of its adapter: no. {absent[0]}")
        return [shards[number][0] for number in sorted(shards)]
    if (folder / PICKLE_FILE).is_file():
        raise UsageError(
            f"{folder} holds {PICKLE_FILE}, a pickle, which could run code and is not loaded; write it as "
            f"{WEIGHTS_FILE}: cd {shlex.quote(str(folder))} && {CONVERT}"
        )
    names = sorted(item.name for item in folder.iterdir() if item.name != CONFIG_FILE and not item.name.startswith("."))
    there = f"beside {CONFIG_FILE} lie only {', '.join(names[:5])}" if names else f"it holds only {CONFIG_FILE}"
    raise UsageError(f"{folder} holds no {WEIGHTS_FILE}: {there}; save the adapter again with save_pretrained")


def _left_aside(folder: Path, read: list[Path]) -> tuple[str, ...]:
    """A message for files of weights that lie beside those that are read."""
    names = [item.name for item in sorted(folder.glob("adapter_model*")) if item not in read]
    aside = [name for name in names if name.endswith((".safetensors", ".bin"))]
    return (f"{', '.join(aside)} is left aside: {read[0].name} is read",) if aside else ()


def _read_file(path: Path) -> tuple[Iterator[tuple[str, dict[str, Any]]], dict[str, str]]:
    """The tensors of a safetensors file as they are stored, one after the other, and its metadata.

    Its header is read first: more is not, where it is too long, or promises too much.
    """
    try:
        with open_file(path, sys.maxsize) as file:
            start = file.read(_LENGTH.size)
            if start + file.read(_POINTER_SIGNS) == b"version https://git-lfs":
                raise UsageError(f"{path} is not the file but Git LFS's pointer to it; fetch the file: git lfs pull")
            length = _LENGTH.unpack(start)[0] if len(start) == _LENGTH.size else 0
            if length > HEADER_BYTES:
                raise UsageError(f"{path} is broken or truncated: a header of {length} bytes")
            with safe_open(path, framework="numpy") as opened:  # refuses whatever does not agree with its length
                metadata = opened.metadata() or {}
            file.seek(_LENGTH.size)
            header = parse_json(file.read(length))
    except (SafetensorError, OSError, NotJsonError) as error:
        said = getattr(error, "strerror", None) or error
        raise UsageError(f"{path} is broken or truncated: {said}") from error
    header.pop("__metadata__", None)
    numbers = sum(math.prod(entry["shape"]) for entry in header.values())
    if numbers > MOST_NUMBERS:
        raise UsageError(f"{path} holds {numbers} numbers; an adapter may have {MOST_NUMBERS}")
    return _entries(path, header, _LENGTH.size + length), metadata


def _entries(path: Path, header: Mapping[str, Any], start: int) -> Iterator[tuple[str, dict[str, Any]]]:
    with open_file(path, sys.maxsize) as file:
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            file.seek(start + begin)
            yield name, {"dtype": entry["dtype"], "shape": entry["shape"], "data": file.read(end - begin)}


def _values(entry: Mapping[str, Any]) -> np.ndarray | None:
    """The values of a stored tensor as float32; None where they are no floats. bfloat16 is widened by hand: numpy has
    none.
    """
    data, dtype = entry["data"], entry["dtype"]
    if dtype == "BF16":
        values = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    elif dtype in _FLOATS:
        with np.errstate(over="ignore"):  # what float32 does not hold is not finite, and told as such
            values = np.frombuffer(data, _FLOATS[dtype]).astype(np.float32)
    else:
        return None
    return values.reshape(entry["shape"])


def _matrix(path: Path, name: str, entry: Mapping[str, Any]) -> np.ndarray:
    """One LoRA matrix; raises `UsageError` for what cannot be one."""
    if 0 in entry["shape"]:
        raise UsageError(
            f"{path}: {name} is empty, of shape {tuple(entry['shape'])}: DeepSpeed ZeRO-3 and FSDP leave that behind "
            "when the weights are not gathered before saving; gather them and save again"
        )
    values = _values(entry)
    if values is None:
        raise UsageError(f"{path}: {name} is stored as {entry['dtype']}; allowed: F16, BF16, F32, F64")
    if not np.isfinite(values).all():
        raise UsageError(f"{path}: {name} holds values that are not finite")
    return values


def _check_size(path: Path, module: LoraModule) -> None:
    """Raise where scale B A could be more than float32 holds."""
    for linear, a in module.a.items():
        b = module.b[linear]
        bound = module.scale * a.shape[0] * float(np.abs(a).max()) * float(np.abs(b).max())
        if not bound < float(np.finfo(np.float32).max):
            raise UsageError(f"{path}: the change of {linear} is too large for float32")


def _rescaled(tensor: np.ndarray, factor: float) -> np.ndarray:
    with np.errstate(over="ignore"):  # refused by `_check_size`
        return tensor if factor == 1.0 else (tensor * np.float64(factor)).astype(np.float32)


def _check_pairs(path: Path, config: AdapterConfig, a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> None:
    """Every A has its B, both are matrices, and their ranks are those of the config."""
    for linear in sorted(set(a) | set(b)):
        if linear not in a or linear not in b:
            there, absent = ("A", "B") if linear in a else ("B", "A")
            raise UsageError(f"{path}: {linear} has a lora_{there} but no lora_{absent}")
        if a[linear].ndim != 2 or b[linear].ndim != 2:
            raise UsageError(f"{path}: the LoRA tensors of {linear} are no matrices")
        ranks = {config.rank_of(linear), a[linear].shape[0], b[linear].shape[1]}
        if len(ranks) > 1:
            raise UsageError(
                f"{path}: {linear} should have rank {config.rank_of(linear)}, but lora_A is {a[linear].shape} and "
                f"lora_B is {b[linear].shape}"
            )
