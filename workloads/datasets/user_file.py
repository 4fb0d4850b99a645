"""A user's own task: a CSV file (with header) or a JSONL file, each example with `text` and `label`."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

from ...errors import UsageError

COLUMNS = ("text", "label")
SUFFIXES = {".csv": "CSV", ".jsonl": "JSONL", ".ndjson": "JSONL"}


def read(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (text, label) of every example. Labels are words or whole numbers.

    CSV: comma-separated, fields with commas or line breaks in double quotes. JSONL: one object a line. Other columns or
    keys are ignored, blank lines are skipped, the encoding is UTF-8 (with or without byte order mark).

    Raises:
        UsageError: file name, encoding, columns or an example is wrong; the message names the line.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"task file {path}: unknown kind {path.suffix!r}; allowed: {', '.join(SUFFIXES)}")
    rows = _csv_rows if SUFFIXES[path.suffix.lower()] == "CSV" else _jsonl_rows
    for line, text, label in rows(path, _decoded(path)):
        if not text.strip():
            raise UsageError(f"{path}, line {line}: the text is empty")
        if not label.strip():
            raise UsageError(f"{path}, line {line}: the label is empty")
        yield text, label.strip()


def _decoded(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"task file {path} cannot be read: {error.strerror}") from error
    try:
        content = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(f"{path}, line {line}: not UTF-8 text ({error.reason}); save the file as UTF-8") from error
    if not content.strip():
        raise UsageError(f"task file {path} is empty")
    return content


def _csv_rows(path: Path, content: str) -> Iterator[tuple[int, str, str]]:
    numbered = _parsed(path, content)
    header = [name.strip() for name in numbered[0][1]]
    text, label = (_column(path, header, column) for column in COLUMNS)
    for line, row in numbered[1:]:
        if not row:
            continue
        if len(row) != len(header):
            raise UsageError(
                f"{path}, line {line}: {len(row)} fields, but the header has {len(header)}; "
                "put texts with commas in double quotes"
            )
        yield line, row[text], row[label]


def _parsed(path: Path, content: str) -> list[tuple[int, list[str]]]:
    """Rows with the number of their last line. The csv module's limit for one field is lifted meanwhile."""
    limit = csv.field_size_limit(max(len(content), csv.field_size_limit()))
    rows = csv.reader(io.StringIO(content, newline=""), strict=True)
    try:
        return [(rows.line_num, row) for row in rows]
    except csv.Error as error:
        raise UsageError(f"{path}, line {rows.line_num}: {error}") from error
    finally:
        csv.field_size_limit(limit)


def _column(path: Path, header: list[str], column: str) -> int:
    if column not in header:
        raise UsageError(f"{path}, line 1: no column {column!r}; the header has: {', '.join(map(repr, header))}")
    return header.index(column)


def _jsonl_rows(path: Path, content: str) -> Iterator[tuple[int, str, str]]:
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except json.JSONDecodeError as error:
            raise UsageError(f"{path}, line {number}: not JSON ({error.msg} at column {error.colno})") from error
        if not isinstance(item, dict):
            raise UsageError(f'{path}, line {number}: expected an object like {{"text": ..., "label": ...}}')
        for column in COLUMNS:
            if column not in item:
                raise UsageError(f"{path}, line {number}: no {column!r}; the object has: {', '.join(map(repr, item))}")
        text, label = item["text"], item["label"]
        if not isinstance(text, str):
            raise UsageError(f"{path}, line {number}: 'text' must be a string, not {json.dumps(text)[:40]}")
        if not isinstance(label, str | int):
            raise UsageError(f"{path}, line {number}: 'label' must be a word or a number, not {json.dumps(label)[:40]}")
        yield number, text, str(label)
