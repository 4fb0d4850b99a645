"""What lies in the cache folder, and whether it is still what was put there."""

import fnmatch
import json
import os
from pathlib import Path

from ..inputs import read_json
from ..paths import expanded
from .packages import Package
from .unpack import file_sha256

MARKER = ".complete.json"


def cache_dir() -> Path:
    """The cache folder: $EDGE_ADAPT_CACHE, else the user's cache ($XDG_CACHE_HOME or ~/.cache) / edge-adapt."""
    if own := os.environ.get("EDGE_ADAPT_CACHE"):
        return expanded(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "edge-adapt"


def packages_dir() -> Path:
    """The folder in the cache that holds one folder per fetched package."""
    return cache_dir() / "packages"


def package_folder(package: Package) -> Path:
    """Where the unpacked members of `package` lie once fetched."""
    return packages_dir() / f"{package.name}-{package.version}"


def write_marker(folder: Path, package: Package) -> None:
    """Record size and checksum of every file in `folder`; the marker is what makes the folder count as fetched."""
    files = {
        path.relative_to(folder).as_posix(): {"size_bytes": path.stat().st_size, "sha256": file_sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    marker = {"package": package.requirement, "archive_sha256": package.sha256, "files": files}
    (folder / MARKER).write_text(json.dumps(marker, indent=1), encoding="utf-8")


def damage(folder: Path, package: Package, contents: bool) -> str | None:
    """What is wrong with a fetched folder, or None when it is intact.

    `contents=False` looks at names and sizes only; `contents=True` reads every file and compares checksums.
    """
    try:
        marker = read_json(folder / MARKER)
        if marker["archive_sha256"] != package.sha256:
            return "it was unpacked from another file"
        lacking = {pattern: None for pattern in package.members if not fnmatch.filter(marker["files"], pattern)}
        for name, recorded in (lacking | marker["files"]).items():  # an older version may have left members out
            path = folder / name
            if recorded is None or not path.is_file() or path.stat().st_size != recorded["size_bytes"]:
                return f"{name} is missing or has another size"
            if contents and file_sha256(path) != recorded["sha256"]:
                return f"{name} has been changed"
    except FileNotFoundError:
        return "it is incomplete"
    except (ValueError, KeyError, TypeError, AttributeError):
        return "its marker file is broken"
    return None
