"""Which files of a folder are the pictures of a task, and their labels: on the device and on the workstation alike.

A folder in the given one is a class, named as the folder; pictures in it may lie deeper. What is hidden (`.name`) is
passed over without a word, as are the files that systems leave behind; everything else that is not read is said.
"""

import logging
import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from .examples import Example, LineError, Row, collected, label_of
from .images import check_image, read_image

log = logging.getLogger(__name__)

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Endings of pictures, in small letters or capitals."""
LITTER = ("thumbs.db", "desktop.ini", "__macosx")


@dataclass(frozen=True)
class Found:
    """Pictures with their labels, in the order of their names, and what was passed over, in words."""

    pictures: list[tuple[Path, str]]
    messages: list[str]


def find_pictures(folder: Path, classes: Collection[str] = ()) -> Found:
    """The pictures of each class folder; only of `classes` where some are given.

    Raises:
        UsageError: the folder cannot be read, two folders are the same class, or there are no pictures.
    """
    pictures: list[tuple[Path, str]] = []
    passed: list[Path] = []
    messages: list[str] = []
    known: dict[str, Path] = {}
    for inner in _listed(folder):
        if not inner.is_dir():
            passed.append(inner)
            continue
        try:
            label = label_of(inner.name)
        except LineError as error:
            raise UsageError(f"{str(inner)!r} is no name of a class: {error}; rename the folder") from error
        if classes and label not in classes:
            continue
        if label in known:
            raise UsageError(f"{known[label]} and {inner} are the same class {label!r}; rename one or join them")
        known[label] = inner
        files = list(_below(inner))
        mine = [path for path in files if path.suffix.lower() in SUFFIXES]
        passed += [path for path in files if path.suffix.lower() not in SUFFIXES]
        pictures += [(path, label) for path in mine]
        if not mine and not classes:
            messages.append(f"the folder {inner.name} of {folder} holds no images and is no class")
    if passed and not classes:
        kinds = Counter(path.suffix.lower() or path.name for path in passed)
        named = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(4))
        one = f"{passed[0].relative_to(folder)}"
        messages.append(
            f"{len(passed)} files of {folder} were not read ({named}; such as {one}): images lie in a folder for each "
            f"class and end in {' '.join(SUFFIXES)}"
        )
    if not pictures:
        raise UsageError(
            f"{folder} holds no images; put those of each class into a folder ({' '.join(SUFFIXES)})"
            + (f"; {messages[-1]}" if passed else "")
        )
    return Found(pictures, messages)


def load_pictures(folder: Path, on_error: str = "fail", classes: Collection[str] = ()) -> Found:
    """As `find_pictures`, without the files that are no pictures: the first is an error, or all are left out and said.

    With "fail" only the head of each file is looked at; one that is cut off is named when it is read.
    """
    found = find_pictures(folder, classes)
    examples, said = _checked(folder, found.pictures, on_error)
    return Found([(Path(example.text), example.label) for example in examples], [*found.messages, *said])


def read_pictures(path: Path, on_error: str = "fail", *, labelled: bool = True) -> list[Example]:
    """The pictures of a folder, each labelled with the name of its class folder; messages go to the log.

    Without `labelled`, a single picture, or all those of a folder, however deep.

    Raises:
        UsageError: there are none, or (with "fail") one is none.
    """
    if path.is_file() and not labelled:
        return [Example(str(path), "", 1)]
    if not path.is_dir():
        raise UsageError(f"{path} is no folder{' with a folder of images for each label' if labelled else ' or image'}")
    if labelled:
        found = find_pictures(path)
    else:
        found = Found([(file, "") for file in _below(path) if file.suffix.lower() in SUFFIXES], [])
        if not found.pictures:
            raise UsageError(f"{path} holds no images ({' '.join(SUFFIXES)})")
    examples, said = _checked(path, found.pictures, on_error)
    for message in (*found.messages, *said):
        log.warning("%s", message)
    return examples


def named_pictures(examples: list[Example], where: str, on_error: str = "fail") -> list[Example]:
    """Of examples that are names of files, one a line, those that can be read as pictures; messages go to the log.

    Raises:
        UsageError: none can be read, or (with "fail") one cannot.
    """

    def rows() -> Iterator[Row]:
        for example in examples:
            try:
                read_image(Path(example.text)) if on_error == "skip" else check_image(Path(example.text))
                yield example.line, example
            except UsageError as error:
                yield example.line, LineError(str(error))

    good, said = collected(where, rows(), on_error)
    for message in said:
        log.warning("%s", message)
    return good


def _checked(folder: Path, pictures: list[tuple[Path, str]], on_error: str) -> tuple[list[Example], list[str]]:
    def rows() -> Iterator[Row]:
        for place, (path, label) in enumerate(pictures, start=1):
            try:
                read_image(path) if on_error == "skip" else check_image(path)
                yield place, Example(str(path), label, place)
            except UsageError as error:
                if on_error == "fail":
                    raise UsageError(f"{error}; mend it, or leave such images out with --on-error skip") from error
                yield place, LineError(str(error))

    return collected(str(folder), rows(), on_error, "image")


def _listed(folder: Path) -> list[Path]:
    """What lies in a folder and is not hidden or litter, by name."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise UsageError(f"{folder} cannot be read: {error.strerror or error}") from error
    return [folder / name for name in names if not name.startswith(".") and name.lower() not in LITTER]


def _below(folder: Path, above: frozenset[str] = frozenset()) -> Iterator[Path]:
    """The files in a folder and the folders in it, by name; links are followed, but never in a circle."""
    real = os.path.realpath(folder)
    if real in above:
        return
    for path in _listed(folder):
        if path.is_dir():
            yield from _below(path, above | {real})
        else:
            yield path
