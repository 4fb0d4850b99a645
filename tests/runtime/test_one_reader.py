"""A user's files, read once for the device and once for the workstation: the same examples, or the same complaint.

Expected rows are written by hand.
"""

import gzip
import json
import logging
import re
from pathlib import Path

import pytest
from edge_adapt.errors import UsageError
from edge_adapt.runtime.examples import LineError, Reading, label_of, load_examples, read_examples, read_lines
from edge_adapt.workloads.datasets import user_file
from edge_adapt.workloads.tasks import load_task
from hypothesis import example, given, settings
from hypothesis import strategies as st

GOOD, BAD = ("fine film", "up"), ("dull film", "down")
BOTH = [GOOD, BAD]


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def both_sides(path: Path, reading: Reading | None = None) -> list[tuple[str, str]]:
    """(text, label) on either side. A complaint must be the same on both."""
    found, said = [], []
    for read in (
        lambda: [(e.text, e.label) for e in read_examples(path, reading)],
        lambda: user_file.read(path, reading)[0],
    ):
        try:
            found.append(read())
        except UsageError as error:
            said.append(error)
    assert len(found) == 2 or len(said) == 2
    if said:
        assert str(said[0]) == str(said[1])
        assert "\n" not in str(said[0])
        raise said[0]
    assert found[0] == found[1]
    return found[0]


LATIN = [("très fin", "up"), ("née film", "down")]
LATIN_CSV = "text,label\n" + "".join(f"{text},{label}\n" for text, label in LATIN)
CSV = "text,label\nfine film,up\ndull film,down\n"


@pytest.mark.parametrize(
    ("name", "content", "options", "expected"),
    [
        ("commas.csv", CSV, {}, BOTH),
        ("semicolons.csv", CSV.replace(",", ";"), {}, BOTH),
        ("tabs.csv", CSV.replace(",", "\t"), {}, BOTH),
        ("bars.csv", CSV.replace(",", "|"), {}, BOTH),
        ("tabs.tsv", CSV.replace(",", "\t"), {}, BOTH),
        ("commas.tsv", CSV, {}, BOTH),
        ("of-excel.csv", "sep=;\r\n" + CSV.replace(",", ";").replace("\n", "\r\n"), {}, BOTH),
        ("of-excel-in-quotes.csv", '"sep=\t"\n' + CSV.replace(",", "\t"), {}, BOTH),
        ("odd-separator.csv", "sep=^\n" + CSV.replace(",", "^"), {}, BOTH),
        ("quotes.csv", 'label;text\nup;"a; ""b""\nc, d"\n', {}, [('a; "b"\nc, d', "up")]),
        ("commas-in-semicolons.csv", "text;label\na, b, c;up\n", {}, [("a, b, c", "up")]),
        ("marked.csv", "\ufeff" + CSV, {}, BOTH),
        ("windows.csv", CSV.replace("\n", "\r\n"), {}, BOTH),
        ("old-mac.csv", CSV.replace("\n", "\r"), {}, BOTH),
        ("no-last-end.csv", CSV.rstrip("\n"), {}, BOTH),
        ("more-columns.csv", "id,label,x,text\n1,up,,fine film\n2,down,,dull film\n", {}, BOTH),
        ("doubled-other.csv", "x,x,text,label\n1,2,fine film,up\n", {}, [GOOD]),
        ("blank-rows.csv", "\n,\ntext,label\n\nfine film,up\n , \ndull film,down\n,\n", {}, BOTH),
        ("long.csv", f"text,label\n{'word ' * 200_000},up\n", {}, [("word " * 200_000, "up")]),
        ("other.csv", "review,stars\nfine film,5\n", {"text_column": "review", "label_column": "stars"},
         [("fine film", "5")]),
        ("other.jsonl", '{"review": "fine film", "text": 3, "y": 1}', {"text_column": "review", "label_column": "y"},
         [("fine film", "1")]),
        ("utf16.csv", LATIN_CSV.encode("utf-16"), {}, LATIN),
        ("utf16le.csv", b"\xff\xfe" + LATIN_CSV.encode("utf-16-le"), {}, LATIN),
        ("utf16be.csv", b"\xfe\xff" + LATIN_CSV.encode("utf-16-be"), {}, LATIN),
        ("utf32.csv", LATIN_CSV.encode("utf-32"), {}, LATIN),
        ("unmarked.csv", LATIN_CSV.encode("utf-16-le"), {"encoding": "utf-16-le"}, LATIN),
        ("latin.csv", LATIN_CSV.encode("latin-1"), {"encoding": "latin-1"}, LATIN),
        ("latin.jsonl", json.dumps({"text": "née", "label": "à"}, ensure_ascii=False).encode("latin-1"),
         {"encoding": "cp1252"}, [("née", "à")]),
        ("marked-and-said.csv", "\ufeff".encode() + LATIN_CSV.encode(), {"encoding": "utf-8"}, LATIN),
        ("marked.jsonl", '\ufeff{"text": "fine film", "label": "up"}', {}, [GOOD]),
        ("old-mac.jsonl", '{"text": "fine film", "label": "up"}\r{"text": "dull film", "label": "down"}\r', {}, BOTH),
        ("separators.jsonl", '{"text": "a\u2028b\x85c", "label": "up"}\n', {}, [("a\u2028b\x85c", "up")]),
        ("pair.jsonl", '{"text": "\\ud83d\\ude00", "label": "\\ud83d\\ude00"}', {}, [("\U0001f600", "\U0001f600")]),
    ],
)  # fmt: skip
def test_files_that_are_read(tmp_path: Path, name: str, content: str | bytes, options: dict, expected: list) -> None:
    assert both_sides(write(tmp_path, name, content), Reading(**options)) == expected


@pytest.mark.parametrize(
    ("written", "label"),
    [
        ("true", "true"), ("false", "false"), ("0", "0"), ("1", "1"), ("1.0", "1"), ("-2.0", "-2"), ("1e2", "100"),
        ('"1"', "1"), ('"1.0"', "1.0"), ('" up "', "up"), ('"\\u00a0up\\t"', "up"), ('"cafe\\u0301"', "caf\u00e9"),
        ("null", None), ("1.5", None), ("NaN", None), ("Infinity", None), ('""', None), ('" \\u00a0 "', None),
        ("[1]", None), ("{}", None), ('"\\ud800"', None), ("1" * 5000, None),
    ],
)  # fmt: skip
def test_labels_are_the_same_on_both_sides(tmp_path: Path, written: str, label: str | None) -> None:
    """`true` in a file trains everywhere, 1 and 1.0 are one class, and what is no name is refused everywhere."""
    path = write(tmp_path, "a.jsonl", f'{{"text": "a", "label": {written}}}\n')
    if label is None:
        with pytest.raises(UsageError, match=r"a\.jsonl, line 1: (the label|not JSON that can be read)"):
            both_sides(path)
    else:
        assert both_sides(path) == [("a", label)]
        csv_of_it = write(tmp_path, "a.csv", f"text,label\na,{label}\n")
        assert both_sides(csv_of_it) == [("a", label)]


def test_labels_that_look_alike_are_said(tmp_path: Path) -> None:
    rows = [f"text {n},{label}" for n, label in enumerate(("Up", "up", "1", "1.0", "down") * 3)]
    said = load_task(write(tmp_path, "a.csv", "\n".join(["text,label", *rows]))).messages
    assert [m for m in said if "are two classes" in m] == [
        "the labels '1' and '1.0' are two classes; write them alike if they mean one",
        "the labels 'Up' and 'up' are two classes; write them alike if they mean one",
    ]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "fine film,up\ndull film,down\n",
         "line 1: no column 'text'; the header has: 'fine film', 'up'; the first line must name the columns"),
        ("a.csv", "review,label\na,b\n", "line 1: no column 'text'; .* another one is chosen with --text-column"),
        ("a.csv", "text;stars\na;b\n", "line 1: no column 'label'; the header has: 'text', 'stars'; .*--label-column"),
        ("a.csv", "sep=;\ntext,label\na,b\n", "line 2: no column 'text'; the header has: 'text,label'"),
        ("a.csv", "text,label,text\na,b,c\n", "line 1: the column 'text' stands twice in the header"),
        ("a.csv", "text,label\na,b\na,b,c\n", "line 3: 3 fields, but the header has 2"),
        ("a.csv", 'text,label\n"a\nb",x\nc\n', "line 4: 1 fields"),
        ("a.csv", 'text,label\na,b\n"a,b\nc,d\n', "line 3: unexpected end of data; a field with quotes"),
        ("a.csv", 'text,label\na,b\n"a" b,c\n', "line 3: ',' expected after '\"'"),
        ("a.csv", "text,label\na,b\nc\0d,e\n", "line 3: it holds a zero byte; if the file is UTF-16"),
        ("a.csv", LATIN_CSV.encode("latin-1"), "line 2: not UTF-8 text; .*--encoding cp1252"),
        ("a.jsonl", b'{"text": "a", "label": "b"}\n{"text": "\xe9", "label": "b"}', "line 2: not UTF-8 .*--encoding"),
        ("a.csv", LATIN_CSV.encode("utf-16-le"), "looks like UTF-16 without a .* mark; give --encoding utf-16-le"),
        ("a.csv", LATIN_CSV.encode("utf-16-be"), "give --encoding utf-16-be"),
        ("a.csv", b"\xff\xfe" + LATIN_CSV.encode("utf-16-le") + b"x", "is not utf-16 text"),
        ("a.csv", "", "holds no usable example"),
        ("a.csv", " \n\n", "holds no usable example"),
        ("a.jsonl", "", "holds no usable example"),
        ("a.csv", gzip.compress(CSV.encode(), mtime=0), "is compressed by gzip; unpack"),
        ("a.jsonl", gzip.compress(b"{}", mtime=0), "is compressed by gzip; unpack"),
        ("a.csv", b"PK\3\4 and so on", r"is a ZIP archive, as spreadsheets \(.xlsx\) are; unpack or export"),
        ("a.csv", b"PAR1...PAR1", "is a Parquet file"),
        ("a.json", '[{"text": "a", "label": "b"}]', "write one object a line, and name the file .jsonl"),
        ("a.jsonl", '[{"text": "a", "label": "b"}]', "line 1: expected an object .* of a JSON array make one object"),
        ("a.jsonl", '[\n{"text": "a", "label": "b"}\n]', "line 1: not JSON .*each line must be a whole object"),
        ("a.jsonl", '{"text": {"en": "a"}, "label": "b"}', "line 1: the text must be a string, not {\"en\": \"a\"}"),
        ("a.jsonl", '{"text": "a", "label": "b", "text": "c"}', "line 1: the key 'text' stands twice"),
        ("a.jsonl", '{"txt": "a", "label": "b"}', "line 1: no 'text'; the object has: 'txt', 'label'; .*--text-column"),
        ("a.jsonl", '{"text": "\\ud800", "label": "b"}', r"line 1: not JSON .*: it holds half .* \(\\ud800 alone"),
        ("a.jsonl", '{"text": "a", "label": "x\\udfff"}', r"line 1: not JSON .*: it holds half .* \(\\udfff"),
        ("a.jsonl", "[" * 100_000, "line 1: not JSON"),
        ("a.txt", "a", "unknown kind '.txt'; examples with labels are .csv, .tsv, .jsonl, .ndjson files"),
    ],
)  # fmt: skip
def test_files_that_are_refused_by_the_line(tmp_path: Path, name: str, content: str | bytes, said: str) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(UsageError, match=said) as caught:
        both_sides(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.jsonl", b'{"text": "fine film", "label": "up"}\n{"text": "\\ud800", "label": "up"}\n', 2),
        ("a.jsonl", b'{"text": "a", "label": "\\ud800"}\n{"text": "fine film", "label": "up"}\n', 1),
        ("a.jsonl", b'{"text": "a", "label": "\xff"}\n{"text": "fine film", "label": "up"}\n', 1),
        ("a.csv", b"text,label\nfine film,up\n\xff,up\n", 3),
        ("a.csv", b"text,label\nfine film,up\na\0,up\n", 3),
        ("a.csv", b"text,label\nfine film,up\na,up,c\n", 3),
    ],
)
def test_wrong_lines_are_left_out_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, content: bytes, line: int
) -> None:
    caplog.set_level(logging.WARNING)
    path, skip = write(tmp_path, name, content), Reading(on_error="skip")
    assert both_sides(path, skip) == [GOOD]
    (said,) = user_file.read(path, skip)[1]
    assert said.startswith(f"{path}: 1 line left out; the first, line {line}: ")
    assert [record.getMessage() for record in caplog.records] == [said]


def test_what_was_left_out_is_in_the_task(tmp_path: Path) -> None:
    rows = [f"text {n},{'ab'[n % 2]}" for n in range(72)] + ["text 0,a", "text 1,a", "odd"]
    path = write(tmp_path, "a.csv", "\n".join(["text,label", *rows]))
    task = load_task(path, 200, Reading(on_error="skip"))
    assert (len(task.test), len(task.train)) == (35, 36)
    assert task.messages == (
        f"{path}: 1 line left out; the first, line 76: 1 fields, but the header has 2; put texts with commas in double "
        "quotes",
        "2 repeated texts were left out",
        "1 text that occurs with two labels was left out",
        "the test has 35 examples instead of 200: half of the 71 texts of the task",
    )
    assert not {e.text for e in task.test} & {e.text for e in task.train}
    assert load_task(path, reading=Reading(on_error="skip")).messages == task.messages[:3]  # nobody asked for a number
    assert task.scarce(20) == []
    rare = load_task(write(tmp_path, "b.csv", "\n".join(["text,label", *rows[:72:2], "x,b", "y,b", "z,b", "w,b"])), 10)
    assert rare.scarce(20) == [
        "20 shots are 10 of each class, and 'b' (3) have fewer examples to train on; the other classes give more"
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"encoding": "klingon"}, "unknown encoding 'klingon'; write for example utf-8"),
        ({"encoding": "hex"}, "unknown encoding 'hex'"),
        ({"encoding": "a\0b"}, "unknown encoding"),
        ({"on_error": "ignore"}, "unknown choice for on-error 'ignore'"),
        ({"text_column": " "}, "text-column must name a column"),
        ({"label_column": "text"}, "are the same, 'text'"),
    ],
)
def test_options_that_cannot_be(options: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Reading(**options)


def test_lines_of_standard_input() -> None:
    assert [e.text for e in read_lines("\ufeffa\r\nb\u2028c\n".encode(), "standard input")] == ["a", "b\u2028c"]
    found = read_lines("é\nb".encode("latin-1"), "standard input", Reading(encoding="latin-1"))
    assert [e.text for e in found] == ["é", "b"]
    with pytest.raises(UsageError, match="standard input, line 2: not UTF-8 text"):
        read_lines(b"a\n\xff\n", "standard input")


_PIECES = st.sampled_from(
    [b"text", b"label", b",", b";", b"\t", b"\n", b"\r", b'"', b"sep=", b"{", b"}", b"[", b":", b'"text": "a"',
     b"\xff\xfe", b"\xef\xbb\xbf", b"\0", b"\\ud800", b"\xe9", b"true", b"1e999", b"null", b"a", b"\x1f\x8b"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    content=st.one_of(st.binary(max_size=80), st.lists(_PIECES, max_size=25).map(b"".join)),
    kind=st.sampled_from([".csv", ".tsv", ".jsonl", ".txt"]),
    encoding=st.sampled_from([None, "utf-8", "utf-16", "latin-1", "utf-7", "shift_jis", "cp1252"]),
    on_error=st.sampled_from(["fail", "skip"]),
    labelled=st.booleans(),
)
@example(content=b'sep="\ntext"label', kind=".csv", encoding=None, on_error="fail", labelled=False)
def test_any_bytes_give_examples_or_one_line(
    tmp_path_factory: pytest.TempPathFactory,
    content: bytes,
    kind: str,
    encoding: str | None,
    on_error: str,
    labelled: bool,
) -> None:
    path = tmp_path_factory.getbasetemp() / f"fuzzed{kind}"
    path.write_bytes(content)
    try:
        examples, _ = load_examples(path, Reading(encoding=encoding, on_error=on_error), labelled=labelled)
    except UsageError as error:
        said = str(error)
        assert str(path) in said and "\n" not in said
        return
    assert examples
    for found in examples:
        assert found.text.strip() and bool(found.label) == labelled
        (found.text + found.label).encode()


@given(st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(), st.lists(st.integers())))
def test_a_label_is_a_name_or_named_as_wrong(value: object) -> None:
    try:
        label = label_of(value)
    except LineError:
        return
    assert label == label.strip() != "" and re.fullmatch(".+", label, re.DOTALL)
    assert label_of(label) == label
