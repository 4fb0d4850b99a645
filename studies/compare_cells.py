"""The finished simulations of a comparison on disk: one file each, found again by configuration, version and inputs."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._version import __version__
from ..reports.fields import FIELDS
from ..runtime.files import write_durably
from .config import SimulateConfig

CELL_SCHEMA = "edge-adapt/compare-cell/1"
_PATHS = ("device", "model", "task", "pool")  # options that may name files


@dataclass(frozen=True)
class FinishedCell:
    """A simulation that is done: how long it took, and its report."""

    seconds: float
    report: dict[str, Any]


class CellStore:
    """The folder `cells` of a comparison. It is made with its first file."""

    def __init__(self, out: Path):
        self.folder = out / "cells"

    def path(self, config: SimulateConfig) -> Path:
        """Where the simulation of `config` is, or will be."""
        names = (re.sub(r"[^A-Za-z0-9]+", "-", Path(given).stem).strip("-") for given in (config.device, config.task))
        return self.folder / f"{'-'.join(names)}-{config.digest()}.json"

    def load(self, config: SimulateConfig) -> FinishedCell | None:
        """The finished simulation; None where there is none, or only one of another version of the package, of input
        files that have changed since, or a damaged one.
        """
        try:
            found = json.loads(self.path(config).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(found, dict) or found.get("key") != _key(config) or not isinstance(found.get("report"), dict):
            return None
        if found.get("digest") != _digest(found["report"]):
            return None
        return FinishedCell(float(found["seconds"]), found["report"])

    def save(self, config: SimulateConfig, cell: FinishedCell) -> None:
        """Keep a finished simulation: a kill or a power cut leaves all of the file or nothing. Raises EdgeAdaptError
        when it cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {"key": _key(config), "seconds": cell.seconds, "digest": _digest(cell.report), "report": cell.report}
        write_durably(self.path(config), json.dumps(content, ensure_ascii=False, allow_nan=False).encode())


def _key(config: SimulateConfig) -> dict[str, str]:
    """Equal keys, equal results: options, version of the package, fields of its reports, contents of the files that
    the options name.
    """
    fields = hashlib.sha256(" ".join(field.path for field in FIELDS).encode()).hexdigest()[:16]
    return {
        "schema": CELL_SCHEMA, "config_hash": config.digest(), "version": __version__, "fields": fields,
        "inputs": _inputs_digest(config),
    }  # fmt: skip


def _inputs_digest(config: SimulateConfig) -> str:
    digest = hashlib.sha256()
    for option in _PATHS:
        root = Path(getattr(config, option) or "")
        if root == Path() or not root.exists():  # a shipped name
            continue
        files = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
        for path in files:
            with path.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
            digest.update(f"{option} {path.relative_to(root)} {content}\n".encode())
    return digest.hexdigest()[:16]


def _digest(report: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(report, sort_keys=True, allow_nan=False).encode()).hexdigest()
