"""What a comparison is asked to do: devices × tasks, and the simulation that each pair of them gets."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError, unknown_name
from ..options_file import read_options
from .config import SimulateConfig, checked_option

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
    """The options in a YAML file (`out` and `jobs` too), with their types checked. UsageError names file and key."""
    options = {}
    for key, value, where in read_options(path):
        if key in LISTS:
            options[key] = _names(key, value, where)
        elif key in _OWN:
            near = next(name for name in LISTS if name.startswith(key))
            raise UsageError(f"{where}: {unknown_name('option', key, [near])}")
        else:
            name, checked = checked_option(key, value, where)
            options[name] = checked
    return options


def _names(key: str, value: Any, where: str) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, str) for item in items):
        raise UsageError(f"{where}: `{key}` takes names; got {value!r}")
    return split_names(items)


def split_names(items: list[str]) -> tuple[str, ...]:
    """Names given one by one or joined by commas."""
    return tuple(name for item in items for part in item.split(",") if (name := part.strip()))
