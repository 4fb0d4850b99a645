"""What a state was trained from: carried through all that happens to it, and compared where states are merged."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from edge_adapt.runtime import Session
from edge_adapt.runtime.manifest import read_manifest
from edge_adapt.runtime.options import TrainOptions
from edge_adapt.runtime.start import state_digest
from edge_adapt.runtime.state import Snapshot, encode, read_slot
from edge_adapt.runtime.store import StateStore
from edge_adapt.runtime.tensor_file import tensor_file
from edge_adapt.runtime.training import StopTraining
from safetensors import safe_open
from safetensors.numpy import load_file


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "np") as file:
        return dict(file.metadata())


def test_the_digest_of_a_state_written_out() -> None:
    """Names, extents and numbers, as docs/bundle.md has it; the order that the tensors are given in does not count."""
    number = lambda value: value.to_bytes(8, "little")
    content = number(1) + b"a" + number(2) + number(2) + number(1) + b"\0\0\x80\x3f" + b"\0\0\0\xc0"  # 1, -2
    content += number(2) + "\u00df".encode() + number(0) + b"\0\0\0\x3f"  # 0.5
    state = {"\u00df": np.float32(0.5), "a": np.array([[1.0], [-2.0]], np.float32)}
    assert state_digest(state) == hashlib.sha256(content).hexdigest()
    assert state_digest({"a": np.ones(2, np.float32)}) != state_digest({"a": np.ones((2, 1), np.float32)})
    assert state_digest({"ab": np.ones(1, np.float32)}) != state_digest({"a": np.ones(1, np.float32)})


def digests(path: Path) -> tuple[str, str]:
    """Of what a state was trained from, and its own."""
    told = metadata(path)
    return told["start_sha256"], told["state_sha256"]


def test_a_state_keeps_what_it_was_trained_from(
    devices: list[Path], files: list[Path], command: Callable, tmp_path: Path, texts
) -> None:
    """Through training, saving, going back and the history; a reset and an import begin anew."""
    bundle, merged, out = devices[0], tmp_path / "merged.safetensors", tmp_path / "out.safetensors"
    exported = state_digest(load_file(bundle / "initial.safetensors"))

    def now() -> tuple[str, str]:
        assert command("state", "export", bundle, out)[0] == 0
        return digests(out)

    def told() -> str:
        return next(line for line in command("state", "show", bundle)[1].splitlines() if "trained from" in line)

    for file in files:
        assert digests(file) == (exported, state_digest(load_file(file)))
    assert told() == f"trained from: the exported state ({exported[:12]})"
    command("merge-states", bundle, *files, "--out", merged)
    mean = state_digest(load_file(merged))
    assert digests(merged) == (exported, mean), "the mean is a state of the same round: means can be merged, too"
    command("state", "import", bundle, merged)
    assert now() == (mean, mean)
    assert told() == f"trained from: the imported state ({mean[:12]}), not trained since"
    imported = json.loads(command("state", "show", bundle, "--json")[1])
    assert (imported["start_sha256"], imported["state_sha256"]) == (mean, mean)
    sentences, labels = texts(10, 3)
    for _ in range(2):
        with Session(bundle, threads=1) as session:
            session.train(sentences, labels, TrainOptions(epochs=1))
        assert now()[0] == mean != now()[1]
    assert told() == f"trained from: state {imported['state']} ({mean[:12]})"
    with Session(bundle, threads=1) as session:
        for _ in range(2):
            session.step(list(zip(sentences, labels, strict=True)))
            session.save()
    assert now()[0] == mean
    rows = json.loads(command("state", "history", bundle, "--json")[1])["history"]
    assert [row["start_sha256"] for row in rows] == [exported, exported, *[mean] * 3]
    command("state", "rollback", bundle, "--to", imported["state"])
    assert now() == (mean, mean)
    command("state", "rollback", bundle, "--to", rows[1]["state"])
    assert now() == digests(files[0])
    command("state", "reset", bundle)
    assert now() == (exported, exported)
    assert told() == f"trained from: the exported state ({exported[:12]}), not trained since"


def test_an_unfinished_run_keeps_it(bundle: Path, texts) -> None:
    sentences, labels = texts(20, 0)

    def stop(done: int, *_: object) -> None:
        if done == 3:
            raise StopTraining

    with Session(bundle, threads=1) as session:
        start = session.snapshot.header.start_sha256
        session.train(sentences, labels, on_update=stop)
        assert session.snapshot.header.run is not None and session.snapshot.header.start_sha256 == start
        session.train(sentences, labels)
        assert session.snapshot.header.run is None and session.snapshot.header.start_sha256 == start
    assert start == state_digest(load_file(bundle / "initial.safetensors"))


def norm(state: dict[str, np.ndarray], start: dict[str, np.ndarray]) -> float:
    """The L2 norm of an update."""
    return float(np.linalg.norm([np.linalg.norm(state[name] - start[name].astype(float)) for name in start]))


def test_changes_are_counted_from_where_the_devices_started(
    devices: list[Path], files: list[Path], command: Callable, tmp_path: Path, texts
) -> None:
    """Whatever BUNDLE holds: the norms are right, or none are given, and --clip is refused with the way to mend it."""
    out, server = tmp_path / "merged.safetensors", devices[2]
    words = ["merge-states", server, *files, "--out", out]
    right = json.loads(command(*words, "--json")[1])
    initial = load_file(server / "initial.safetensors")
    for row, file in zip(right["states"], files, strict=True):
        assert row["update_norm"] == pytest.approx(norm(load_file(file), initial))
    mean = out.read_bytes()

    sentences, labels = texts(10, 3)
    with Session(server, threads=1) as session:
        session.train(sentences, labels, TrainOptions(epochs=1))
    wrong = json.loads(command(*words, "--json")[1])
    assert [row["update_norm"] for row in wrong["states"]] == [None, None] and wrong["start"] is None
    assert out.read_bytes() == mean, "the mean does not depend on it"
    _, printed, err = command(*words)
    assert "L2" not in printed and "counted from" not in printed
    assert "does not hold the state that they were trained from" in err
    code, printed, err = command(*words, "--clip", 1)
    assert (code, printed, len(err.splitlines())) == (2, "", 1)
    assert "anna.safetensors was trained from another state" in err and "than state 1, which" in err
    assert f"make it current first: edge-adapt state reset {server}" in err
    command("state", "reset", server)
    assert command(*words, "--clip", 1)[0] == 0

    # The next round: both start from the mean. A server that did not take it cannot clip; one that went on goes back.
    for home in devices[:2]:
        command("state", "import", home, out)
        with Session(home, threads=1) as session:
            session.train(sentences, labels, TrainOptions(epochs=1))
        command("state", "export", home, home.parent / "second.safetensors")
    second = [home.parent / "second.safetensors" for home in devices[:2]]
    words = ["merge-states", server, *second, "--out", tmp_path / "second.safetensors", "--clip", 1]
    err = command(*words)[2]
    assert f"import that state first: edge-adapt state import {server} FILE" in err
    command("state", "import", server, out)
    assert command(*words)[0] == 0
    number = json.loads(command("state", "show", server, "--json")[1])["state"]
    with Session(server, threads=1) as session:
        session.train(sentences, labels, TrainOptions(epochs=1))
    err = command(*words)[2]
    assert f"edge-adapt state rollback {server} --to {number}" in err
    command("state", "rollback", server, "--to", number)
    assert command(*words)[0] == 0

    # Two rounds are not mixed, with or without --clip.
    code, printed, err = command("merge-states", server, files[0], second[1], "--out", tmp_path / "mixed")
    assert (code, printed, len(err.splitlines())) == (2, "", 1) and "second.safetensors was trained from another" in err
    assert not (tmp_path / "mixed").exists()


def without(file: Path, *names: str) -> Path:
    """The file as an earlier version wrote it."""
    told = {name: text for name, text in metadata(file).items() if name not in names}
    made = file.with_name("old-" + file.name)
    made.write_bytes(tensor_file(load_file(file), told))
    return made


def test_files_that_do_not_name_their_start(
    devices: list[Path], files: list[Path], command: Callable, tmp_path: Path
) -> None:
    out, server = tmp_path / "merged.safetensors", devices[2]
    old = without(files[1], "start_sha256", "state_sha256")
    words = ["merge-states", server, files[0], old, "--out", out]
    code, printed, err = command(*words)
    assert code == 0 and "old-bert.safetensors does not say" in err and "cannot be checked" in err
    assert "L2" not in printed and "start_sha256" not in metadata(out)
    code, printed, err = command(*words, "--clip", 1)
    assert (code, printed, len(err.splitlines())) == (2, "", 1)
    assert "old-bert.safetensors does not say which state it was trained from" in err and "export again" in err


def test_slots_that_do_not_name_their_start(bundle: Path, command: Callable, tmp_path: Path, texts) -> None:
    """Of a bundle of an earlier version: exported ones have it, trained ones do not, and a reset mends it."""
    manifest, out = read_manifest(bundle), tmp_path / "out.safetensors"
    exported = state_digest(load_file(bundle / "initial.safetensors"))

    def forget() -> None:
        for slot in (bundle / "state").glob("[ab]"):
            kept = read_slot(slot, 1 << 20)
            slot.write_bytes(encode(Snapshot(replace(kept.header, start_sha256=""), kept.tensors)))

    forget()
    assert StateStore(bundle, manifest).read().header.start_sha256 == exported
    sentences, labels = texts(10, 3)
    with Session(bundle, threads=1) as session:
        session.train(sentences, labels, TrainOptions(epochs=1))
        assert session.snapshot.header.start_sha256 == exported
    forget()
    assert "trained from: not known" in command("state", "show", bundle)[1]
    assert json.loads(command("state", "show", bundle, "--json")[1])["start_sha256"] is None
    command("state", "export", bundle, out)
    assert "start_sha256" not in metadata(out)
    command("state", "reset", bundle)
    command("state", "export", bundle, out)
    assert digests(out) == (exported, exported)


def test_states_that_were_not_trained(
    devices: list[Path], files: list[Path], command: Callable, tmp_path: Path
) -> None:
    idle, out, server = tmp_path / "idle.safetensors", tmp_path / "merged.safetensors", devices[2]
    command("state", "export", server, idle)
    code, _, err = command("merge-states", server, *files, idle, "--out", out)
    assert code == 2 and "idle.safetensors was not trained, and others were; leave it out, or give --weights" in err
    words = ["merge-states", server, files[0], idle, "--weights", "1,1", "--out", out, "--json"]
    code, printed, err = command(*words)
    assert code == 0 and "idle.safetensors was not trained: it is the state that training starts from" in err
    assert json.loads(printed)["states"][1]["update_norm"] == 0
    start = server / "initial.safetensors"
    for asked in (("merge-states", server, files[0], start, "--out", out), ("state", "import", server, start)):
        code, _, err = command(*asked)
        assert code == 2 and "initial.safetensors is the state as exported, which was never trained" in err
        assert f"edge-adapt state reset {server}" in err
