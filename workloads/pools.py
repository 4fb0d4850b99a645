"""Pools of LoRA adapters for one base model, read from folders in `peft` format."""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..display import Shown
from ..errors import EdgeAdaptError, UsageError, unknown_name
from ..paths import expanded
from .peft_config import CONFIG_FILE
from .peft_folder import LoraModule, is_adapter_folder, load_module, save_module

if TYPE_CHECKING:
    from .models import Backbone

__all__ = ["POOL_FILE", "LoraModule", "Pool", "default_pool", "load_pool", "save_module", "save_pool_info"]

POOL_FILE = "pool.json"

_SHIPPED = Path(__file__).parent / "pools"


@dataclass(frozen=True, repr=False)
class Pool(Shown):
    """Adapters of the same base model, in the order of their names.

    `target_names` are the linears that at least one adapter changes. Every module has an entry for each of them; where
    an adapter leaves a linear alone its matrices have rank 0. `metadata` is what `save_pool_info` recorded.
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

    With `backbone`, the adapters' linears are matched to its linear layers (adapters trained under a task head have a
    longer prefix) and their shapes are compared.

    Raises:
        UsageError: no such folder, no adapter in it, adapters of different base models or of another model than
            `backbone`, or an adapter that is not supported.
        EdgeAdaptError: a file is missing or broken.
    """
    paths = [Path(path)] if isinstance(path, str | Path) else [Path(item) for item in path]
    folders = [folder for item in paths for folder in _adapter_folders(expanded(item))]
    modules = [replace(load_module(folder), name=name) for name, folder in _named(folders)]
    metadata = _read_info(paths[0]) if len(paths) == 1 else {}
    title = ", ".join(map(str, paths))
    _check_same_base(title, modules, metadata, backbone)
    if backbone is not None:
        modules = [_matched(module, backbone) for module in modules]
    modules, targets = _with_all_targets(title, modules, backbone.linear_names() if backbone is not None else None)
    messages = tuple(message for module in modules for message in module.messages)
    return Pool(tuple(modules), targets, title, metadata, messages)


def save_pool_info(folder: str | Path, info: Mapping[str, Any]) -> None:
    """Write `pool.json` beside the adapters: base_model, base_fingerprint, and how to make the pool again.

    Raises:
        EdgeAdaptError: the folder cannot be written.
    """
    target = Path(folder) / POOL_FILE
    temporary = target.with_name(f".tmp-{POOL_FILE}")
    try:
        temporary.write_text(json.dumps(dict(info), indent=2) + "\n", encoding="utf-8")
        temporary.replace(target)
    except OSError as error:
        raise EdgeAdaptError(f"cannot write {target}: {error}") from error


def default_pool(model_name: str) -> Path:
    """The folder of the pool that is shipped for a model; `UsageError` when there is none."""
    shipped = {item.name: item for item in sorted(_SHIPPED.glob("*")) if item.is_dir()}
    if model_name not in shipped:
        raise UsageError(
            f"no pool is shipped for the model {model_name!r} (there are pools for: {', '.join(shipped) or 'none'}); "
            "give one with --pool, or train one: edge-adapt pool train"
        )
    return shipped[model_name]


def _adapter_folders(path: Path) -> list[Path]:
    if not path.is_dir():
        raise UsageError(f"pool {path}: no such folder")
    if is_adapter_folder(path):
        return [path]
    folders = sorted(item for item in path.iterdir() if item.is_dir() and not item.name.startswith("."))
    for folder in (path, *folders):
        if not is_adapter_folder(folder) and (weights := sorted(folder.glob("adapter_model.*"))):
            raise UsageError(
                f"pool {path}: {folder} holds {weights[0].name} but no {CONFIG_FILE}: put that file back, or take the "
                "folder out of the pool"
            )
    found = [folder for folder in folders if is_adapter_folder(folder)]
    if not found:
        raise UsageError(f"pool {path}: neither an adapter ({CONFIG_FILE}) nor a folder of adapters")
    _check_complete(path, {folder.name for folder in found})
    return found


def _check_complete(path: Path, found: Collection[str]) -> None:
    """Raise `UsageError` for a module that pool.json lists and that is not there; others may have been added."""
    listed = _read_info(path).get("modules", [])
    if not isinstance(listed, list) or not all(isinstance(e, dict) and isinstance(e.get("name"), str) for e in listed):
        raise UsageError(f"{path / POOL_FILE}: `modules` must be a list of objects with a `name` each")
    if missing := [entry["name"] for entry in listed if entry["name"] not in found]:
        raise UsageError(
            f"pool {path}: {POOL_FILE} lists the module {missing[0]!r}, but there is no adapter in "
            f"{path / missing[0]}: put it back, or take it off the list"
        )


def _named(folders: Sequence[Path]) -> list[tuple[str, Path]]:
    """A name for each adapter: its folder's, with the parent folder's in front where two would be the same."""
    counts = Counter(folder.resolve().name for folder in folders)
    named = []
    for folder in (item.resolve() for item in folders):
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
        info = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
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
    names = {module.base_model: module.name for module in modules if module.base_model}
    if len(fingerprints) > 1:
        owners = list(fingerprints.values())
        raise UsageError(f"pool {title}: {owners[0]!r} and {owners[1]!r} belong to base models with different weights")
    all_known = all(module.base_fingerprint for module in modules)
    if len(names) > 1 and not all_known:
        described = ", ".join(f"{owner!r} of {name!r}" for name, owner in list(names.items())[:2])
        raise UsageError(f"pool {title}: adapters of different base models: {described}; keep those of one model")
    if backbone is not None and fingerprints and backbone.fingerprint not in fingerprints:
        base = metadata.get("base_model") or next(iter(names), "another model")
        raise UsageError(
            f"pool {title} was trained on {base!r}, whose weights are not those of the model {backbone.name!r}; "
            "use that model, or train a pool for this one: edge-adapt pool train"
        )


def _matched(module: LoraModule, backbone: "Backbone") -> LoraModule:
    """Give the adapter's linears the backbone's names and compare shapes."""
    linears = backbone.linear_names()
    names = {linear: _match(module, linear, linears, backbone.name) for linear in module.a}
    for linear, name in names.items():
        shape = tuple(backbone.module.get_parameter(f"{name}.weight").shape)
        given = (module.b[linear].shape[0], module.a[linear].shape[1])
        if given != shape:
            raise UsageError(
                f"adapter {module.name!r} is for a {linear} of shape {given} (out, in), but that of the model "
                f"{backbone.name!r} is {shape}: it was trained on another model"
            )
    a = {name: module.a[linear] for linear, name in names.items()}
    b = {name: module.b[linear] for linear, name in names.items()}
    return replace(module, a=a, b=b)


def _match(module: LoraModule, linear: str, linears: Sequence[str], model: str) -> str:
    for name in linears:
        if linear == name or linear.endswith(f".{name}"):
            return name
    unknown = unknown_name("linear", linear, linears[:6])
    raise UsageError(f"adapter {module.name!r} of the pool does not fit the model {model!r}: {unknown}, ...")


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
