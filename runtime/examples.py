"""Reading labelled or bare examples: texts as JSONL, CSV, plain lines; images as a folder for each label.

Every wrong line is named by its number.
"""

import csv
import io
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..errors import UsageError

log = logging.getLogger(__name__)

ON_ERROR = ("fail", "skip")
IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Example:
    """A text, or the name of an image's file, its label by name ("" where none was given), and the line it came from,
    or its place in the folder.
    """

    text: str
    label: str
    line: int


class _LineError(ValueError):
    """What is wrong with one line."""


Row = tuple[int, Example | _LineError]


def read_examples(path: Path, *, labelled: bool = True, on_error: str = "fail") -> list[Example]:
    """The examples of a `.jsonl`/`.ndjson` or `.csv` file with `text` and `label`; of any other file, its lines.

    Without `labelled`, labels may be absent (to predict). Blank lines of JSONL and CSV are passed over.

    Raises:
        UsageError: the file cannot be read or holds no example; with `on_error="fail"` also for the first wrong line.
            With "skip", wrong lines are left out and said in one line of the log.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    return collect(str(path), _rows(path, content, labelled), on_error)


def read_images(path: Path, *, labelled: bool = True) -> list[Example]:
    """The image files of a folder, each labelled with the name of the folder in it that it lies in.

    Without `labelled`, a single image, or those of a folder and the folders in it.

    Raises:
        UsageError: there are none, or they lie in no folder of a label.
    """
    if path.is_file() and not labelled:
        return [Example(str(path), "", 1)]
    if not path.is_dir():
        raise UsageError(f"{path} is no folder{' with a folder of images for each label' if labelled else ' or image'}")
    pattern = "*/*" if labelled else "**/*"
    files = sorted(file for file in path.glob(pattern) if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
    if not files:
        where = "in a folder for each label " if labelled else ""
        raise UsageError(f"{path} holds no images {where}({' '.join(IMAGE_SUFFIXES)})")
    names = [file.parent.name if labelled else "" for file in files]
    return [Example(str(file), name, place) for place, (file, name) in enumerate(zip(files, names, strict=True), 1)]


def read_lines(content: Iterable[bytes], where: str, on_error: str = "fail") -> list[Example]:
    """An example without label for each line, say of standard input. An empty line is a wrong one."""
    return collect(where, _plain_rows(content), on_error)


def collect(where: str, rows: Iterable[Row], on_error: str) -> list[Example]:
    """The good rows; the first wrong one is fatal, or all are left out and said, as `on_error` asks."""
    good: list[Example] = []
    wrong: list[tuple[int, _LineError]] = []
    for line, row in rows:
        if isinstance(row, Example):
            good.append(row)
        elif on_error == "skip":
            wrong.append((line, row))
        else:
            raise UsageError(f"{where}, line {line}: {row}; mend it, or leave such lines out with --on-error skip")
    if wrong:
        line, problem = wrong[0]
        count = "1 line" if len(wrong) == 1 else f"{len(wrong)} lines"
        log.warning("%s: %s left out; the first, line %d: %s", where, count, line, problem)
    if not good:
        raise UsageError(f"{where} holds no usable example")
    return good


def keep_known(examples: list[Example], where: str, check: Callable[[str], str], on_error: str) -> list[Example]:
    """The examples whose label `check` accepts: it returns what is wrong with a label, or ""."""

    def rows() -> Iterator[Row]:
        for example in examples:
            problem = check(example.label)
            yield example.line, _LineError(problem) if problem else example

    return collect(where, rows(), on_error)


def _rows(path: Path, content: bytes, labelled: bool) -> Iterator[Row]:
    content = content.removeprefix(b"\xef\xbb\xbf")
    kind = path.suffix.lower()
    if kind in (".jsonl", ".ndjson"):
        return _json_rows(content, labelled)
    if kind == ".csv":
        return _csv_rows(path, content, labelled)
    if labelled:
        raise UsageError(f"{path}: unknown kind {path.suffix!r}; labelled examples are .jsonl or .csv files")
    return _plain_rows(content.splitlines())


def _guarded(line: int, make: Callable[[], Example]) -> Row:
    try:
        return line, make()
    except UnicodeDecodeError as error:
        return line, _LineError(f"not UTF-8 text ({error.reason})")
    except _LineError as error:
        return line, error


def _example(text: object, label: object, line: int, labelled: bool) -> Example:
    if not isinstance(text, str):
        raise _LineError(f"'text' must be a string, not {json.dumps(text)[:40]}")
    if not text.strip():
        raise _LineError("the text is empty")
    if not labelled:
        return Example(text, "" if label is None else str(label), line)
    if not isinstance(label, str | int) or isinstance(label, bool):
        raise _LineError(f"'label' must be a word or a whole number, not {json.dumps(label)[:40]}")
    if not str(label).strip():
        raise _LineError("the label is empty")
    return Example(text, str(label).strip(), line)


def _plain_rows(lines: Iterable[bytes]) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        yield _guarded(number, partial(_from_line, line, number))


def _json_rows(content: bytes, labelled: bool) -> Iterator[Row]:
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            yield _guarded(number, partial(_from_json, line, number, labelled))


def _from_line(line: bytes, number: int) -> Example:
    return _example(line.decode().strip(), None, number, False)


def _from_json(line: bytes, number: int, labelled: bool) -> Example:
    try:
        item = json.loads(line.decode())
    except json.JSONDecodeError as error:
        raise _LineError(f"not JSON ({error.msg} at column {error.colno})") from error
    except RecursionError as error:
        raise _LineError("not JSON that can be read (nested too deep)") from error
    if not isinstance(item, dict):
        raise _LineError('expected an object like {"text": ..., "label": ...}')
    for key in ("text", "label") if labelled else ("text",):
        if key not in item:
            raise _LineError(f"no {key!r}; the object has: {', '.join(map(repr, item)) or 'nothing'}")
    return _example(item["text"], item.get("label"), number, labelled)


def _csv_rows(path: Path, content: bytes, labelled: bool) -> Iterator[Row]:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UsageError(f"{path}, line {line}: not UTF-8 text ({error.reason}); save the file as UTF-8") from error
    limit = csv.field_size_limit(max(len(text), csv.field_size_limit()))
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise UsageError(f"{path}, line {reader.line_num}: {error}") from error
    finally:
        csv.field_size_limit(limit)
    header = [name.strip() for name in rows[0][1]] if rows else []
    for column in ("text", "label") if labelled else ("text",):
        if rows and column not in header:
            raise UsageError(f"{path}, line 1: no column {column!r}; the header has: {', '.join(map(repr, header))}")
    return (_guarded(line, partial(_from_csv, header, row, line, labelled)) for line, row in rows[1:] if row)


def _from_csv(header: list[str], row: list[str], line: int, labelled: bool) -> Example:
    if len(row) != len(header):
        raise _LineError(f"{len(row)} fields, but the header has {len(header)}; put texts with commas in double quotes")
    return _example(
        row[header.index("text")], row[header.index("label")] if "label" in header else None, line, labelled
    )
