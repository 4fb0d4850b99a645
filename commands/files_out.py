"""Files that commands of the device write."""

from pathlib import Path


def outside(out: Path, bundle: Path) -> Path:
    """The path of a file to write. Raises `UsageError` for one in the bundle, which holds its own files only."""
    from ..errors import UsageError
    from ..paths import expanded

    out = expanded(out)
    home, place = bundle.resolve(), out.resolve()
    if place == home or home in place.parents:
        raise UsageError(f"{out} lies in the bundle, which holds its own files only; give a path outside of it")
    return out
