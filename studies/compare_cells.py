"""The finished simulations of a comparison on disk: one file each, found again by what decided its result."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..inputs import NotJsonError, read_json
from ..runtime.files import write_durably
from .compare_keys import Key, changes
from .config import SimulateConfig


@dataclass(frozen=True)
class FinishedCell:
    """A simulation that is done: how long it took, and its report."""

    seconds: float
    report: dict[str, Any]


class CellStore:
    """The folder `cells` of a comparison. It is made with its first file.

    Simulations of former inputs stay beside those of the present ones: an input that is put back finds its own again.
    """

    def __init__(self, out: Path):
        self.folder = out / "cells"

    def path(self, config: SimulateConfig, key: Key) -> Path:
        """Where the simulation of `config` with the inputs of `key` is, or will be."""
        return self.folder / f"{_names(config)}-{_digest(key)[:16]}.json"

    def load(self, config: SimulateConfig, key: Key) -> FinishedCell | None:
        """The finished simulation; None where there is none of these inputs, or a damaged one."""
        found = _read(self.path(config, key))
        if found.get("key") != key or not isinstance(found.get("report"), dict):
            return None
        if found.get("digest") != _digest(found["report"]):
            return None
        return FinishedCell(float(found["seconds"]), found["report"])

    def changed(self, config: SimulateConfig, key: Key) -> list[str]:
        """What has changed since a simulation of the same device and task that is kept, in words; of several, the one
        with the fewest changes. Empty where there is none.
        """
        names = re.escape(_names(config))
        former = [path for path in self.folder.glob("*.json") if re.fullmatch(rf"{names}-[0-9a-f]+\.json", path.name)]
        keys = [_read(path).get("key") for path in sorted(former)]
        return min((changes(old, key) for old in keys if isinstance(old, Mapping)), key=len, default=[])

    def save(self, config: SimulateConfig, key: Key, cell: FinishedCell) -> None:
        """Keep a finished simulation: a kill or a power cut leaves all of the file or nothing. Raises EdgeAdaptError
        when it cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {"key": key, "seconds": cell.seconds, "digest": _digest(cell.report), "report": cell.report}
        write_durably(self.path(config, key), json.dumps(content, ensure_ascii=False, allow_nan=False).encode())


def _names(config: SimulateConfig) -> str:
    names = (re.sub(r"[^A-Za-z0-9]+", "-", Path(given).stem).strip("-") for given in (config.device, config.task))
    return "-".join(names)


def _read(path: Path) -> dict[str, Any]:
    """What a file holds; empty where it cannot be read."""
    try:
        found = read_json(path)
    except (OSError, NotJsonError):
        return {}
    return found if isinstance(found, dict) else {}


def _digest(thing: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(thing, sort_keys=True, allow_nan=False).encode()).hexdigest()
