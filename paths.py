"""Paths as users give them."""

import os
from pathlib import Path

from .errors import nearest


def expanded(path: str | Path) -> Path:
    """The path with a leading `~` or `~user` as that home folder; `~` of a user that is not known stays as it is, so
    that it is reported like any other path that does not exist (`Path.expanduser` raises RuntimeError).
    """
    return Path(os.path.expanduser(path))


def near_file(path: Path) -> str:
    """What follows the name of a file or folder that is not there: those beside it that may have been meant, or ""."""
    try:
        names = sorted(name for name in os.listdir(path.parent) if not name.startswith("."))
    except OSError:
        return ""
    return nearest(path.name, names).rstrip(";")
