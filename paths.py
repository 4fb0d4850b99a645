"""Paths as users give them."""

import os
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """The path with a leading `~` or `~user` as that home folder; `~` of a user that is not known stays as it is, so
    that it is reported like any other path that does not exist (`Path.expanduser` raises RuntimeError).
    """
    return Path(os.path.expanduser(path))
