"""Slots with a right checksum and wrong content, and files that are no slots: one line, and the other slot is used."""

import json
import logging
import os
import re
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from edge_adapt.errors import EdgeAdaptError
from edge_adapt.runtime import Session
from edge_adapt.runtime.manifest import BundleError, read_manifest
from edge_adapt.runtime.state import CURRENT, Snapshot, encode
from edge_adapt.runtime.store import KEPT_STATES, StateStore
from edge_adapt.runtime.tensor_file import tensor_file
from safetensors.numpy import load, save

Tensors = dict[str, np.ndarray]


@pytest.fixture
def store(bundle: Path) -> StateStore:
    """A store with two states: steps 1 and 2, the newer in `a`."""
    found = StateStore(bundle, read_manifest(bundle))
    found.lock()
    for step in (1, 2):
        found.save(numbered(found, step))
    found.release()
    assert {view.name: view.snapshot.header.step for view in found.views()} == {"a": 2, "b": 1}
    return found


def numbered(store: StateStore, step: int) -> Snapshot:
    initial = store.initial()
    return Snapshot(replace(initial.header, step=step), {n: v + np.float32(step) for n, v in initial.tensors.items()})


def sealed(header: bytes, tensors: bytes) -> bytes:
    """A slot whose lengths and checksum are right whatever is in it."""
    head = struct.pack("<8sQQ", b"EDGESTA1", len(header), len(tensors))
    return head + sha256(head + header + tensors).digest() + header + tensors


def header_of(snapshot: Snapshot) -> bytes:
    content = encode(snapshot)
    return content[56 : 56 + struct.unpack_from("<Q", content, 8)[0]]


def with_tensors(change: Callable[[Tensors], Tensors]) -> Callable[[Snapshot], bytes]:
    return lambda newest: encode(Snapshot(newest.header, change(dict(newest.tensors))))


def without(name: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {n: v for n, v in tensors.items() if n != name}


def put(name: str, value: np.ndarray) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {name: value}


def of_header(**changes: object) -> Callable[[Snapshot], bytes]:
    return lambda newest: sealed(
        json.dumps(json.loads(header_of(newest)) | changes).encode(), save(dict(newest.tensors))
    )


BIAS, COEFFICIENTS = CURRENT + "head.bias", CURRENT + "coefficients"
WRONG: dict[str, tuple[Callable[[Snapshot], bytes], str]] = {
    "a tensor is missing": (with_tensors(without(BIAS)), "'head.bias' is missing"),
    "no tensor at all": (with_tensors(lambda tensors: {}), "is missing"),
    "a tensor too many": (with_tensors(put(CURRENT + "more", np.ones(2, np.float32))), "'more' is none of this bundle"),
    "another shape": (with_tensors(put(BIAS, np.ones((4, 1), np.float32))), r"float32 \(4, 1\), not float32 \(4,\)"),
    "another type": (with_tensors(put(BIAS, np.ones(4))), "float64"),
    "not a number": (with_tensors(put(COEFFICIENTS, np.full(3, np.nan, np.float32))), "not finite"),
    "infinite": (with_tensors(put(COEFFICIENTS, np.array([1, np.inf, 0], np.float32))), "not finite"),
    "moments of another shape": (with_tensors(put("optimiser/m/head.bias", np.ones(3, np.float32))), "optimiser/m/"),
    "a run's state of another": (with_tensors(put("run/state/other", np.ones(3, np.float32))), "run/state/other"),
    "an infinite moment": (with_tensors(put("optimiser/v/head.bias", np.full(4, np.inf, np.float32))), "not finite"),
    "broken tensors": (lambda newest: sealed(header_of(newest), b"\xff" * 64), "no safetensors"),
    "no tensors' file": (lambda newest: sealed(header_of(newest), b""), "no safetensors"),
    "no JSON": (lambda newest: sealed(b"{", save({})), "no JSON"),
    "deep JSON": (lambda newest: sealed(b"[" * 100_000, save({})), "no JSON"),
    "a list": (lambda newest: sealed(b"[]", save({})), "names no schema"),
    "a counter that is text": (of_header(counter="9"), "counter must be a whole number"),
    "a key that nobody knows": (of_header(colour="red"), "unknown key 'colour'"),
    "more classes than can be taught": (of_header(taught=["x", "y", "z"]), "classes that were taught"),
    "a taught class with a label's name": (of_header(taught=["up"]), "classes that were taught"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_the_other_slot_is_used_and_reset_works(store: StateStore, caplog: pytest.LogCaptureFixture, name: str) -> None:
    caplog.set_level(logging.WARNING)
    make, words = WRONG[name]
    wrong = make(store.read())
    (store.folder / "a").write_bytes(wrong)
    session = Session(store.bundle)
    assert session.snapshot.header.step == 1
    assert session.predict(["good film"])[0].label in session.labels
    assert caplog.records and re.search(words, caplog.text)
    (store.folder / "b").write_bytes(wrong)
    with pytest.raises(BundleError, match="no state can be read"):
        Session(store.bundle)
    store.lock()
    store.reset()
    store.release()
    assert Session(store.bundle).snapshot.header.step == 0


def test_reset_works_where_both_slots_are_of_another_bundle(store: StateStore) -> None:
    newest = store.read()
    foreign = encode(
        Snapshot(replace(newest.header, owner=replace(newest.header.owner, model="another")), newest.tensors)
    )
    for name in ("a", "b"):
        (store.folder / name).write_bytes(foreign)
    with pytest.raises(BundleError, match="belongs to another bundle"):
        store.read()
    store.lock()
    store.reset()
    assert store.read().header.step == 0


def no_file(path: Path, kind: str, outside: Path) -> None:
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "link":
        path.symlink_to(outside)
    elif kind == "folder":
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.write(struct.pack("<8sQQ", b"EDGESTA1", 8, (3 << 30) - 64) if kind == "sparse" else b"")
            file.truncate(3 << 30)


@pytest.mark.parametrize("kind", ["pipe", "device", "link", "folder", "sparse", "empty and long"])
def test_what_is_no_slot_is_not_read(store: StateStore, tmp_path: Path, kind: str) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes((store.folder / "a").read_bytes())
    before = outside.read_bytes()
    no_file(store.folder / "a", kind, outside)
    assert store.read().header.step == 1
    store.lock()
    if kind == "folder":
        with pytest.raises(EdgeAdaptError, match="Is a directory"):
            store.save(numbered(store, 3))
        return
    store.save(numbered(store, 3))
    assert store.read().header.step == 3
    assert outside.read_bytes() == before and not (store.folder / "a").is_symlink()


@pytest.mark.parametrize("what", ["state", "history", "lock", "a.tmp"])
def test_nothing_is_written_through_a_link(store: StateStore, tmp_path: Path, what: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "7.tmp").write_text("mine")
    (outside / "file").write_text("mine")
    link = store.folder if what == "state" else store.folder / what
    if what == "state":
        link.rename(store.bundle / "moved")
    elif link.exists():
        link.unlink() if link.is_file() else link.rmdir()
    link.symlink_to(outside / "file" if what in ("lock", "a.tmp") else outside)
    writer = StateStore(store.bundle, store.manifest)
    if what == "a.tmp":
        writer.lock()  # takes the link away, and not what it leads to
        writer.save(numbered(store, 3))
        assert writer.read().header.step == 3
    else:
        with pytest.raises(EdgeAdaptError, match=r"is a link to|cannot be written"):
            writer.lock()
    assert sorted(path.name for path in outside.iterdir()) == ["7.tmp", "file"]
    assert (outside / "file").read_text() == "mine"


def test_the_history_is_in_order_of_number(store: StateStore) -> None:
    store.lock()
    for counter in range(999_990, 1_000_010):
        newest = store.read()
        store.replace_current(newest, numbered(store, counter))
        path = store.folder / "a"
        latest = max(store.views(), key=lambda view: view.snapshot.header.counter)
        if counter == 999_990:  # the counter of a device that has long been in use
            path = store.folder / latest.name
            path.write_bytes(
                encode(Snapshot(replace(latest.snapshot.header, counter=counter), latest.snapshot.tensors))
            )
            store.release()
            store.lock()
    kept = [snapshot.header.counter for snapshot in store.history()][1:]
    assert kept == list(range(1_000_009 - KEPT_STATES, 1_000_009))


def test_killed_at_every_call_of_a_change(bundle: Path, tmp_path: Path, killed_at_every_call) -> None:
    """The state is the former or the new one. The next writer leaves no stray file. No state is kept twice or lost."""
    manifest = read_manifest(bundle)
    store = StateStore(bundle, manifest)
    store.lock()
    for step in range(1, KEPT_STATES + 3):
        store.replace_current(store.read(), numbered(store, step))
    store.release()
    newest = store.read().header.step
    numbers = iter(range(10_000))
    prepared = lambda: Path(shutil.copytree(bundle, tmp_path / str(next(numbers))))

    def change(folder: Path) -> None:
        writer = StateStore(folder, manifest)
        writer.lock()
        writer.replace_current(writer.read(), numbered(writer, newest + 1))

    def roll_back(folder: Path) -> None:
        writer = StateStore(folder, manifest)
        writer.lock()
        writer.roll_back()

    for work, wanted in ((change, newest + 1), (roll_back, newest - 1)):
        seen = set()
        for folder in killed_at_every_call(prepared, work):
            left = StateStore(folder, manifest)
            current = left.read().header.step
            seen.add(current)
            assert current in (newest, wanted)
            kept = [snapshot.header.step for snapshot in left.history()][1:]
            assert kept[-1] == (newest - 1 if current == newest else newest)
            assert len(kept) == len(set(kept)) >= KEPT_STATES
            left.lock()
            kept = [snapshot.header.step for snapshot in left.history()][1:]
            assert len(kept) == KEPT_STATES and not list(folder.rglob("*.tmp"))
            left.replace_current(left.read(), numbered(left, newest + 2))
            assert left.read().header.step == newest + 2
        assert seen == {newest, wanted}


def test_a_file_of_tensors_has_the_same_bytes_every_time() -> None:
    tensors = {"b": np.arange(3, dtype=np.float32), "a": np.ones((2, 2), np.float32)}
    metadata = {name: name * 3 for name in "zyxwvutsrq"} | {"labels": '["ä"]'}
    files = {tensor_file(tensors, dict(order)) for order in (metadata.items(), reversed(metadata.items()))}
    assert len(files) == 1
    (content,) = files
    back = load(content)
    assert back.keys() == tensors.keys() and all((back[name] == value).all() for name, value in tensors.items())
    header = json.loads(content[8 : 8 + struct.unpack_from("<Q", content)[0]])
    assert header["__metadata__"] == metadata and list(header["__metadata__"]) == sorted(metadata)
