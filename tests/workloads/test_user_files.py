"""A user's CSV and JSONL files: what is written comes back. Mistakes: `tests/runtime/test_example_files.py`."""

import csv
import json
import unicodedata
from pathlib import Path

import pytest
from edge_adapt.errors import UsageError
from edge_adapt.workloads.datasets import user_file
from hypothesis import given, settings
from hypothesis import strategies as st

# Anything that UTF-8 can carry, but the character that texts do not have.
_TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1).filter(str.strip)
_LABEL = (
    st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1)
    .filter(str.strip)
    .map(lambda text: unicodedata.normalize("NFC", text).strip())
)
_ROWS = st.lists(st.tuples(_TEXT, _LABEL), min_size=1, max_size=8)


def _read(path: Path) -> list[tuple[str, str]]:
    return user_file.read(path)[0]


@settings(deadline=None)
@given(rows=_ROWS)
def test_csv_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    path = tmp_path_factory.mktemp("csv") / "task.csv"
    with open(path, "w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["id", "label", "text"])
        writer.writerows([index, label, text] for index, (text, label) in enumerate(rows))
    assert _read(path) == [(text.lstrip(" "), label) for text, label in rows]


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


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "t.csv").mkdir()
    with pytest.raises(UsageError, match="cannot be read"):
        _read(tmp_path / "t.csv")
