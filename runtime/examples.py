"""Reading labelled or bare texts: JSONL, CSV, plain lines. The workstation reads its tasks by the same code.

Every wrong line is named by its number.
"""

import csv
import io
import json
import logging
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import UsageError, nearest, unknown_name
from ..inputs import NotJsonError, parse_json
from .textfile import FIELDS, LINE_SIGNS, check_encoding, decode, lines, lone_surrogate, problem, read_text

log = logging.getLogger(__name__)

ON_ERROR = ("fail", "skip")
SUFFIXES = {".csv": ",", ".tsv": "\t", ".jsonl": "", ".ndjson": ""}
"""Kinds of files with labels: what most likely stands between the fields of a line; nothing in JSON."""
DELIMITERS = (",", ";", "\t", "|")
_SEP = re.compile(r'"?sep=(.)"?(?:\r\n|\n|\r)', re.IGNORECASE)
"""The first line by which Excel tells itself what is between the fields."""


@dataclass(frozen=True)
class Example:
    """A text, or the name of an image's file, its label by name ("" where none was given), and the line it came from,
    or its place in the folder.
    """

    text: str
    label: str
    line: int


@dataclass(frozen=True)
class Reading:
    """How a user's file is read: names of its columns (or keys of JSON), its encoding (None: by byte order mark, else
    UTF-8), and whether a wrong line is fatal ("fail") or left out and said ("skip").
    """

    text_column: str = "text"
    label_column: str = "label"
    encoding: str | None = None
    on_error: str = "fail"

    def __post_init__(self) -> None:
        """Raise `UsageError` for values that cannot be."""
        if self.on_error not in ON_ERROR:
            raise UsageError(unknown_name("choice for on-error", self.on_error, ON_ERROR))
        for name, column in (("text", self.text_column), ("label", self.label_column)):
            if not column.strip():
                raise UsageError(f"{name}-column must name a column; got {column!r}")
        if self.text_column.strip() == self.label_column.strip():
            raise UsageError(f"text-column and label-column are the same, {self.text_column!r}; give two columns")
        if self.encoding is not None:
            check_encoding(self.encoding)

    def columns(self, labelled: bool) -> tuple[str, ...]:
        """The names of the columns that a file must have."""
        return (self.text_column.strip(), self.label_column.strip())[: 1 + labelled]


class LineError(ValueError):
    """What is wrong with one line, or one file of a folder."""


Row = tuple[int, Example | LineError]


def label_of(value: object) -> str:
    """The name of a class as a file gives it: a word, a whole number (1 and 1.0 are "1"), true or false.

    Blanks around it are taken off, and letters with marks are written in one way (NFC), so that what looks alike is
    alike. Raises `LineError` for anything else.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int):
        raise LineError(f"the label must be a word or a whole number, not {json.dumps(value)[:40]}")
    label = unicodedata.normalize("NFC", str(value)).strip()
    if not label:
        raise LineError("the label is empty")
    if any(unicodedata.category(sign) == "Cc" for sign in label):
        raise LineError(f"the label {label[:40]!r} holds a line break or another control character")
    if wrong := lone_surrogate(label):
        raise LineError(f"the label is no text: {wrong}")
    return label


def load_examples(
    path: Path, reading: Reading | None = None, *, labelled: bool = True
) -> tuple[list[Example], list[str]]:
    """The examples of a `.jsonl`/`.ndjson`, `.csv` or `.tsv` file; without `labelled`, of any other file its lines.

    Without `labelled`, labels are not looked at (to predict). Blank lines of JSONL and CSV are passed over. Beside the
    examples: what was left out, in words.

    Raises:
        UsageError: the file cannot be read or holds no example; with `on_error="fail"` also for the first wrong line.
    """
    reading = reading or Reading()
    text = read_text(path, reading.encoding)
    if not text.strip():
        raise UsageError(f"{path} is empty: it holds no usable example")
    return collected(str(path), _rows(path, text, reading, labelled), reading.on_error)


def read_examples(path: Path, reading: Reading | None = None, *, labelled: bool = True) -> list[Example]:
    """As `load_examples`; what was left out is said in the log."""
    return _said(load_examples(path, reading, labelled=labelled))


def read_lines(content: bytes, where: str, reading: Reading | None = None) -> list[Example]:
    """An example without label for each line, say of standard input. An empty line is a wrong one."""
    reading = reading or Reading()
    rows = _plain_rows(decode(content, where, reading.encoding), reading)
    return _said(collected(where, rows, reading.on_error))


def keep_known(
    examples: list[Example], where: str, check: Callable[[str], str], on_error: str, unit: str = "line"
) -> list[Example]:
    """The examples whose label `check` accepts: it returns what is wrong with a label, or ""."""

    def rows() -> Iterator[Row]:
        for example in examples:
            wrong = check(example.label)
            yield example.line, LineError(wrong) if wrong else example

    return _said(collected(where, rows(), on_error, unit))


def collected(where: str, rows: Iterable[Row], on_error: str, unit: str = "line") -> tuple[list[Example], list[str]]:
    """The good rows, and what was left out in words; or the first wrong one is fatal, as `on_error` asks."""
    good: list[Example] = []
    wrong: list[tuple[int, LineError]] = []
    for line, row in rows:
        if isinstance(row, Example):
            good.append(row)
        elif on_error == "skip":
            wrong.append((line, row))
        else:
            raise UsageError(f"{where}, {unit} {line}: {row}; mend it, or leave such {unit}s out with --on-error skip")
    said = []
    if wrong:
        line, first = wrong[0]
        count = f"1 {unit}" if len(wrong) == 1 else f"{len(wrong)} {unit}s"
        said.append(f"{where}: {count} left out; the first, {unit} {line}: {first}")
    if not good:
        raise UsageError(f"{where} holds no usable example{f' ({said[0]})' if said else ''}")
    return good, said


def _said(found: tuple[list[Example], list[str]]) -> list[Example]:
    examples, messages = found
    for message in messages:
        log.warning("%s", message)
    return examples


def _rows(path: Path, text: str, reading: Reading, labelled: bool) -> Iterable[Row]:
    kind = path.suffix.lower()
    if kind in SUFFIXES:
        return _csv_rows(path, text, reading, labelled) if SUFFIXES[kind] else _json_rows(text, reading, labelled)
    if kind == ".json" and labelled:
        raise UsageError(f"{path}: a .json file is one value; write one object a line, and name the file .jsonl")
    if labelled:
        raise UsageError(
            f"{path}: unknown kind {path.suffix!r}{nearest(kind, list(SUFFIXES))} examples with labels are "
            f"{', '.join(SUFFIXES)} files"
        )
    return _plain_rows(text, reading)


def _guarded(line: int, make: Callable[[], Example]) -> Row:
    try:
        return line, make()
    except LineError as error:
        return line, error


def _example(text: object, label: object, line: int, labelled: bool) -> Example:
    if not isinstance(text, str):
        raise LineError(f"the text must be a string, not {json.dumps(text)[:40]}")
    if not text.strip():
        raise LineError("the text is empty")
    if len(text) > LINE_SIGNS:
        raise LineError(f"the text has {len(text)} letters, and one is read up to {LINE_SIGNS}; shorten it")
    if wrong := lone_surrogate(text):
        raise LineError(f"the text is none: {wrong}")
    return Example(text, label_of(label) if labelled else "", line)


def _plain_rows(text: str, reading: Reading) -> Iterator[Row]:
    for number, line in enumerate(lines(text), start=1):
        yield _guarded(number, partial(_from_line, line, number, reading))


def _from_line(line: str, number: int, reading: Reading) -> Example:
    if wrong := problem(line, reading.encoding):
        raise LineError(wrong)
    return _example(line.strip(), None, number, False)


def _json_rows(text: str, reading: Reading, labelled: bool) -> Iterator[Row]:
    for number, line in enumerate(lines(text), start=1):
        if line.strip():
            yield _guarded(number, partial(_from_json, line, number, reading, labelled))


def _from_json(line: str, number: int, reading: Reading, labelled: bool) -> Example:
    if wrong := problem(line, reading.encoding):
        raise LineError(wrong)
    try:
        item = parse_json(line, finite=False)
    except NotJsonError as error:
        whole = "; each line must be a whole object" if line.strip() in ("[", "{") else ""
        raise LineError(f"{error}{whole}") from error
    columns = reading.columns(labelled)
    if not isinstance(item, dict):
        example = ", ".join(f"{json.dumps(column)}: ..." for column in columns)
        of_list = "; of a JSON array make one object a line" if isinstance(item, list) else ""
        raise LineError(f"expected an object like {{{example}}}{of_list}")
    for name, key in zip(("text", "label"), columns, strict=False):
        if key not in item:
            raise LineError(f"no {key!r}; the object has: {_listed(item)}; another key is named with --{name}-column")
    return _example(item[columns[0]], item[columns[1]] if labelled else None, number, labelled)


def _listed(names: Iterable[str]) -> str:
    shown = [repr(name)[:40] for name in names]
    more = f" and {len(shown) - 12} more" if len(shown) > 12 else ""
    return (", ".join(shown[:12]) or "nothing") + more


def _csv_rows(path: Path, text: str, reading: Reading, labelled: bool) -> Iterator[Row]:
    """Rows by their first line. What stands between the fields is what makes the header name the columns."""
    wanted = reading.columns(labelled)
    excel = _SEP.match(text)
    first = 2 if excel else 1
    body = text[excel.end() :] if excel else text
    likely = SUFFIXES[path.suffix.lower()]
    delimiters = (excel[1],) if excel else (likely, *(d for d in DELIMITERS if d != likely))
    if body.count("\n") + body.count("\r") + max(map(body.count, delimiters)) > FIELDS:
        raise UsageError(f"{path} has more than {FIELDS} fields; keep the columns that are needed, or fewer lines")
    headers = {delimiter: _header(body, delimiter) for delimiter in delimiters}
    delimiter = next((d for d, header in headers.items() if all(column in header for column in wanted)), None)
    if not any(headers.values()):  # nothing there, or no CSV at all: the line is then named
        _parsed(path, body, delimiters[0], first)
        return iter(())
    if delimiter is None:
        header = max(headers.values(), key=len)
        missing = next(column for column in wanted if column not in header)
        option = "--text-column" if missing == wanted[0] else "--label-column"
        raise UsageError(
            f"{path}, line {first}: no column {missing!r}; the header has: {_listed(header)}; the first line must name "
            f"the columns, and another one is chosen with {option}"
        )
    header = headers[delimiter]
    if twice := [column for column in wanted if header.count(column) > 1]:
        raise UsageError(f"{path}, line {first}: the column {twice[0]!r} stands twice in the header; rename one")
    places = [header.index(column) for column in wanted]
    rows = _parsed(path, body, delimiter, first)
    filled = [(line, row) for line, row in rows if any(field.strip() for field in row)][1:]
    return (_guarded(line, partial(_from_csv, len(header), places, row, line, reading)) for line, row in filled)


def _header(body: str, delimiter: str) -> list[str]:
    """The first line with anything in it, cut at a delimiter; nothing where there is none."""
    try:
        with _AnyLength(len(body)):
            rows = _reader(body, delimiter)
            found: list[str] = next((row for row in rows if any(field.strip() for field in row)), [])
    except (csv.Error, TypeError, ValueError):  # not CSV so, or a delimiter that cannot be one
        return []
    return [name.strip() for name in found]


def _reader(body: str, delimiter: str) -> Any:
    """Rows of fields. Blanks behind a delimiter are passed over: `good, "yes"` has its second field in quotes."""
    return csv.reader(io.StringIO(body, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)


def _parsed(path: Path, body: str, delimiter: str, first: int) -> list[tuple[int, list[str]]]:
    """Rows with the number of their first line."""
    found, line = [], first
    reader = _reader(body, delimiter)
    try:
        with _AnyLength(len(body)):
            for row in reader:
                found.append((line, row))
                line = first + reader.line_num
    except csv.Error as error:
        raise UsageError(
            f"{path}, line {line}: {error}; a field with quotes or line breaks in it stands in double quotes, and a "
            "double quote in it is written twice"
        ) from error
    return found


class _AnyLength:
    """While it lasts, fields of CSV may be as long as the file."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __enter__(self) -> None:
        self._former = csv.field_size_limit()
        csv.field_size_limit(max(self._length, self._former))

    def __exit__(self, *_exception: object) -> None:
        csv.field_size_limit(self._former)


def _from_csv(width: int, places: list[int], row: list[str], line: int, reading: Reading) -> Example:
    if wrong := problem("\n".join(row), reading.encoding):
        raise LineError(wrong)
    if len(row) != width:
        raise LineError(f"{len(row)} fields, but the header has {width}; put texts with commas in double quotes")
    fields = [row[place] for place in places]
    return _example(fields[0], fields[1] if len(fields) > 1 else None, line, len(fields) > 1)
