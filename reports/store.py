"""Writes a report folder so that it is either complete or not there.

Everything goes into a hidden folder beside the destination first; a rename puts it in place at the end.
"""

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import EdgeAdaptError, UsageError
from ..folders import nearest, try_place, whole_folder, write_synced
from ..inputs import NotJsonError, read_json
from .records import SCHEMA

_FAMILY = SCHEMA.split("/", maxsplit=1)[0] + "/"
_OURS = {"report.json", "report.html", "results.csv", "figures"}


@dataclass(frozen=True)
class ReportPaths:
    """Where the files of a report are."""

    folder: Path
    json: Path
    html: Path
    figures: tuple[Path, ...]

    @property
    def csv(self) -> Path:
        return self.folder / "results.csv"


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
    """Raise `UsageError` unless a folder can be made beside `out`, or in the nearest folder above it that is there."""
    try:
        parent = nearest(out)
        if not parent.is_dir():
            raise UsageError(f"cannot write the report {str(out)!r}: {str(parent)!r} is no folder; give another --out")
        try_place(out)
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
        found = read_json(path)
    except (OSError, NotJsonError):
        return False
    return isinstance(found, dict) and str(found.get("schema", "")).startswith(_FAMILY)


def write_folder(out: Path, files: Mapping[str, str]) -> None:
    """Write `files` (relative path -> text) as the folder `out`, replacing a former report only at the end.

    Raises:
        UsageError: see `check_destination`.
        EdgeAdaptError: no space left, no permission and the like. Nothing of the new report stays, the old one does.
    """
    check_destination(out)
    try:
        with whole_folder(out) as new:
            for name, text in files.items():
                write_synced(new / name, text)
    except OSError as error:
        raise _failure(error, out, sum(len(text.encode()) for text in files.values())) from error


def _failure(error: OSError, out: Path, size_bytes: int = 0) -> EdgeAdaptError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EdgeAdaptError(
            f"no space left for the report in {str(out.absolute().parent)!r} (it needs {size_bytes / 1e6:.1f} MB): "
            "free some space or give another --out; nothing was kept"
        )
    return EdgeAdaptError(f"cannot write the report {str(out)!r}: {error.strerror or error}; give another --out")
