"""What decides the result of each simulation of a comparison, as a key: equal keys, equal results."""

import hashlib
import json
from collections.abc import Mapping
from functools import cache, cached_property
from typing import Any

from .._version import __version__
from ..devices import load_chip
from ..errors import EdgeAdaptError, UsageError
from ..reports.records import FIELDS
from ..workloads.models import load_backbone
from ..workloads.pools import default_pool, load_pool
from ..workloads.task import Task
from ..workloads.tasks import load_task
from . import inputs
from .config import SimulateConfig
from .variants import choose_variants

SCHEMA = "edge-adapt/compare-cell/2"
PLACES = ("device", "model", "task", "pool")  # options that name inputs: contents stand for them, not names and places

Key = dict[str, Any]

_WORDS = {
    "chip": "the chip (its array, cell or periphery)",
    "model": "the model",
    "pool": "the pool",
    "task": "the task's examples",
    "methods": "the methods' settings",
    "code": "the code of edge-adapt",
    "fields": "the fields of a report",
    "schema": "how simulations are kept",
    "arithmetic": "how the processor multiplies",
}


class InputKeys:
    """Loads every input of a comparison once, and makes the keys of its simulations."""

    def __init__(self, study: SimulateConfig):
        """Load the model; what is wrong with it is raised."""
        self._study = study
        self.backbone = load_backbone(study.model, study.image_size or None)
        self._model = inputs.model_sha256(self.backbone)
        self._chip, self._task = cache(self._chip_sha256), cache(self._load_task)

    def of(self, cell: SimulateConfig) -> Key | None:
        """The key; None where the task cannot be fetched now. Raises UsageError for inputs that do not fit."""
        found = self._task(cell.task)
        if found is None:
            return None
        task, digest = found
        variants = choose_variants(cell.method, cell.method_settings(), images=task.kind == "image")
        pool = any(variant.method.needs_pool for variant in variants)
        key = {
            "schema": SCHEMA,
            "version": __version__,
            "code": inputs.code_sha256(),
            "fields": hashlib.sha256(" ".join(field.path for field in FIELDS).encode()).hexdigest(),
            "packages": inputs.versions_that_decide(task.kind == "image", cell.trainer == "onnxruntime"),
            "arithmetic": inputs.arithmetic(),
            "options": {name: value for name, value in cell.as_dict().items() if name not in PLACES},
            "chip": self._chip(cell.device),
            "model": self._model,
            "pool": self._pool if pool else None,
            "task": digest,
            "methods": inputs.methods_sha256(variants),
        }
        plain: Key = json.loads(json.dumps(key))  # as it comes back from a file
        return plain

    def source(self, task: str) -> str:
        """Where the examples of a task come from, in words."""
        found = self._task(task)
        return task if found is None else found[0].source

    def _chip_sha256(self, device: str) -> str:
        return inputs.chip_sha256(load_chip(device, self._study.chip_settings()))

    def _load_task(self, name: str) -> tuple[Task, str] | None:
        try:
            task = load_task(name, self._study.test_examples, self._study.reading())
        except UsageError:
            raise
        except EdgeAdaptError:  # it cannot be fetched now: the table says so
            return None
        return task, inputs.task_sha256(task)

    @cached_property
    def _pool(self) -> str:
        path = self._study.pool or default_pool(self.backbone.name)
        return inputs.pool_sha256(load_pool(path, self.backbone))


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two keys, in words."""
    found = []
    if before.get("version") != now["version"]:
        found.append(f"edge-adapt {before.get('version')} -> {now['version']}")
    implied = {"code"} if found else set()
    if (before.get("options") or {}).get("settings") != now["options"]["settings"]:
        implied.add("methods")
    found += [text for name, text in _WORDS.items() if before.get(name) != now[name] and name not in implied]
    for name in ("packages", "options"):
        old, new = before.get(name) or {}, now[name]
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                found.append(f"{key} {_shown(old.get(key))} -> {_shown(new.get(key))}")
    return found


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={item}" for key, item in value.items()) or "none"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else "none" if value is None else str(value)
