"""Files that commands of the device write."""

from pathlib import Path


def outside(out: Path, bundle: Path, folder: bool = False) -> Path:
    """The path of a file to write, or of a `folder`. Raises `UsageError` for one in the bundle, which holds its own
    files only, and for a folder where a file is to be.
    """
    from ..errors import UsageError
    from ..paths import expanded

    out = expanded(out)
    home, place = bundle.resolve(), out.resolve()
    if place == home or home in place.parents:
        raise UsageError(f"{out} lies in the bundle, which holds its own files only; give a path outside of it")
    if not folder and out.is_dir():
        raise UsageError(f"{out} is a folder; give the name of a file to write")
    return out
