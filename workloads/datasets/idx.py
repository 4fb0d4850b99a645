"""The idx files of MNIST (LeCun, Cortes and Burges) and its followers: sizes big-endian, then bytes; perhaps gzip."""

import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ...errors import UsageError

PARTS = ("train", "t10k")
FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"
)  # fmt: skip


def holds_idx(folder: Path) -> bool:
    """Whether a folder has the images of at least one part."""
    return any(_find(folder, f"{part}-images-idx3-ubyte") for part in PARTS)


def read(folder: Path, labels: Sequence[str] = ()) -> Iterator[tuple[np.ndarray, str]]:
    """Yield (image (height, width) uint8, label) of both parts, training first; `labels`: names of the numbers.

    Raises:
        UsageError: a file is missing or is not what its name says.
    """
    for part in PARTS:
        images, numbers = (
            _array(folder, f"{part}-{what}-ubyte", dimensions)
            for what, dimensions in (("images-idx3", 3), ("labels-idx1", 1))
        )
        if len(images) != len(numbers):
            raise UsageError(f"{folder}: {len(images)} images and {len(numbers)} labels in the part {part!r}")
        for image, number in zip(images, numbers.tolist(), strict=True):
            yield image, labels[number] if labels else str(number)


def _find(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _array(folder: Path, name: str, dimensions: int) -> np.ndarray:
    path = _find(folder, name)
    if path is None:
        raise UsageError(f"{folder} has no {name} (or {name}.gz)")
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    header = 4 + 4 * dimensions
    shape = np.frombuffer(data[4:header].ljust(header - 4, b"\0"), dtype=">u4")
    if data[:4] != bytes([0, 0, 8, dimensions]) or len(data) - header != shape.prod(dtype=np.int64):
        raise UsageError(f"{path} is not an idx file of bytes with {dimensions} dimensions, or is cut off")
    return np.frombuffer(data, dtype=np.uint8, offset=header).reshape(shape)
