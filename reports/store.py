"""Writes a report folder so that it is either complete or not there.

Everything goes into a hidden folder beside the destination first; a rename puts it in place at the end.
"""

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ..errors import EdgeAdaptError, UsageError
from .fields import SCHEMA

_FAMILY = SCHEMA.split("/", maxsplit=1)[0] + "/"
_OURS = {"report.json", "report.html", "results.csv", "figures"}


def check_destination(out: Path) -> None:
    """Refuse a destination that a report may not replace; call it before a long run.

    Allowed: nothing there, an empty folder, or a former report with nothing else in it.

    Raises:
        UsageError: `out` is a file, a link, the working folder or one above it, or a folder with other things in it; or
            nothing can be made where it is to be.
        EdgeAdaptError: it cannot be read.
    """
    try:
        _check_destination(out)
    except OSError as error:
        raise _failure(error, out) from error
    check_parent(out)


def check_parent(out: Path) -> None:
    """Raise `UsageError` unless a folder can be made beside `out`, or in the nearest folder above it that is there.

    It is tried: permissions alone do not tell (of root, of /proc, of a disk that is mounted read-only).
    """
    try:
        parent = next(folder for folder in out.absolute().parents if folder.exists())
        if not parent.is_dir():
            raise UsageError(f"cannot write the report {str(out)!r}: {str(parent)!r} is no folder; give another --out")
        Path(tempfile.mkdtemp(prefix=f".{out.name}.new-", dir=parent)).rmdir()
    except OSError as error:
        raise UsageError(
            f"cannot write the report {str(out)!r}: no folder can be made in {str(parent)!r} "
            f"({error.strerror or error}); give another --out"
        ) from error


def _check_destination(out: Path) -> None:
    if out.is_symlink():
        raise UsageError(f"the report folder {str(out)!r} is a link: give the folder itself")
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError(f"the report folder {str(out)!r} is a file: give another --out")
    here = Path.cwd().resolve()
    if out.resolve() in (here, *here.parents):
        raise UsageError(
            f"the report folder {str(out)!r} is the working folder or holds it, and would be replaced: "
            "give a folder of its own, for example --out edge-adapt-report"
        )
    found = {entry.name for entry in out.iterdir()}
    if not found:
        return
    foreign = sorted(found - _OURS)
    figures = out / "figures"
    if figures.is_dir() and not figures.is_symlink():
        foreign += sorted(f"figures/{entry.name}" for entry in figures.iterdir() if entry.suffix != ".svg")
    if foreign or not _is_report(out / "report.json"):
        what = (
            f"holds {', '.join(foreign[:3])}{' …' if len(foreign) > 3 else ''}" if foreign else "is not a former report"
        )
        raise UsageError(f"the folder {str(out)!r} {what} and is not overwritten: give another --out, or move it away")


def _is_report(path: Path) -> bool:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and str(found.get("schema", "")).startswith(_FAMILY)


def write_folder(out: Path, files: Mapping[str, str]) -> None:
    """Write `files` (relative path -> text) as the folder `out`, replacing a former report only at the end.

    Raises:
        UsageError: see `check_destination`.
        EdgeAdaptError: no space left, no permission and the like. Nothing of the new report stays, the old one does.
    """
    check_destination(out)
    target = out.absolute()
    missing = [parent for parent in target.parents if not parent.exists()]  # nearest first
    staging = retired = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.new-", dir=target.parent))
        for name, text in files.items():
            _write_file(staging / name, text)
        staging.chmod(0o777 & ~_umask())
        if target.exists():
            retired = Path(tempfile.mkdtemp(prefix=f".{target.name}.old-", dir=target.parent))
            target.rename(retired / "report")
        staging.rename(target)
    except BaseException as error:
        if retired is not None and not target.exists() and (retired / "report").exists():
            (retired / "report").rename(target)
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
        for parent in missing:
            with contextlib.suppress(OSError):  # another process may have put something in it
                parent.rmdir()
        if isinstance(error, OSError):
            raise _failure(error, out, sum(len(text.encode()) for text in files.values())) from error
        raise
    finally:
        if retired is not None:
            shutil.rmtree(retired, ignore_errors=True)


def _write_file(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _failure(error: OSError, out: Path, size_bytes: int = 0) -> EdgeAdaptError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EdgeAdaptError(
            f"no space left for the report in {str(out.absolute().parent)!r} (it needs {size_bytes / 1e6:.1f} MB): "
            "free some space or give another --out; nothing was kept"
        )
    return EdgeAdaptError(f"cannot write the report {str(out)!r}: {error.strerror or error}; give another --out")
