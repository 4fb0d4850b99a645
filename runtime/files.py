"""Writing a file so that a power cut leaves the old one or the new one, opening files that are what they should be, and
the lock that keeps a second writer out.

Nothing here follows a link: a folder from a stranger may hold links to anywhere.
"""

import contextlib
import errno
import fcntl
import os
import weakref
from pathlib import Path

from ..errors import EdgeAdaptError, UsageError


class Disk:
    """The file operations that a save is made of, one method each, so that tests can make any of them fail."""

    def make_folder(self, path: Path) -> None:
        path.mkdir(exist_ok=True)

    def create(self, path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        return os.write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        os.replace(source, target)

    def sync_folder(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, path: Path) -> None:
        os.unlink(path)


DISK = Disk()
TEMPORARY = ".tmp"
"""Ends the name of a file that is being written."""
_OR_RESET = "or take it away, and `edge-adapt state reset` begins again with the exported state"


def require_own_folder(path: Path) -> None:
    """Raise `UsageError` where a folder of the state is a link, since what it holds would not be the bundle's, or is no
    folder. One that is not there is made when something is saved.
    """
    if path.is_symlink():
        gone = "" if path.exists() else ", which is not there"
        raise UsageError(
            f"{path} is a link to {os.readlink(path)}{gone}; the state of a bundle lies in the bundle itself: put the "
            f"folder in place of the link, {_OR_RESET}"
        )
    require_folder(path)


def require_folder(path: Path) -> None:
    """Raise `UsageError` where something else has the place of a folder of the state, or a link to nothing has."""
    if path.is_dir() or not os.path.lexists(path):
        return
    if path.is_symlink():
        what = f"a link to {os.readlink(path)}, which is {'no folder' if path.exists() else 'not there'}"
    else:
        what = "a file"
    raise UsageError(
        f"{path} is {what}, and must be the folder with the state of the bundle: put that folder in its place, "
        f"{_OR_RESET}"
    )


def make_folders(path: Path, disk: Disk = DISK) -> None:
    """Make a folder and those above it that are not there, so that they survive a power cut, too."""
    for missing in reversed([folder for folder in (path, *path.parents) if not folder.exists()]):
        disk.make_folder(missing)
        disk.sync_folder(missing.parent)


def write_durably(path: Path, content: bytes, disk: Disk = DISK) -> None:
    """Make `content` the contents of `path`, all or nothing: temporary file, sync, rename, sync of the folder.

    When it returns, the new contents survive a power cut. When it raises `EdgeAdaptError`, the file has the old
    contents or the new ones, and no temporary file is left if it can be removed.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        make_folders(path.parent, disk)
        _write_synced(temporary, content, disk)
        disk.replace(temporary, path)
        disk.sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            disk.remove(temporary)
        raise EdgeAdaptError(
            f"{path} cannot be written: {error.strerror or error}; what was saved before is unharmed"
        ) from error


def _write_synced(path: Path, content: bytes, disk: Disk) -> None:
    descriptor = disk.create(path)
    try:
        left = memoryview(content)
        while left:
            left = left[disk.write(descriptor, left) :]
        disk.sync(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            disk.close(descriptor)
        raise
    disk.close(descriptor)


class Lock:
    """An exclusive lock on a file, held by one writer at a time and freed by the system when its process ends."""

    def __init__(self, path: Path) -> None:
        """Take the lock. Raises `EdgeAdaptError` when another writer has it or the folder cannot be written."""
        try:
            make_folders(path.parent)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise EdgeAdaptError(f"the state cannot be changed: {path} cannot be written ({error.strerror})") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise EdgeAdaptError(f"{path} cannot be locked: {error.strerror}") from error
            raise EdgeAdaptError(
                f"another process is changing the state of {path.parent.parent}; wait for it to end, or stop it"
            ) from error
        self.release = weakref.finalize(self, os.close, descriptor)
        """Frees the lock; more than once does no harm. It is also freed when the object is forgotten."""
