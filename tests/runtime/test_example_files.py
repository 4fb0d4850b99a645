"""Files of texts: what is read, and which line is wrong."""

import codecs
import json
import logging
import unicodedata
from pathlib import Path

import pytest
from edge_adapt.errors import UsageError
from edge_adapt.runtime.examples import Reading, read_examples, read_lines
from hypothesis import given, settings
from hypothesis import strategies as st


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"text": "fine film", "label": "up"}\n\n{"label": 7, "text": "ä \\u00e9", "more": []}\n'),
        (
            "a.jsonl",
            b'\xef\xbb\xbf{"text": "fine film", "label": " up "}\r\n\r\n{"label": "7", "text": "\xc3\xa4 \xc3\xa9"}',
        ),
        ("a.csv", 'label,text\nup,fine film\n\n7,"ä é"\n'),
        ("a.CSV", b'\xef\xbb\xbftext , label,x\n"fine film", up ,1\n\n"\xc3\xa4 \xc3\xa9",7,2'),
    ],
)
def test_labelled_files(tmp_path: Path, name: str, content: str | bytes) -> None:
    found = read_examples(write(tmp_path, name, content))
    assert [(e.text, e.label) for e in found] == [("fine film", "up"), ("ä é", "7")]
    assert [e.line for e in found] == ([1, 3] if name.endswith("jsonl") else [2, 4])


def test_blanks_in_front_of_quotes_are_no_part_of_a_field(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'label, text\nup, "fine, fine film"\n "7",  "it ""is"" so"\n')
    found = read_examples(path)
    assert [(e.text, e.label) for e in found] == [("fine, fine film", "up"), ('it "is" so', "7")]


def test_a_first_line_that_is_no_csv_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a\.csv, line 1: .*stands in double quotes"):
        read_examples(write(tmp_path, "a.csv", '"text" ,"label"\na,b\n'))


@pytest.mark.parametrize("label", ["a\nb", "a\tb", "a\x1b[31m", "a\x7f", "a\x85b"])
def test_labels_hold_no_control_characters(tmp_path: Path, label: str) -> None:
    path = write(tmp_path, "a.jsonl", json.dumps({"text": "x", "label": label}))
    with pytest.raises(UsageError, match=r"line 1: the label '.*' holds a line break or another control character"):
        read_examples(path)


@pytest.mark.parametrize(
    ("content", "encoding", "said"),
    [
        ("text,label\na,b".encode("utf-8-sig"), "latin-1", "starts with the byte order mark of utf-8, not of latin-1"),
        ("text,label\na,b".encode("utf-16"), "utf-8", "starts with the byte order mark of utf-16, not of utf-8"),
        (codecs.BOM_UTF16_LE + b"a\0", "utf-16-be", "starts with the byte order mark of utf-16, not of utf-16-be"),
        ("text,label\na,b".encode("utf-16-be"), "utf-16", "no byte order mark.*--encoding utf-16-le or utf-16-be"),
    ],
)
def test_marks_and_encodings_that_contradict_each_other(
    tmp_path: Path, content: bytes, encoding: str, said: str
) -> None:
    for name in ("a.csv", "lines.txt"):
        with pytest.raises(UsageError, match=said):
            read_examples(write(tmp_path, name, content), Reading(encoding=encoding), labelled=name == "a.csv")


@pytest.mark.parametrize("encoding", [None, "utf-8", "UTF8", "utf-8-sig"])
def test_a_mark_and_its_own_encoding(tmp_path: Path, encoding: str | None) -> None:
    path = write(tmp_path, "a.csv", "text,label\na,b".encode("utf-8-sig"))
    assert read_examples(path, Reading(encoding=encoding))[0].text == "a"
    path = write(tmp_path, "b.csv", codecs.BOM_UTF16_LE + "text,label\na,b".encode("utf-16-le"))
    for name in ("utf-16", "utf-16-le"):
        assert read_examples(path, Reading(encoding=name))[0].text == "a"


@pytest.mark.parametrize(
    ("name", "lines", "wrong", "fragment"),
    [
        ("a.jsonl", ['{"text": "a", "label": "b"}', '{"text": "a", label: "b"}'], 2, "not JSON"),
        ("a.jsonl", ["[1, 2]", '{"text": "a", "label": "b"}'], 1, "expected an object"),
        ("a.jsonl", ['{"text": "a", "label": "b"}', "", '{"label": "b"}'], 3, "no 'text'"),
        ("a.jsonl", ['{"text": "a", "label": "b"}', '{"text": "b"}'], 2, "no 'label'"),
        ("a.jsonl", ['{"text": "a", "label": "b"}', '{"text": "  ", "label": "b"}'], 2, "the text is empty"),
        ("a.jsonl", ['{"text": "a", "label": "b"}', '{"text": "a", "label": ""}'], 2, "the label is empty"),
        ("a.jsonl", ['{"text": "a", "label": "b"}', '{"text": 5, "label": "b"}'], 2, "must be a string, not 5"),
        (
            "a.jsonl",
            ['{"text": "a", "label": "b"}', '{"text": "a", "label": null}'],
            2,
            "a word or a whole number, not null",
        ),
        ("a.jsonl", ['{"text": "a", "label": "b"}', '{"text": "a", "label": 1.5}'], 2, "a word or a whole number"),
        ("a.jsonl", ['{"text": "a", "label": "b"}', "[" * 100_000], 2, "not JSON"),
        ("a.csv", ["text,label", "a,b", "a"], 3, "1 fields, but the header has 2"),
        ("a.csv", ["text,label", "a,b", "a, c,b"], 3, "3 fields"),
        ("a.csv", ["text,label", "a,b", " ,b"], 3, "the text is empty"),
    ],
)
def test_a_wrong_line_is_named_or_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, lines: list[str], wrong: int, fragment: str
) -> None:
    path = write(tmp_path, name, "\n".join(lines) + "\n")
    with pytest.raises(UsageError, match=f"line {wrong}: .*{fragment}") as caught:
        read_examples(path)
    assert "--on-error skip" in str(caught.value)
    caplog.set_level(logging.WARNING)
    found = read_examples(path, Reading(on_error="skip"))
    assert [(e.text, e.label) for e in found] == [("a", "b")]
    problem = str(caught.value).split(": ", 1)[1].split("; mend it")[0]
    assert [r.getMessage() for r in caplog.records] == [f"{path}: 1 line left out; the first, line {wrong}: {problem}"]


def test_a_line_that_is_no_text(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", b'{"text": "a", "label": "b"}\n{"text": "\xff", "label": "b"}\n')
    with pytest.raises(UsageError, match=r"line 2: not UTF-8 text"):
        read_examples(path)
    assert len(read_examples(path, Reading(on_error="skip"))) == 1
    with pytest.raises(UsageError, match=r"line 2: not UTF-8 text"):
        read_examples(write(tmp_path, "a.csv", b"text,label\n\xff,b\n"))


@pytest.mark.parametrize(
    ("name", "content", "fragment"),
    [
        ("a.jsonl", "", "no usable example"),
        ("a.json", "[]", "write one object a line, and name the file .jsonl"),
        ("a.csv", "", "no usable example"),
        ("a.csv", "text,label\n", "no usable example"),
        ("a.csv", "words,label\na,b\n", "line 1: no column 'text'; the header has: 'words', 'label'"),
        ("a.csv", 'text,label\n"a,b\n', "unexpected end of data"),
        ("a.txt", "a\n", "unknown kind '.txt'"),
    ],
)
def test_files_without_examples(tmp_path: Path, name: str, content: str, fragment: str) -> None:
    with pytest.raises(UsageError, match=fragment):
        read_examples(write(tmp_path, name, content), Reading(on_error="skip"))
    with pytest.raises(UsageError, match=r"cannot be read: No such file"):
        read_examples(tmp_path / "none.jsonl")
    with pytest.raises(UsageError, match=r"cannot be read: Is a directory"):
        read_examples(tmp_path)


def test_texts_without_labels(tmp_path: Path) -> None:
    for name, content in (
        ("a.txt", "fine\nbad \n"),
        ("a.jsonl", '{"text": "fine"}\n{"text": "bad ", "label": 1.5}'),
        ("a.csv", "text\nfine\nbad "),
    ):
        found = read_examples(write(tmp_path, name, content), labelled=False)
        assert [e.text.strip() for e in found] == ["fine", "bad"]
    with pytest.raises(UsageError, match="standard input, line 2: the text is empty"):
        read_lines(b"fine\n\n", "standard input")


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.text().filter(str.strip), st.text(st.characters(exclude_categories=["Cc", "Cs"])).filter(str.strip)
        ),
        min_size=1,
        max_size=8,
    )
)
def test_what_json_writes_is_read_back(tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]) -> None:
    lines = [json.dumps({"text": text, "label": label}) for text, label in pairs]
    path = write(tmp_path_factory.mktemp("any"), "a.jsonl", "\n".join(lines))
    assert [(e.text, e.label) for e in read_examples(path)] == [
        (text, unicodedata.normalize("NFC", label).strip()) for text, label in pairs
    ]
