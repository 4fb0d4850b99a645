"""What a comparison is asked to do: devices × tasks, and the simulation that each pair of them gets."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..option_types import kinds_of
from ..options_file import read_options, typed
from .config import SimulateConfig

LISTS = ("devices", "tasks", "methods")
#: options of `SimulateConfig` that a comparison sets itself
_OWN = ("device", "task", "method")


@dataclass(frozen=True)
class CompareConfig:
    """Options of `edge-adapt compare`.

    devices, tasks: shipped names or paths, each once. study: everything else, the same for every pair of a device and
    a task; its own `device` and `task` are not used.
    """

    devices: tuple[str, ...] = ("reram", "pcm", "fefet", "sram")
    tasks: tuple[str, ...] = ("movie",)
    study: SimulateConfig = dataclasses.field(default_factory=lambda: SimulateConfig(method=("all",), seeds=3))

    def __post_init__(self) -> None:
        for name in ("devices", "tasks"):
            if not getattr(self, name):
                raise UsageError(f"{name} must name at least one of them; got none")
            object.__setattr__(self, name, tuple(dict.fromkeys(getattr(self, name))))
        if len(self.study.shots) != 1:
            raise UsageError("compare takes one number of shots; give another --out for another number")

    @classmethod
    def of(cls, options: dict[str, Any]) -> "CompareConfig":
        """From options by name: `devices`, `tasks`, `methods`, and those of `SimulateConfig`."""
        default = cls()
        rest = {name: value for name, value in options.items() if name not in LISTS}
        study = dataclasses.replace(default.study, method=options.get("methods", default.study.method), **rest)
        return cls(options.get("devices", default.devices), options.get("tasks", default.tasks), study)

    def cells(self) -> list[SimulateConfig]:
        """The simulations of the table, task by task."""
        return [dataclasses.replace(self.study, device=d, task=t) for t in self.tasks for d in self.devices]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for the report."""
        study = {name: value for name, value in self.study.as_dict().items() if name not in _OWN}
        lists = {"devices": list(self.devices), "tasks": list(self.tasks), "methods": list(self.study.method)}
        return lists | study

    def digest(self) -> str:
        """A short hash of all options (not of the files they name)."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()[:16]


def read_compare_config(path: Path) -> dict[str, Any]:
    """The options in a YAML file (`out` and `jobs` too), with their types checked. UsageError names file and line."""
    lists = dict.fromkeys(LISTS, tuple[str, ...])
    options = typed(read_options(path), lists | kinds_of(SimulateConfig, *_OWN, out=Path, jobs=int))
    return options | {name: split_names(options[name]) for name in LISTS if name in options}


def split_names(items: Iterable[str]) -> tuple[str, ...]:
    """Names given one by one or joined by commas."""
    return tuple(name for item in items for part in item.split(",") if (name := part.strip()))
