"""Pairs of a headline and a passage, made from the BBC news articles of `bbc_news`.

Every article gives its headline (its first line) to one pair and the passage behind it (its first paragraph) to one
pair. Half of the articles of each section keep both together: "same". The headlines of the others are paired with the
passage of the next such article of their section, the last with that of the first: "other". So the topic of a section
tells nothing, no headline and no passage occurs twice, and the two labels are equally frequent.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..texts import normalise
from . import bbc_news

PAIRING_SEED = 20060625
"""Which articles keep headline and passage together."""


def read(package_folder: Path) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield ((headline, passage), "same" or "other"), section by section."""
    rng = np.random.default_rng(PAIRING_SEED)
    for articles in _sections(package_folder).values():
        drawn = [articles[i] for i in rng.permutation(len(articles))]
        together, apart = drawn[: len(drawn) // 2], drawn[len(drawn) // 2 :]
        for headline, passage in together:
            yield (headline, passage), "same"
        if len(apart) > 1:
            for (headline, _), (_, passage) in zip(apart, [*apart[1:], apart[0]], strict=True):
                yield (headline, passage), "other"


def _sections(package_folder: Path) -> dict[str, list[tuple[str, str]]]:
    """(headline, passage) of the articles of each section, no headline and no passage more than once."""
    found: dict[str, list[tuple[str, str]]] = {}
    known: set[str] = set()
    for article, section in bbc_news.read(package_folder):
        lines = [line.strip() for line in article.splitlines() if line.strip()]
        if len(lines) < 2 or known & {normalise(lines[0]), normalise(lines[1])}:
            continue
        known |= {normalise(lines[0]), normalise(lines[1])}
        found.setdefault(section, []).append((lines[0], lines[1]))
    return found
