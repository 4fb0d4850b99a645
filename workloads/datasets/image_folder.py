"""A folder of images: one folder for each class, named as the class; images may lie deeper."""

from collections.abc import Collection, Iterator
from pathlib import Path

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


def read(folder: Path, classes: Collection[str] = ()) -> Iterator[tuple[Path, str]]:
    """Yield (file, class) in the order of the names; only of `classes` where some are given.

    Hidden files and folders, and files with other suffixes, are passed over.
    """
    for inner in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        if not classes or inner.name in classes:
            for path in sorted(inner.rglob("*")):
                hidden = any(part.startswith(".") for part in path.relative_to(inner).parts)
                if path.suffix.lower() in SUFFIXES and path.is_file() and not hidden:
                    yield path, inner.name
