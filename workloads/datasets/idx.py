"""The idx files of MNIST (LeCun, Cortes and Burges) and its followers: sizes big-endian, then bytes; perhaps gzip."""

import gzip
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ...errors import UsageError
from ...inputs import open_file

PARTS = ("train", "t10k")
FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"
)  # fmt: skip

IMAGES, BYTES = 1_000_000, 256 << 20
"""No file that is read here holds more images, or more bytes once unpacked: MNIST has 60,000 in 47 MB."""
_PACKING = 1 << 16
"""By so many bytes, and a hundredth, gzip may lengthen what it cannot shorten."""


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
    header = 4 + 4 * dimensions
    try:
        with open_file(path, BYTES) as raw:
            file = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
            head = file.read(header)
            shape = np.frombuffer(head[4:].ljust(header - 4, b"\0"), dtype=">u4").tolist()
            size = math.prod(shape)
            if head[:4] != bytes([0, 0, 8, dimensions]) or not size:
                raise _no_idx(path, dimensions)
            if size > BYTES or shape[0] > IMAGES:
                raise UsageError(
                    f"{path} says that it holds {' x '.join(map(str, shape))} bytes; at most {IMAGES:,} images and "
                    f"{BYTES:,} bytes are read"
                )
            if os.fstat(raw.fileno()).st_size > header + size + size // 100 + _PACKING:
                raise _no_idx(path, dimensions)
            data = file.read(size + 1)  # what stands behind them is never unpacked
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(data) != size:
        raise _no_idx(path, dimensions)
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)


def _no_idx(path: Path, dimensions: int) -> UsageError:
    return UsageError(f"{path} is not an idx file of bytes with {dimensions} dimensions, or is cut off")
