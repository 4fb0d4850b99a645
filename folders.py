"""Folders and files that appear complete or not at all: reports, bundles, adapters, downloads.

A folder is made beside its place, synced to the disk, and then changes places with what is there in one step. Whenever
the power goes, the old one or the new one is there, whole. What a killed process leaves beside is taken away by the
next one that writes to the same place.

What these functions raise is an `OSError` of the file system; `writing` makes one line of it, or who calls them does.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import EdgeAdaptError

TEMPORARY = ".tmp"
"""Ends the name of a file that is being written."""

_NEW, _OLD = "new", "old"  # in a folder in the making: what is to come, and what was there
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


def try_place(out: Path) -> None:
    """Make a folder in the nearest one above `out` that is there, and take it away again; OSError if that fails.

    Permissions alone do not tell (of root, of /proc, of a disk that is mounted read-only).
    """
    above = nearest(out)
    _clear(above, out)
    made = tempfile.mkdtemp(prefix=_prefix(out), dir=above)
    with contextlib.suppress(FileNotFoundError):  # another process took it for a leftover
        os.rmdir(made)


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
    work, lock, whole = None, None, False
    try:
        _make_folders(out.parent)
        clear_leftovers(out)
        work, lock = _locked_folder(out)
        new = work / _NEW
        new.mkdir()  # unlike the folder around it this has the permissions of any other
        yield new
        sync_tree(new)
        put_in_place(new, out, work / _OLD)
        whole = True
    finally:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)
        if lock is not None:
            os.close(lock)
        for above in () if whole else missing:
            with contextlib.suppress(OSError):  # never made, or another process put something in it
                above.rmdir()


def write_synced(path: Path, text: str) -> None:
    """Write a file, and the folders above it, through to the disk."""
    _make_folders(path.parent)
    with path.open("w", encoding="utf-8", newline="\n") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())


def write_whole(path: Path, text: str) -> None:
    """Write a file that takes the place of a former one when it is complete. What is left of it otherwise is `path`
    with `TEMPORARY` behind its name, where the process is killed, until the next write to the same place.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        write_synced(temporary, text)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def clear_temporary(folder: Path) -> None:
    """Take away the files of a folder that killed processes were writing; for one that alone writes there."""
    for left in folder.glob(f"*{TEMPORARY}"):
        if left.is_file() or left.is_symlink():
            left.unlink(missing_ok=True)


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Makes an `OSError` inside an `EdgeAdaptError` that names `out`."""
    try:
        yield
    except OSError as error:
        raise EdgeAdaptError(f"cannot write {out}: {error.strerror or error}") from error


def put_in_place(new: Path, out: Path, old: Path) -> None:
    """Move the folder `new` to `out`, durably, where both are on one disk. What is there is at `new` or at `old` then.

    Where the file system cannot exchange two folders, what is there goes to `old` first, and comes back if the move
    fails; a process that is killed between the two leaves it to `clear_leftovers`.
    """
    if not os.path.lexists(out):
        os.replace(new, out)
    elif not _exchanged(new, out):
        os.replace(out, old)
        try:
            os.replace(new, out)
        except BaseException:
            os.replace(old, out)
            raise
    _sync_folder(out.parent)


def clear_leftovers(out: Path) -> None:
    """Take away what killed processes left beside `out`, and put back what such a one had moved from there."""
    _clear(out.parent, out)


def _clear(folder: Path, out: Path) -> None:
    left = re.compile(re.escape(_prefix(out)) + "[a-z0-9_]{8}")  # as `tempfile` names them
    for work in sorted(path for path in folder.iterdir() if left.fullmatch(path.name)):
        lock = _lock(work)
        if lock is None:
            continue  # another process is at work there, or has just ended
        try:
            if (work / _OLD).is_dir() and not os.path.lexists(out):
                os.replace(work / _OLD, out)
                _sync_folder(out.parent)
            shutil.rmtree(work, ignore_errors=True)
        finally:
            os.close(lock)


def sync_tree(folder: Path) -> None:
    """Make all files and folders in `folder`, and itself, survive a power cut."""
    for where, _, names in os.walk(folder, topdown=False):
        for name in names:
            path = os.path.join(where, name)
            if not os.path.islink(path):
                _sync(path, os.O_RDONLY)
        _sync_folder(Path(where))


def _make_folders(path: Path) -> None:
    """Make a folder and those above it that are not there, so that they last."""
    for missing in reversed([p for p in (path, *path.parents) if not p.exists()]):
        missing.mkdir(exist_ok=True)
        _sync_folder(missing.parent)


def _prefix(out: Path) -> str:
    return f".tmp-{out.name}-"


def _locked_folder(out: Path) -> tuple[Path, int]:
    """A new folder beside `out`, and the lock that tells other processes that it is in use."""
    while True:
        work = Path(tempfile.mkdtemp(prefix=_prefix(out), dir=out.parent))
        lock = _lock(work)
        if lock is not None:
            return work, lock
        # Another process took it for a leftover before it was locked.
        with contextlib.suppress(OSError):
            work.rmdir()


def _lock(work: Path) -> int | None:
    """A descriptor that locks a folder until it is closed; None where another one does, or where it has gone."""
    try:
        lock = os.open(work, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), os.stat(work)):
            return lock
    except OSError:
        pass
    os.close(lock)
    return None


def _exchanged(one: Path, other: Path) -> bool:
    """Let two paths change places in one step; False where the system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:  # another C library, or another system
        return False
    if not renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE):
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code), str(one), None, str(other))


def _sync_folder(path: Path) -> None:
    _sync(str(path), os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: str, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot sync folders
            raise
    finally:
        os.close(descriptor)
