"""A user's CSV and JSONL files: what is written comes back, and every mistake is named with its line."""

import csv
import json
from pathlib import Path

import pytest
from edge_adapt.errors import UsageError
from edge_adapt.workloads.datasets import user_file
from hypothesis import given, settings
from hypothesis import strategies as st

# Anything that UTF-8 can carry.
_TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1).filter(str.strip)
_ROWS = st.lists(st.tuples(_TEXT, _TEXT.map(str.strip)), min_size=1, max_size=8)


def _read(path: Path) -> list[tuple[str, str]]:
    return list(user_file.read(path))


@settings(deadline=None)
@given(rows=_ROWS)
def test_csv_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    path = tmp_path_factory.mktemp("csv") / "task.csv"
    with open(path, "w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["id", "label", "text"])
        writer.writerows([index, label, text] for index, (text, label) in enumerate(rows))
    assert _read(path) == rows


@settings(deadline=None)
@given(rows=_ROWS, ascii_only=st.booleans())
def test_jsonl_round_trip(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], ascii_only: bool
) -> None:
    path = tmp_path_factory.mktemp("jsonl") / "task.jsonl"
    lines = [json.dumps({"text": text, "label": label}, ensure_ascii=ascii_only) for text, label in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
    assert _read(path) == rows


def test_quoted_fields_blank_lines_and_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "task.CSV"
    path.write_text('\ufefftext,label\r\n"a, ""b""\nc",good\r\n\r\nd, bad \r\n', encoding="utf-8", newline="")
    assert _read(path) == [('a, "b"\nc', "good"), ("d", "bad")]


def test_long_texts(tmp_path: Path) -> None:
    path = tmp_path / "task.csv"
    path.write_text(f"text,label\n{'long ' * 100_000},x\n")
    before = csv.field_size_limit()
    assert len(_read(path)[0][0]) == 500_000
    assert csv.field_size_limit() == before


def test_number_labels(tmp_path: Path) -> None:
    path = tmp_path / "task.jsonl"
    path.write_text('{"text": "a", "label": 0}\n\n{"text": "b", "label": 1, "more": [1]}\n')
    assert _read(path) == [("a", "0"), ("b", "1")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "is empty"),
        ("t.jsonl", b" \n\n", "is empty"),
        ("t.csv", b"txt,label\na,b\n", "line 1: no column 'text'; the header has: 'txt', 'label'"),
        ("t.csv", b"text,lable\na,b\n", "line 1: no column 'label'"),
        ("t.csv", b"text,label\nfine,x\na, with comma,y\n", "line 3: 3 fields, but the header has 2; put texts"),
        ("t.csv", b"text,label\na\n", "line 2: 1 fields"),
        ("t.csv", b'text,label\n"never closed,x\n', "line 2: unexpected end of data"),
        ("t.csv", b"text,label\nfine,x\n  ,y\n", "line 3: the text is empty"),
        ("t.csv", b"text,label\nfine,\n", "line 2: the label is empty"),
        ("t.csv", b"text,label\nfine,x\n\xe9t\xe9,y\n", "line 3: not UTF-8 text .* save the file as UTF-8"),
        ("t.jsonl", b'{"text": "a", "label": "x"}\n{"text": "b" "label"}\n', "line 2: not JSON"),
        ("t.jsonl", b'["a", "x"]\n', "line 1: expected an object"),
        ("t.jsonl", b'{"text": "a", "lable": "x"}\n', "line 1: no 'label'; the object has: 'text', 'lable'"),
        ("t.jsonl", b'{"text": 3, "label": "x"}\n', "line 1: 'text' must be a string, not 3"),
        ("t.jsonl", b'{"text": "a", "label": null}\n', "line 1: 'label' must be a word or a number, not null"),
        ("t.jsonl", b'{"text": "a", "label": 0.5}\n', "line 1: 'label' must be"),
        ("t.jsonl", b'{"text": "", "label": "x"}\n', "line 1: the text is empty"),
        ("t.txt", b"text", "unknown kind '.txt'; allowed: .csv, .jsonl"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        _read(path)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "t.csv").mkdir()
    with pytest.raises(UsageError, match="cannot be read"):
        _read(tmp_path / "t.csv")
