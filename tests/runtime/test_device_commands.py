"""The commands of the device: what they print, and one line for every mistake."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from edge_adapt.cli import main
from edge_adapt.commands.on_device import UpdateLine
from edge_adapt.errors import UsageError
from edge_adapt.runtime import Session
from edge_adapt.runtime.training import StopTraining
from safetensors import safe_open
from safetensors.numpy import load_file


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    def call(*words: object) -> Outcome:
        capfd.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Outcome(code, *capfd.readouterr())

    return call


@pytest.fixture
def data(tmp_path: Path, texts) -> Path:
    path = tmp_path / "data.jsonl"
    write_jsonl(path, *texts(40, 0))
    return path


def write_jsonl(path: Path, sentences: list[str], labels: list[str]) -> None:
    rows = [json.dumps({"text": t, "label": label}) for t, label in zip(sentences, labels, strict=True)]
    path.write_text("\n".join(rows) + "\n")


def refused(outcome: Outcome, code: int, *fragments: str) -> None:
    assert outcome.out == ""
    assert len(outcome.err.splitlines()) == 1, outcome.err
    assert outcome.err.startswith("edge-adapt: error: ")
    for fragment in fragments:
        assert fragment in outcome.err
    assert outcome.code == code


def test_train_evaluate_predict(bundle: Path, data: Path, cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    done = cli("train", bundle, data, "--epochs", 20, "--threads", 1)
    assert done.code == 0, done.err
    assert "trained on 40 examples: 100 updates" in done.out
    assert "state 6 is current" not in done.err
    measured = json.loads(cli("evaluate", bundle, data, "--json").out)
    assert measured["examples"] == 40
    assert measured["accuracy"] > 0.8
    assert sum(row["examples"] for row in measured["by_label"].values()) == 40
    assert f"accuracy {100 * measured['accuracy']:.1f} % of 40" in cli("evaluate", bundle, data).out

    sentences = [json.loads(line)["text"] for line in data.read_text().splitlines()]
    expected = Session(bundle).predict(sentences)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\n".join(sentences).encode())))
    lines = cli("predict", bundle).out.splitlines()
    assert lines == [f"{p.label}\t{p.probability:.4f}" for p in expected]
    found = json.loads(cli("predict", bundle, data, "--json").out)["predictions"]
    assert [row["line"] for row in found] == list(range(1, 41))
    assert [row["label"] for row in found] == [p.label for p in expected]
    assert all(abs(sum(row["probabilities"].values()) - 1) < 1e-5 for row in found)


def test_answers_say_their_line_where_lines_are_left_out(bundle: Path, cli: Callable, tmp_path: Path) -> None:
    path = tmp_path / "new.txt"
    path.write_bytes(b"the good film\n\n\xff\nthe bad plot\n")
    done = cli("predict", bundle, path, "--on-error", "skip")
    assert done.code == 0, done.err
    assert [line.split("\t")[2] for line in done.out.splitlines()] == ["1", "4"]
    path.write_text("the good film\n")
    assert len(cli("predict", bundle, path).out.split("\t")) == 2


def test_the_report_of_a_run_as_json(bundle: Path, data: Path, cli: Callable, tmp_path: Path, texts) -> None:
    guard = tmp_path / "guard.jsonl"
    write_jsonl(guard, *texts(10, 1))
    config = tmp_path / "train.yaml"
    config.write_text(f"optimizer: sgd\nlearning-rates: {{head: 0.5}}\nepochs: 2\nguard: {guard}\nhold-out: 0.25\n")
    words = ["--config", config, "--epochs", 4, "--learning-rate", "magnitudes=0.1", "--energy", "--json"]
    done = cli("train", bundle, data, *words)
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert (report["epochs"], report["examples"], report["held_out"]) == (4, 30, 10)
    assert len(report["losses"]) == report["updates"] == 16
    assert report["guard_after"] is not None
    assert set(report["energy"]) == {"joules", "measured", "problem"}
    assert (report["energy"]["joules"] is None) == bool(report["energy"]["problem"])


def test_state_commands(bundle: Path, data: Path, cli: Callable, tmp_path: Path, monkeypatch) -> None:
    original = load_file(bundle / "initial.safetensors")
    assert json.loads(cli("state", "show", bundle, "--json").out)["note"] == "exported"
    cli("train", bundle, data)
    first = json.loads(cli("state", "show", bundle, "--json").out)
    assert first["slots"].keys() == {"a", "b"}
    assert (first["step"], first["reserved_classes_left"], first["numbers"]) == (20, 2, 4 * 16 + 4 + 16 + 3)
    cli("train", bundle, data, "--optimizer", "mezo")
    out = tmp_path / "taken.safetensors"
    assert cli("state", "export", bundle, out, "--pairs").code == 0
    with safe_open(out, "np") as file:
        assert json.loads(file.metadata()["labels"]) == ["down", "up"]
        assert json.loads(file.metadata()["mezo_rates"])["magnitudes"] == 0.02
        assert len(file.get_tensor("mezo/seeds")) == 20
    rows = json.loads(cli("state", "history", bundle, "--json").out)
    assert [row["note"] for row in rows["history"]] == ["exported", "trained"]
    assert "rolled back to" in cli("state", "rollback", bundle).out
    assert json.loads(cli("state", "show", bundle, "--json").out)["results"] == first["results"]
    assert cli("state", "reset", bundle).code == 0
    assert cli("state", "export", bundle, out).code == 0
    assert {n: v.tobytes() for n, v in load_file(out).items()} == {n: v.tobytes() for n, v in original.items()}
    shown = cli("state", "show", bundle).out
    assert "reset, 0 updates since export" in shown
    assert shown.count("sound") == 2
    assert "<- current" in cli("state", "history", bundle).out
    assert json.loads(cli("state", "rollback", bundle, "--to", first["state"], "--json").out)["step"] == 20
    refused(cli("state", "rollback", bundle, "--to", 99), 2, "no state 99 is kept")
    refused(cli("state", "export", bundle, out, "--pairs"), 2, "was not trained with --optimizer mezo")
    refused(cli("state", "export", bundle, tmp_path / "data.jsonl" / "x"), 1, "cannot be written")
    for kind in ("safetensors", "onnx-adapter", "peft"):
        for inside in (bundle, bundle / "manifest.json", bundle / "state" / "a", bundle / "new"):
            refused(cli("state", "export", bundle, inside, "--format", kind), 2, "lies in the bundle")
    assert cli("state", "show", bundle).code == 0
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cli("state", "export", bundle, "~/at-home").code == 0
    assert (tmp_path / "at-home").is_file()


def test_folders_above_what_is_written_are_made(bundle: Path, cli: Callable, tmp_path: Path) -> None:
    """As every command does that writes."""
    for number, words in enumerate((("safetensors",), ("onnx-adapter",))):
        out = tmp_path / str(number) / "new" / "state"
        assert cli("state", "export", bundle, out, "--format", *words).code == 0 and out.is_file()
    merged = tmp_path / "merged" / "new" / "file"
    assert cli("merge-states", bundle, tmp_path / "0" / "new" / "state", "--out", merged).code == 0
    assert merged.is_file()


def test_training_without_updates_adds_none(bundle: Path, cli: Callable, data: Path) -> None:
    """The first one puts the head at class means and counts as one: the state is a trained one."""
    for epochs, expected in ((0, 1), (1, 6), (0, 6)):  # 40 texts are five batches
        before = json.loads(cli("state", "show", bundle, "--json").out)
        made = json.loads(cli("train", bundle, data, "--epochs", epochs, "--json").out)
        assert made["step"] == expected == max(before["step"] + made["updates"], 1)
        assert f"{expected} update{'s' * (expected > 1)} since export" in cli("state", "show", bundle).out


def test_examples_of_one_class_alone_are_pointed_out(bundle: Path, cli: Callable, tmp_path: Path, texts) -> None:
    """Trained on these, a model answers nothing else: the taught class would swallow the two others."""
    file = tmp_path / "one.jsonl"
    sentences, labels = texts(20, 0)
    for teach, label in (((), "up"), (("--teach", "new"), "new")):
        write_jsonl(file, sentences[:4], [label] * 4)
        told = cli("train", bundle, file, *teach, "--json")
        assert told.code == 0
        assert len(json.loads(told.out)["losses"]) > 0
        assert f"every example was '{label}', so the model may forget down" in told.err
    write_jsonl(file, sentences, labels)
    assert "forget" not in cli("train", bundle, file).err


def test_nothing_to_roll_back_to(bundle: Path, cli: Callable) -> None:
    refused(cli("state", "rollback", bundle), 2, "no former state")


@pytest.mark.parametrize(
    ("words", "code", "fragments"),
    [
        ("train nowhere data.jsonl", 2, ["nowhere is no bundle", "there is no such folder"]),
        ("train BUNDLE none.jsonl", 2, ["none.jsonl", "No such file"]),
        ("train BUNDLE DATA --optimizer adam", 2, ["unknown optimizer 'adam'", "did you mean 'adamw'"]),
        ("train BUNDLE DATA --schedule liner", 2, ["did you mean 'linear'"]),
        ("train BUNDLE DATA --learning-rate hed=0.1", 2, ["'hed'", "did you mean 'head'"]),
        ("train BUNDLE DATA --learning-rate 0.1", 2, ["'0.1' is not GROUP=RATE"]),
        ("train BUNDLE DATA --learning-rate head=-1", 2, ["head must be 0 or more"]),
        ("train BUNDLE DATA --epochs -1", 2, ["epochs must not be negative"]),
        ("train BUNDLE DATA --batch-size 0", 2, ["batch_size must be at least 1"]),
        ("train BUNDLE DATA --hold-out 1", 2, ["hold_out"]),
        ("train BUNDLE DATA --threads -2", 2, ["threads must be 0 (all cores) or more"]),
        ("train BUNDLE DATA --memory-budget lots", 2, ["'lots' is no size"]),
        ("train BUNDLE DATA --memory-budget 1GB", 2, ["no memory figures", "plan --measure"]),
        ("train BUNDLE DATA --guard none.csv", 2, ["none.csv"]),
        ("train BUNDLE DATA --teach a --teach b --teach c", 2, ["no class is left to teach 'c'", "2 were reserved"]),
        ("train BUNDLE DATA --config none.yaml", 2, ["none.yaml: No such file"]),
        ("train BUNDLE", 2, ["FILE"]),
        ("predict BUNDLE none.txt", 2, ["none.txt"]),
        ("evaluate BUNDLE none.csv", 2, ["none.csv"]),
        ("plan BUNDLE", 2, ["no memory figures"]),
        ("plan BUNDLE --batch 0 --measure", 2, ["--batch must be at least 1"]),
        ("plan BUNDLE --seq 500 --measure", 2, ["--seq 1..12"]),
        ("state shw BUNDLE", 2, ["'shw'"]),
    ],
)
def test_wrong_words(bundle: Path, data: Path, cli: Callable, words: str, code: int, fragments: list[str]) -> None:
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    places = {"BUNDLE": str(bundle), "DATA": str(data)}
    refused(cli(*(places.get(word, word) for word in words.split())), code, *fragments)
    after = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file() and path.name != "lock"}
    assert after == before


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        ("epoks: 3\n", ["'epoks'", "did you mean 'epochs'"]),
        ("epochs: many\n", ["epochs must be a whole number"]),
        ("teach: five\n", ["teach must be a list"]),
        ("[1, 2\n", ["not valid YAML"]),
        ("just words\n", ["expected `option: value` lines"]),
    ],
)
def test_wrong_config_files(bundle: Path, data: Path, cli: Callable, content: str, fragments: list[str]) -> None:
    config = data.with_name("config.yaml")
    config.write_text(content)
    refused(cli("train", bundle, data, "--config", config), 2, *fragments)


def test_wrong_examples(bundle: Path, cli: Callable, tmp_path: Path) -> None:
    path = tmp_path / "wrong.jsonl"
    good = '{"text": "the good film", "label": "up"}\n{"text": "the bad film", "label": "down"}\n'
    for line, fragments in (
        ('{"text": "the film", "label": "upp"}', ["line 3", "unknown label 'upp'", "did you mean 'up'", "--teach"]),
        ('{"text": "the film" "label": "up"}', ["line 3", "not JSON"]),
        ('{"text": "", "label": "up"}', ["line 3", "the text is empty"]),
    ):
        path.write_text(good + line + "\n")
        refused(cli("train", bundle, path), 2, str(path), *fragments)
        done = cli("train", bundle, path, "--on-error", "skip", "--json")
        assert json.loads(done.out)["examples"] == 2
        assert done.err.splitlines() == [done.err.strip()]
        assert "1 line left out" in done.err
    path.write_text('{"text": "the film", "label": "upp"}\n')
    refused(cli("train", bundle, path, "--on-error", "fail"), 2, "unknown label")


def test_a_text_of_100_000_words_is_cut_and_that_is_said_once(bundle: Path, cli: Callable, tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    write_jsonl(path, ["good film " * 50_000, "bad film " * 50_000, "fine"], ["up", "down", "up"])
    done = cli("train", bundle, path)
    assert done.code == 0
    assert done.err.splitlines() == ["edge-adapt: 2 of 3 texts are longer than 12 tokens and were cut"]


def test_a_refusal_by_the_guard(bundle: Path, data: Path, cli: Callable, tmp_path: Path, texts) -> None:
    cli("train", bundle, data, "--epochs", 20)
    before = json.loads(cli("state", "export", bundle, tmp_path / "before", "--json").out)["state"]
    sentences, labels = texts(40, 2)
    wrong = tmp_path / "wrong.jsonl"
    write_jsonl(wrong, sentences, ["up" if label == "down" else "down" for label in labels])
    outcome = cli("train", bundle, wrong, "--guard", data, "--epochs", 20, "--max-drop", 5)
    refused(outcome, 1, "refused", "40 guard examples", "5 points")
    cli("state", "export", bundle, tmp_path / "after")
    after = load_file(tmp_path / "after")
    assert {n: v.tobytes() for n, v in load_file(tmp_path / "before").items()} == {
        n: v.tobytes() for n, v in after.items()
    }
    assert json.loads(cli("state", "show", bundle, "--json").out)["state"] > before


def test_a_damaged_slot_is_said_and_work_goes_on(bundle: Path, data: Path, cli: Callable) -> None:
    cli("train", bundle, data)
    shown = json.loads(cli("state", "show", bundle, "--json").out)
    newest = next(name for name, text in shown["slots"].items() if f"state {shown['state']}" in text)
    path = bundle / "state" / newest
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    done = cli("evaluate", bundle, data)
    assert done.code == 0
    assert f"{path} is damaged (the checksum does not match); going on from the other slot" in done.err
    assert cli("train", bundle, data).err.count("is damaged") == 1, "said once a command"
    path.write_bytes(content)
    assert "the checksum does not match" in cli("state", "show", bundle).out
    for name in "ab":
        (bundle / "state" / name).write_bytes(b"")
    refused(cli("predict", bundle, data), 2, "no state can be read", "state reset")
    assert cli("state", "reset", bundle).code == 0
    assert cli("predict", bundle, data).code == 0


def test_labels_of_an_untrained_head_are_said_to_mean_nothing(bundle: Path, data: Path, cli: Callable) -> None:
    """A fresh bundle would else answer with its first label, 0.5000 each, as if that were known."""
    for command in ("predict", "evaluate"):
        done = cli(command, bundle, data)
        assert done.code == 0 and "is not trained" in done.err and "is not trained" not in done.out
    cli("train", bundle, data)
    for command in ("predict", "evaluate"):
        assert "is not trained" not in cli(command, bundle, data).err
    cli("state", "reset", bundle)
    assert "is not trained" in cli("predict", bundle, data).err


def test_a_second_writer_and_a_read_only_folder(bundle: Path, data: Path, cli: Callable, texts) -> None:
    with Session(bundle) as other:
        other.step(list(zip(*texts(4, 0), strict=True)))
        refused(cli("train", bundle, data), 1, "another process is changing the state")
        refused(cli("state", "reset", bundle), 1, "another process")
        assert cli("predict", bundle, data).code == 0
    (bundle / "state" / "lock").unlink()
    (bundle / "state" / "lock").mkdir()  # root may write anywhere: this it cannot open for writing
    refused(cli("train", bundle, data), 1, "cannot be written")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_orderly_stop_and_going_on(bundle: Path, data: Path, cli: Callable, usual_signals, number: int) -> None:
    command = [sys.executable, "-m", "edge_adapt", "train", str(bundle), str(data), "--epochs", "1000000", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with usual_signals():
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    while not (bundle / "state" / "b").exists() and process.poll() is None:  # something is saved, or it failed
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == 128 + number, err
    assert out == ""
    assert "the same command goes on from there" in err
    run = json.loads(cli("state", "show", bundle, "--json").out)["unfinished_run"]
    assert run["updates"] >= 19


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_is_ignored_stays_ignored_and_one_that_is_not_stops_after_the_update(number: int) -> None:
    """`nohup` and jobs in the background start programs with signals ignored; a second signal ends at once."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with UpdateLine() as line:
            os.kill(os.getpid(), number)
            line(1, 10, 0.5)
            assert signal.getsignal(number) is signal.SIG_IGN
        assert signal.getsignal(number) is signal.SIG_IGN
        signal.signal(number, signal.default_int_handler)
        with UpdateLine() as line:
            line(1, 10, 0.5)
            os.kill(os.getpid(), number)
            with pytest.raises(StopTraining):
                line(2, 10, 0.5)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)


def test_the_memory_of_a_run_measured(bundle: Path, cli: Callable) -> None:
    done = cli("plan", bundle, "--batch", 4, "--seq", 8, "--measure", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["batch"], found["tokens"]) == (4, 8)
    assert 20e6 < found["measured_peak_bytes"] < 1e9
    assert np.isfinite(found["measured_peak_bytes"])


def test_files_as_people_have_them(bundle: Path, cli: Callable, tmp_path: Path, texts) -> None:
    """The options of the workstation's commands, on the command line and in a file."""
    data = tmp_path / "mine.csv"
    rows = [f'"{text}";{label}' for text, label in zip(*texts(20, 0), strict=True)]
    data.write_bytes("\n".join(["sep=;", "Satz;Urteil", *rows, "ödd"]).encode("latin-1"))
    refused(cli("evaluate", bundle, data), 2, "line 2: no column 'text'", "--text-column")
    words = ["--text-column", "Satz", "--label-column", "Urteil"]
    refused(cli("evaluate", bundle, data, *words), 2, "line 23: not UTF-8 text", "--encoding")
    refused(cli("evaluate", bundle, data, *words, "--encoding", "latin-1"), 2, "line 23: 1 fields")
    refused(cli("evaluate", bundle, data, "--encoding", "latin-2000"), 2, "unknown encoding 'latin-2000'")
    words += ["--encoding", "latin-1", "--on-error", "skip"]
    for command, number in (("evaluate", "examples"), ("train", "examples")):
        done = cli(command, bundle, data, *words, "--json")
        assert json.loads(done.out)[number] == 20
        assert "1 line left out; the first, line 23: 1 fields" in done.err
    assert len(cli("predict", bundle, data, *words).out.splitlines()) == 20
    config = tmp_path / "train.yaml"
    config.write_text("text-column: Satz\nlabel-column: Urteil\nencoding: latin-1\non_error: skip\nbalanced: on\n")
    assert json.loads(cli("train", bundle, data, "--config", config, "--json").out)["examples"] == 20


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        ("epochs: 2\nepochs: 3\n", ["config.yaml:2: key 'epochs' stands twice"]),
        ("batch-size: 2\nbatch_size: 3\n", ["config.yaml:2: ", "is given twice"]),
        ("epochs: many\n", ["config.yaml:1: options.epochs must be a whole number"]),
        ("seed: 1\nweight-decay: .inf\n", ["config.yaml:2: .inf is no number"]),
        ("memory-budget: lots\n", ["config.yaml:1: 'lots' is no size"]),
        ("guard: 3\n", ["config.yaml:1: guard must be the name of a file"]),
        ("threads: two\n", ["config.yaml:1: options.threads must be a whole number"]),
        ("learning-rates: 3\n", ["config.yaml:1: options.learning_rates must be an object"]),
        ("on-error: ignore\n", ["config.yaml:1: unknown choice for on-error 'ignore'"]),
        ("encoding: klingon\n", ["config.yaml:1: unknown encoding 'klingon'"]),
        ("energy: perhaps\n", ["config.yaml:1: options.energy must be bool"]),
    ],
)
def test_a_wrong_option_of_a_file_names_its_line(
    bundle: Path, data: Path, cli: Callable, content: str, fragments: list[str]
) -> None:
    config = data.with_name("config.yaml")
    config.write_text(content)
    refused(cli("train", bundle, data, "--config", config), 2, *fragments)


def test_a_rate_is_given_once(bundle: Path, data: Path, cli: Callable) -> None:
    words = ["--learning-rate", "head=0.1", "--learning-rate", "head=0.2"]
    refused(cli("train", bundle, data, *words), 2, "--learning-rate gives head twice: 0.1 and 0.2")


def test_words_that_are_no_texts_are_named(bundle: Path, data: Path, cli: Callable) -> None:
    for half in ("\ud800", "the \udfff film"):
        with pytest.raises(UsageError, match=r"text 2 of 2 is none: it holds half a character"):
            Session(bundle).predict(["the good film", half])
    refused(cli("train", bundle, data, "--teach", " "), 2, "the name of a new class: the label is empty")
