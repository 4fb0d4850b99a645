"""Solar cells in the light they emit when driven (Buerhop-Lutz et al., EU PVSEC 2018): grey photos of 300 x 300 pixels.

Each has the experts' probability that the cell is defective: 0, 1/3, 2/3 or 1. Those of which they were sure are used.
"""

from collections.abc import Iterator
from pathlib import Path

NAMES = {"0.0": "functional", "1.0": "defective"}


def read(package_folder: Path, kind: str) -> Iterator[tuple[Path, str]]:
    """Yield (photo, "functional" | "defective") of the "mono" or "poly" crystalline cells."""
    data = package_folder / "elpv_dataset" / "data"
    for line in (data / "labels.csv").read_text(encoding="utf-8").splitlines():
        name, probability, crystal = line.split()
        if crystal == kind and probability in NAMES:
            yield data / name, NAMES[probability]
