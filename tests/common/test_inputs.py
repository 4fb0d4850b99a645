"""The one reader of files and JSON: bombs cost no more than a moment, and what goes out is strict JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from edge_adapt.display import shown
from edge_adapt.inputs import NotJsonError, json_text, parse_json, read_bytes, read_json

BOMBS = {
    "deep": ("'[' * 100_000", "nested deeper than 100 levels"),
    "deep objects": ("'{\"a\":' * 100_000", "nested deeper than 100 levels"),
    "deep and whole": ("'[' * 400 + ']' * 400", "nested deeper than 100 levels"),
    "digits": ("'[1' + '0' * 5000 + ']'", "a number of 5001 digits"),
    "not finite": ("'[1e999]'", "too large"),
    "nan": ("'[NaN]'", "NaN is no JSON"),
    "a key twice": ('\'{"a": 1, "a": 2}\'', "'a' stands twice"),
    "half a character": ("r'[\"\\ud800\"]'", "half a character"),
    "many lists": ("'[' + '[],' * 10_000_000 + '[]]'", "more than 1000000 lists"),
    "many values": ("'[' + '1,' * 15_000_000 + '1]'", "more than 4000000 values"),
    "many keys": ("'{' + ','.join('\"%d\":1' % n for n in range(1_500_000)) + '}'", "more than 1000000 keys"),
}
CHILD = """
import resource, sys
from pathlib import Path
from edge_adapt.inputs import read_json, NotJsonError
content = eval(sys.argv[2]).encode()
Path(sys.argv[1]).write_bytes(content)
del content
before = resource.getrusage(resource.RUSAGE_SELF)
try:
    read_json(sys.argv[1])
except NotJsonError as error:
    print(error)
after = resource.getrusage(resource.RUSAGE_SELF)
assert after.ru_maxrss - before.ru_maxrss < 500_000 and after.ru_utime - before.ru_utime < 10
"""


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(tmp_path: Path, name: str) -> None:
    made, words = BOMBS[name]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path / "a.json"), made], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert words in done.stdout and done.stdout.count("\n") == 1


def test_only_regular_files_of_the_right_length(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, words in (("/dev/zero", "a device"), (tmp_path / "pipe", "a pipe"), (tmp_path, "Is a directory")):
        with pytest.raises(OSError, match=words):
            read_bytes(path, 100)
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.truncate(3 << 30)
    with pytest.raises(OSError, match="it has 3221225472 bytes, and a file of this kind at most"):
        read_json(sparse)
    (tmp_path / "link").symlink_to(sparse)
    with pytest.raises(OSError, match="symbolic link"):
        read_bytes(tmp_path / "link", 100, follow=False)
    with pytest.raises(OSError, match="null"):
        read_bytes("a\0b", 100)


def test_strict_json_goes_out_and_comes_back() -> None:
    value = {"a": [float("nan"), 1.5, {"b": float("-inf")}], "c": "\u00e9"}
    assert (
        json.loads(json_text(value)) == {"a": [None, 1.5, {"b": None}], "c": "\u00e9"} == parse_json(json_text(value))
    )
    assert parse_json("[NaN]", finite=False)[0] != 0
    with pytest.raises(NotJsonError, match="not JSON"):
        parse_json(b"\xff")


def test_what_is_shown_of_a_text() -> None:
    assert shown("red \x1b[31m\r\n\u202e\ud800") == "red \\x1b[31m\\r\\n\\u202e\\ud800"
    assert shown("na\u00efve \u4e2d \U0001f468\u200d\U0001f469") == "na\u00efve \u4e2d \U0001f468\u200d\U0001f469"
