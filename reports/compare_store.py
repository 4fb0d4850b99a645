"""Writes the files of a comparison into its folder, beside the finished simulations, which it never touches."""

from collections.abc import Mapping
from pathlib import Path

from ..errors import EdgeAdaptError, UsageError
from ..folders import TEMPORARY, clear_temporary, write_whole
from ..inputs import NotJsonError, read_json
from .store import check_parent

_FILES = {"compare.json", "compare.html"}
_FOLDERS = {"cells": ".json", "figures": ".svg"}  # and how their files end


def check_folder(out: Path) -> None:
    """Refuse a folder with anything that is not of a comparison; call it before a long run.

    Raises:
        UsageError: `out` is a file, a link, the working folder or one above it, or a folder with other things in it.
        EdgeAdaptError: it cannot be read.
    """
    try:
        if out.is_symlink() or (out.exists() and not out.is_dir()):
            what = "a link: give the folder itself" if out.is_symlink() else "a file: give another --out"
            raise UsageError(f"the folder {str(out)!r} is {what}")
        if not out.exists():
            check_parent(out)
            return
        here = Path.cwd().resolve()
        if out.resolve() in (here, *here.parents):
            raise UsageError(
                f"the folder {str(out)!r} is the working folder or holds it: give a folder of its own, for example "
                "--out edge-adapt-compare"
            )
        foreign = _foreign(out)
    except OSError as error:
        raise EdgeAdaptError(f"cannot read the folder {str(out)!r}: {error.strerror or error}") from error
    if foreign:
        raise UsageError(
            f"the folder {str(out)!r} holds {', '.join(foreign[:3])}{' …' if len(foreign) > 3 else ''}, which is not "
            "of a comparison: give another --out, or move it away"
        )


def _foreign(out: Path) -> list[str]:
    found = []
    for entry in sorted(out.iterdir()):
        if entry.name in _FOLDERS and entry.is_dir() and not entry.is_symlink():
            end = _FOLDERS[entry.name]
            found += [
                f"{entry.name}/{file.name}"
                for file in sorted(entry.iterdir())
                if not file.is_file() or not file.name.endswith((end, end + TEMPORARY))
            ]
        elif entry.name.removesuffix(TEMPORARY) not in _FILES or (
            entry.name == "compare.json" and not _is_comparison(entry)
        ):
            found.append(entry.name)
    return found


def _is_comparison(path: Path) -> bool:
    try:
        found = read_json(path)
    except (OSError, NotJsonError):
        return False
    return isinstance(found, dict) and str(found.get("schema", "")).startswith("edge-adapt/compare/")


def write_files(out: Path, files: Mapping[str, str]) -> None:
    """Write `files` (relative path -> text) one by one, each all or nothing, in their order; figures that are not among
    them are removed, and so is what killed processes left. Raises EdgeAdaptError when one cannot be written.
    """
    try:
        for folder in (out, *(out / name for name in _FOLDERS)):
            clear_temporary(folder)
        for name, text in files.items():
            write_whole(out / name, text)
        for figure in (out / "figures").glob("*.svg"):
            if f"figures/{figure.name}" not in files:
                figure.unlink()
    except OSError as error:
        raise EdgeAdaptError(
            f"cannot write the comparison {str(out)!r}: {error.strerror or error}; the finished simulations in "
            f"{str(out / 'cells')!r} are kept, so that the same command goes on from there"
        ) from error
