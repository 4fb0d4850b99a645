"""A folder of images: one folder for each class, named as the class; images may lie deeper."""

from collections.abc import Collection, Iterator
from pathlib import Path

from ...runtime.pictures import find_pictures


def read(folder: Path, classes: Collection[str]) -> Iterator[tuple[Path, str]]:
    """Yield (file, class) of `classes` in the order of the names; see `runtime.pictures`, which finds a user's own."""
    yield from find_pictures(folder, classes).pictures
