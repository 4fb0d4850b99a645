"""Rated sentiment in four domains (Hutto and Gilbert, ICWSM 2014): one line is id, mean rating in -4..4, text."""

from collections.abc import Iterator
from pathlib import Path

from ..texts import normalise

FILES = {
    "tweets": "tweets_GroundTruth.txt",
    "movie": "movieReviewSnippets_GroundTruth.txt",
    "amazon": "amazonReviewSnippets_GroundTruth.txt",
    "nyt": "nytEditorialSnippets_GroundTruth.txt",
}

RATING_THRESHOLD = 0.5
"""Texts that the raters found nearly neutral (|mean rating| below this) are left out."""


def read(package_folder: Path, domain: str) -> Iterator[tuple[str, str]]:
    """Yield (text, "positive" | "negative") for one of the domains in `FILES`.

    Texts that occur in another domain too (a few stock phrases) are left out of both, so that a pool trained on some
    domains has seen nothing of the others.
    """
    elsewhere = {normalise(text) for other in FILES if other != domain for _, text in _lines(package_folder, other)}
    for rating, text in _lines(package_folder, domain):
        if abs(rating) >= RATING_THRESHOLD and normalise(text) not in elsewhere:
            yield text, "positive" if rating > 0 else "negative"


def _lines(package_folder: Path, domain: str) -> Iterator[tuple[float, str]]:
    with open(package_folder / "hutto_ICWSM_2014" / FILES[domain], encoding="utf-8") as lines:
        for line in lines:
            _, rating, text = line.rstrip("\n").split("\t", 2)
            yield float(rating), text
