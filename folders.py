"""Folders and files that appear complete or not at all: reports, bundles, adapters, downloads.

What these functions raise is an `OSError` of the file system; `writing` makes one line of it, or who calls them does.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import EdgeAdaptError


def try_place(out: Path) -> None:
    """Make a folder in the nearest one above `out` that is there, and take it away again; OSError if that fails.

    Permissions alone do not tell (of root, of /proc, of a disk that is mounted read-only).
    """
    os.rmdir(tempfile.mkdtemp(prefix=f".tmp-{out.name}-", dir=nearest(out)))


def nearest(out: Path) -> Path:
    """The nearest thing above `out` that is there."""
    return next(above for above in out.absolute().parents if above.exists())


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """An empty folder beside `out` that takes its place at the end. After an exception nothing of it is left, nor of
    the folders above that were made for it, and what was at `out` is there.
    """
    out = out.absolute()
    missing = [above for above in out.parents if not above.exists()]  # nearest first
    work, whole = None, False
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".tmp-{out.name}-", dir=out.parent))
        new = work / "new"
        new.mkdir()  # unlike the folder around it this has the permissions of any other
        yield new
        put_in_place(new, out, work / "old")
        whole = True
    finally:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)
        for above in () if whole else missing:
            with contextlib.suppress(OSError):  # never made, or another process put something in it
                above.rmdir()


def write_synced(path: Path, text: str) -> None:
    """Write a file, and the folders above it, through to the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())


def write_whole(path: Path, text: str) -> None:
    """Write a file that takes the place of a former one when it is complete."""
    temporary = path.with_name(path.name + ".tmp")
    write_synced(temporary, text)
    temporary.replace(path)


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Makes an `OSError` inside an `EdgeAdaptError` that names `out`."""
    try:
        yield
    except OSError as error:
        raise EdgeAdaptError(f"cannot write {out}: {error.strerror or error}") from error


def put_in_place(new: Path, out: Path, old: Path) -> None:
    """Move the folder `new` to `out`; what is there goes to `old`, and comes back if the move fails."""
    had = out.exists()
    if had:
        os.replace(out, old)
    try:
        os.replace(new, out)
    except BaseException:
        if had:
            os.replace(old, out)
        raise
