"""A folder that appears complete or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import EdgeAdaptError


def require_place(out: Path) -> None:
    """Raise `EdgeAdaptError` when no folder can be made where `out` is to be; nothing is left of the attempt."""
    above = next(folder for folder in out.absolute().parents if folder.exists())
    try:
        os.rmdir(tempfile.mkdtemp(prefix=f".tmp-{out.name}-", dir=above))
    except OSError as error:
        raise EdgeAdaptError(f"cannot write to {above}: {error.strerror}") from error


@contextmanager
def in_place(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that takes its place at the end, or disappears."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".tmp-{out.name}-", dir=out.parent))
    except OSError as error:
        raise EdgeAdaptError(f"cannot write to {out.parent}: {error.strerror}") from error
    try:
        new = work / "new"
        new.mkdir()
        yield new
        had = out.exists()
        if had:
            os.replace(out, work / "old")
        try:
            os.replace(new, out)
        except OSError:
            if had:
                os.replace(work / "old", out)
            raise
    except OSError as error:
        raise EdgeAdaptError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
