"""Pools of LoRA adapters for one base model, read from folders in `peft` format."""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..display import Shown
from ..errors import EdgeAdaptError, UsageError
from ..folders import write_whole
from ..inputs import NotJsonError, read_json
from ..paths import expanded
from .peft_folder import LoraModule, load_module, save_module
from .peft_layout import adapter_folders
from .peft_match import matched, unmatched

if TYPE_CHECKING:
    from .models import Backbone

__all__ = ["POOL_FILE", "LoraModule", "Pool", "default_pool", "load_pool", "save_module", "save_pool_info"]

POOL_FILE = "pool.json"

_SHIPPED = Path(__file__).parent / "pools"
_HUB_NAMES = {"minilm": "all-MiniLM-L6-v2", "bert-tiny": "bert_uncased_L-2_H-128_A-2"}  # of models that we fetch


@dataclass(frozen=True, repr=False)
class Pool(Shown):
    """Adapters of the same base model, in the order of their names.

    `target_names` are the linears that at least one adapter changes. Every module has an entry for each of them; where
    an adapter leaves a linear alone its matrices have rank 0. `metadata` is what `save_pool_info` recorded; `messages`
    is what the reader should know: parts that are left out, adapters that change nothing or name another model.
    """

    modules: tuple[LoraModule, ...]
    target_names: tuple[str, ...]
    path: str
    metadata: Mapping[str, Any]
    messages: tuple[str, ...] = ()

    def _facts(self) -> dict[str, object]:
        names = [module.name for module in self.modules]
        return {"path": self.path, "modules": names, "weights": self.weights, "matrices": len(self.target_names)}

    @property
    def weights(self) -> int:
        """Numbers in all A and B matrices."""
        return sum(matrix.size for module in self.modules for part in (module.a, module.b) for matrix in part.values())


def load_pool(path: str | Path | Sequence[str | Path], backbone: "Backbone | None" = None) -> Pool:
    """Load a pool: a folder of adapter folders, a single adapter folder, or several of either.

    With `backbone`, the adapters' linears are matched to its linear layers (see `peft_match`), and their shapes are
    compared. See `peft_layout` for what counts as an adapter below a folder.

    Raises:
        UsageError: no such folder, no adapter in it, adapters of different base models or of another model than
            `backbone`, or an adapter that is not supported.
        EdgeAdaptError: a file is missing or broken.
    """
    paths = [Path(path)] if isinstance(path, str | Path) else [Path(item) for item in path]
    found = [adapter_folders(expanded(item)) for item in paths]
    for item, here in zip(paths, found, strict=True):
        _check_complete(expanded(item), {folder.name for folder in here.folders})
    folders = [folder for here in found for folder in here.folders]
    modules = [replace(load_module(folder), name=name) for name, folder in _named(folders)]
    metadata = _read_info(paths[0]) if len(paths) == 1 else {}
    title = ", ".join(map(str, paths))
    _check_same_base(title, modules, metadata, backbone)
    modules = [unmatched(module) if backbone is None else matched(module, backbone) for module in modules]
    messages = (
        *(message for here in found for message in here.messages),
        *(f"adapter {module.name}: {message}" for module in modules for message in module.messages),
        *_remarks(modules, metadata, backbone),
    )
    modules, targets = _with_all_targets(title, modules, backbone.linear_names() if backbone is not None else None)
    return Pool(tuple(modules), targets, title, metadata, messages)


def save_pool_info(folder: str | Path, info: Mapping[str, Any]) -> None:
    """Write `pool.json` beside the adapters: base_model, base_fingerprint, and how to make the pool again.

    Raises:
        EdgeAdaptError: the folder cannot be written.
    """
    target = Path(folder) / POOL_FILE
    try:
        write_whole(target, json.dumps(dict(info), indent=2) + "\n")
    except OSError as error:
        raise EdgeAdaptError(f"cannot write {target}: {error}") from error


def default_pool(model_name: str) -> Path:
    """The folder of the pool that is shipped for a model; `UsageError` when there is none."""
    shipped = {item.name: item for item in sorted(_SHIPPED.glob("*")) if item.is_dir()}
    if model_name not in shipped:
        raise UsageError(
            f"no pool is shipped for the model {model_name!r} (there are pools for: {', '.join(shipped) or 'none'}); "
            "give one with --pool, train one (edge-adapt pool train --help), or take methods that need none, such as "
            "--method lora:DIGITAL"
        )
    return shipped[model_name]


def _check_complete(path: Path, found: Collection[str]) -> None:
    """Raise `UsageError` for a pool.json that is none, and for a module that it lists and that is not there; others may
    have been added.
    """
    listed = _read_info(path).get("modules", [])
    if not isinstance(listed, list) or not all(isinstance(e, dict) and isinstance(e.get("name"), str) for e in listed):
        raise UsageError(f"{path / POOL_FILE}: `modules` must be a list of objects with a `name` each")
    for entry in listed:
        accuracy = entry.get("held_out_accuracy")
        if accuracy is not None and (isinstance(accuracy, bool) or not isinstance(accuracy, int | float)):
            raise UsageError(
                f"{path / POOL_FILE}: held_out_accuracy of {entry['name']!r} must be a number or null; "
                f"got {json.dumps(accuracy)[:60]}"
            )
    if missing := [entry["name"] for entry in listed if entry["name"] not in found]:
        raise UsageError(
            f"pool {path}: {POOL_FILE} lists the module {missing[0]!r}, but there is no adapter in "
            f"{path / missing[0]}: put it back, or take it off the list"
        )


def _named(folders: Sequence[Path]) -> list[tuple[str, Path]]:
    """A name for each adapter: its folder's, with the parent folder's in front where two would be the same. A link
    keeps its own name.
    """
    folders = [Path(os.path.abspath(folder)) for folder in folders]
    counts = Counter(folder.name for folder in folders)
    named = []
    for folder in folders:
        named.append((folder.name if counts[folder.name] == 1 else f"{folder.parent.name}/{folder.name}", folder))
    twice = [name for name, count in Counter(name for name, _ in named).items() if count > 1]
    if twice:
        raise UsageError(f"the adapter {twice[0]!r} is in the pool twice; rename one of the folders")
    return named


def _read_info(path: Path) -> dict[str, Any]:
    file = expanded(path) / POOL_FILE
    if not file.is_file():
        return {}
    try:
        info = read_json(file)
    except (OSError, NotJsonError) as error:
        raise EdgeAdaptError(f"cannot read {file}: {error}") from error
    if not isinstance(info, dict):
        raise EdgeAdaptError(f"{file} is not a JSON object")
    return info


def _check_same_base(
    title: str, modules: Sequence[LoraModule], metadata: Mapping[str, Any], backbone: "Backbone | None"
) -> None:
    """One base model for all adapters. Fingerprints decide where they are known, names where they are not."""
    fingerprints = {module.base_fingerprint: module.name for module in modules if module.base_fingerprint}
    if recorded := metadata.get("base_fingerprint"):
        fingerprints.setdefault(str(recorded), POOL_FILE)
    names = {_last_part(module.base_model): module for module in modules if module.base_model}
    if len(fingerprints) > 1:
        owners = list(fingerprints.values())
        raise UsageError(f"pool {title}: {owners[0]!r} and {owners[1]!r} belong to base models with different weights")
    all_known = all(module.base_fingerprint for module in modules)
    if len(names) > 1 and not all_known:
        described = ", ".join(f"{module.name!r} of {module.base_model!r}" for module in list(names.values())[:2])
        raise UsageError(f"pool {title}: adapters of different base models: {described}; keep those of one model")
    if backbone is not None and fingerprints and backbone.fingerprint not in fingerprints:
        base = metadata.get("base_model") or next((module.base_model for module in names.values()), "another model")
        raise UsageError(
            f"pool {title} was trained on {base!r}, whose weights are not those of the model {backbone.name!r}; "
            "use that model, or train a pool for this one: edge-adapt pool train"
        )


def _remarks(modules: Sequence[LoraModule], metadata: Mapping[str, Any], backbone: "Backbone | None") -> Iterator[str]:
    """What is no error and yet makes an adapter useless: no training, no difference to another, another model."""
    for module in modules:
        if module.changes_nothing:
            yield f"adapter {module.name} changes nothing: all its updates are zero, as before training"
    twins: dict[str, list[str]] = {}
    for module in modules:
        if not module.changes_nothing:
            twins.setdefault(_digest(module), []).append(module.name)
    for names in twins.values():
        if len(names) > 1:
            yield f"adapters {', '.join(names)} are one and the same: their weights are equal"
    if backbone is None or metadata.get("base_fingerprint"):
        return
    ours = {_last_part(name) for name in (backbone.name, _HUB_NAMES.get(backbone.name, backbone.name))}
    others: dict[str, list[str]] = {}
    for module in modules:
        if module.base_fingerprint is None and module.base_model and _last_part(module.base_model) not in ours:
            others.setdefault(module.base_model, []).append(module.name)
    for base, names in others.items():
        yield (
            f"trained on {base!r}, while the model here is {backbone.name!r}, by the config of {', '.join(names)}: "
            "adapters fit only the weights they were trained on"
        )


def _last_part(name: str) -> str:
    """What tells a model by its name: the last part of a path or hub id, in lower case; the hub's cache has folders of
    its own.
    """
    parts = [part for part in re.split(r"[/\\]", name.lower()) if part not in ("", ".")]
    for part in parts:
        if part.startswith("models--"):
            return part.split("--")[-1]
    return parts[-1] if parts else name


def _digest(module: LoraModule) -> str:
    """SHA-256 of what a module computes with, whatever its name."""
    digest = hashlib.sha256(repr(module.scale).encode())
    for linear in sorted(module.a):
        for matrix in (module.a[linear], module.b[linear]):
            digest.update(f"{linear}{matrix.shape}".encode() + np.ascontiguousarray(matrix).tobytes())
    return digest.hexdigest()


def _with_all_targets(
    title: str, modules: Sequence[LoraModule], order: Sequence[str] | None
) -> tuple[list[LoraModule], tuple[str, ...]]:
    """All linears that any adapter changes, and every adapter with an entry (of rank 0 if need be) for each of them."""
    shapes: dict[str, tuple[int, int]] = {}
    for module in modules:
        for linear in module.a:
            shape = (module.b[linear].shape[0], module.a[linear].shape[1])
            if shapes.setdefault(linear, shape) != shape:
                raise UsageError(
                    f"pool {title}: adapter {module.name!r} has a {linear} of shape {shape} (out, in), others of "
                    f"{shapes[linear]}: adapters of different base models"
                )
    targets = tuple(name for name in (order if order is not None else sorted(shapes)) if name in shapes)
    complete = []
    for module in modules:
        a = {name: module.a.get(name, np.zeros((0, shapes[name][1]), np.float32)) for name in targets}
        b = {name: module.b.get(name, np.zeros((shapes[name][0], 0), np.float32)) for name in targets}
        complete.append(replace(module, a=a, b=b))
    return complete, targets
