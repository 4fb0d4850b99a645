"""Where a run was made, and a digest of what it found."""

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..reports.records.header import Environment
from . import inputs

DIGITS = 9  # of a float in the digest


def environment(wall_seconds: float, processes: int) -> Environment:
    """The report's `environment`."""
    return Environment(
        processor=processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        operating_system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        commit=commit(Path(__file__).parent.parent),
        product_arithmetic=inputs.arithmetic(),
        wall_seconds=round(wall_seconds, 1),
        processes=processes,
    )


def processor() -> str:
    """The processor's name, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip().lower() in ("model name", "hardware"):
            return " ".join(value.split())
    return platform.processor() or platform.machine() or "unknown"


def commit(folder: Path) -> str | None:
    """`git describe` of a checkout whose top is `folder`; None where there is none, or no git."""
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--tags", "--abbrev=12"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None


def results_digest(report: Mapping[str, Any]) -> str:
    """SHA-256 of what a run found: equal digest, equal results. Nothing that depends on the clock is in it."""
    parts = {name: report[name] for name in ("results", "test_sets", "raw_pixels", "programming")}
    return hashlib.sha256(json.dumps(_rounded(parts), sort_keys=True).encode()).hexdigest()


def _rounded(thing: Any) -> Any:
    """Floats with so many digits as texts, so that -0.0 and 0.0, 1 and 1.0 look the same."""
    if isinstance(thing, bool) or thing is None or isinstance(thing, str):
        return thing
    if isinstance(thing, int | float):
        return f"{thing + 0.0:.{DIGITS}g}"
    if isinstance(thing, Mapping):
        return {key: _rounded(value) for key, value in thing.items()}
    return [_rounded(value) for value in thing]
