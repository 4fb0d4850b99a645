"""A wrong input of a command of the device exits 2 with one line, whichever command and whichever input it is."""

import json
import shutil
from pathlib import Path

import pytest


@pytest.fixture
def data(tmp_path: Path, texts) -> Path:
    path = tmp_path / "data.jsonl"
    sentences, labels = texts(40, 0)
    rows = [json.dumps({"text": t, "label": label}) for t, label in zip(sentences, labels, strict=True)]
    path.write_text("\n".join(rows) + "\n")
    return path


def refused(outcome: tuple[int, str, str], expected: int, *fragments: str) -> None:
    code, out, err = outcome
    assert code == expected and out == "" and len(err.splitlines()) == 1, err
    assert err.startswith("edge-adapt: error: ")
    for fragment in fragments:
        assert fragment in err


def test_a_folder_for_a_bundle_of_texts(command, bundle: Path, data: Path, tmp_path: Path) -> None:
    """What was given and what is wanted, for every command that takes examples."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for words in (("train", bundle, folder), ("evaluate", bundle, folder), ("predict", bundle, folder),
                  ("train", bundle, data, "--guard", folder)):  # fmt: skip
        refused(command(*words), 2, f"{folder} is a folder", "this bundle labels texts", ".csv, .tsv, .jsonl")


COMMANDS = (
    ("train", "BUNDLE", "FILE"), ("predict", "BUNDLE", "FILE"), ("evaluate", "BUNDLE", "FILE"), ("plan", "BUNDLE"),
    ("state", "show", "BUNDLE"), ("state", "history", "BUNDLE"), ("state", "rollback", "BUNDLE"),
    ("state", "reset", "BUNDLE"), ("state", "export", "BUNDLE", "OUT"), ("state", "import", "BUNDLE", "FILE"),
    ("merge-states", "BUNDLE", "FILE", "--out", "OUT"),
)  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_wrong_input_exits_2_whichever_it_is(command, words, bundle: Path, data: Path, tmp_path: Path) -> None:
    """A bundle that is not there, that is a file, that is another folder; and a file that is not there."""
    empty = tmp_path / "empty"
    empty.mkdir()
    right = {"BUNDLE": bundle, "FILE": data, "OUT": tmp_path / "out"}
    for wrong, said in (
        (tmp_path / "gone", "there is no such folder"), (data, "it is a file"), (empty, "there is no such file"),
    ):  # fmt: skip
        given = right | {"BUNDLE": wrong}
        refused(command(*[given.get(word, word) for word in words]), 2, f"{wrong} is no bundle", said)
    if "FILE" in words:
        given = right | {"FILE": tmp_path / "dat.jsonl"}
        refused(
            command(*[given.get(word, word) for word in words]),
            2,
            "dat.jsonl cannot be read",
            "did you mean 'data.jsonl'",
        )


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_name_that_no_file_can_have(command, words, bundle: Path, data: Path, tmp_path: Path) -> None:
    """pathlib raises, where it finds nothing out; it does the same in a folder that may not be searched."""
    right = {"BUNDLE": bundle, "FILE": data, "OUT": tmp_path / "out"}
    for wrong in {"BUNDLE", "FILE"} & set(words):
        given = right | {wrong: tmp_path / ("x" * 300)}
        refused(command(*[given.get(word, word) for word in words]), 2, "x" * 300, "File name too long")


STATES = {
    "a file": lambda folder: folder.write_text("x"),
    "a link to nothing": lambda folder: folder.symlink_to("nowhere"),
    "a link to a file": lambda folder: folder.symlink_to("../manifest.json"),
}


@pytest.mark.parametrize("kind", STATES)
@pytest.mark.parametrize("words", [words for words in COMMANDS if words[0] != "plan"], ids=" ".join)
def test_something_else_in_the_place_of_the_state(
    command, words, kind, bundle: Path, data: Path, tmp_path: Path
) -> None:
    shutil.rmtree(bundle / "state")
    STATES[kind](bundle / "state")
    given = {"BUNDLE": bundle, "FILE": data, "OUT": tmp_path / "out"}
    outcome = command(*[given.get(word, word) for word in words])
    refused(outcome, 2, f"{bundle / 'state'} is a ", "edge-adapt state reset")
    (bundle / "state").unlink()  # what the message says
    assert command("state", "reset", bundle)[0] == 0
    assert command("predict", bundle, data)[0] == 0


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("state export BUNDLE --out f",
         "--out: FILE stands without an option before it, as in: edge-adapt state export bundle state.safetensors"),
        ("state export BUNDLE -o f", "unknown option -o: FILE stands without"),
        ("state import BUNDLE --file=f", "unknown option --file: FILE stands without"),
        ("predict --bundle BUNDLE f", "unknown option --bundle: BUNDLE stands without"),
        ("train BUNDLE --data f", "unknown option --data: FILE stands without"),
        ("devices validate --file f", "unknown option --file: FILE stands without"),
        ("train BUNDLE f --epoch 3", "unknown option --epoch; did you mean '--epochs'"),
    ],
)  # fmt: skip
def test_an_argument_that_is_given_as_an_option(command, words: str, hint: str, bundle: Path) -> None:
    refused(command(*words.replace("BUNDLE", str(bundle)).split()), 2, hint)
