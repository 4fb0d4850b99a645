"""Whole commands killed at every call that changes a file: what they change is old or new, and nothing is left over.

The layers below are covered one by one in `test_slots`, `test_power_cuts` and `common/test_folders`.
"""

import itertools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from edge_adapt import folders
from edge_adapt.cli import main
from edge_adapt.runtime.manifest import read_manifest
from edge_adapt.runtime.state import Snapshot
from edge_adapt.runtime.store import KEPT_STATES, StateStore, same_state

Prepare = Callable[[], Path]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No call waits for a real disk: a killed process loses nothing that it wrote."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory, pristine: Path, texts) -> Path:
    """A folder with data and a bundle that was trained so often that its history is full."""
    home = tmp_path_factory.mktemp("used")
    bundle = Path(shutil.copytree(pristine, home / "bundle"))
    rows = zip(*texts(8, 0), strict=True)
    (home / "data.jsonl").write_text("\n".join(json.dumps({"text": text, "label": label}) for text, label in rows))
    for _ in range(KEPT_STATES + 1):
        train(home)
        if not (home / "given").exists():
            command("state", "export", bundle, home / "given")
    assert len(store_of(bundle).history()) == KEPT_STATES + 1
    return home


@pytest.fixture
def prepared(used: Path, tmp_path: Path) -> Prepare:
    """A new copy of it each time."""
    numbers = itertools.count()
    return lambda: Path(shutil.copytree(used, tmp_path / str(next(numbers))))


def train(home: Path) -> None:
    words = ["--epochs", 1, "--save-every", 1, "--hold-out", 0.25, "--replay", 4, "--threads", 1, "--json"]
    command("train", home / "bundle", home / "data.jsonl", *words)


def command(*words: object) -> None:
    assert main([str(word) for word in words]) == 0


def store_of(bundle: Path) -> StateStore:
    return StateStore(bundle, read_manifest(bundle))


def assert_nothing_twice(store: StateStore) -> list[Snapshot]:
    """Returns the kept states."""
    current, (exported, *kept) = store.read(), store.history()
    counters = [snapshot.header.counter for snapshot in (*kept, current)]
    assert len(set(counters)) == len(counters)
    assert exported.header.step == 0
    return kept


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


CHANGES: dict[str, tuple[Callable[[Path], None], int]] = {
    "train": (train, 20),
    "rollback": (lambda home: command("state", "rollback", home / "bundle"), 12),
    "reset": (lambda home: command("state", "reset", home / "bundle"), 12),
    "import": (lambda home: command("state", "import", home / "bundle", home / "given"), 12),
}
"""The command, and how many calls it makes at least."""


@pytest.mark.parametrize("name", CHANGES)
def test_the_state_is_the_old_or_the_new_one(prepared: Prepare, killed_at_every_call, capfd, name: str) -> None:
    """And the same command, once more, leaves neither a stray file nor a state twice, and loses none."""
    change, at_least = CHANGES[name]
    sound = prepared()
    old = store_of(sound / "bundle").read()
    change(sound)
    new = store_of(sound / "bundle").read()
    assert not same_state(old, new)
    change(sound)
    newer = store_of(sound / "bundle").read()
    count = 0
    for home in killed_at_every_call(prepared, change):
        count += 1
        store = store_of(home / "bundle")
        now = store.read()
        assert any(same_state(now, one) and now.header.step == one.header.step for one in (old, new))
        assert all(view.snapshot is not None for view in store.views())
        kept = assert_nothing_twice(store)
        assert same_state(now, old) or any(same_state(snapshot, old) for snapshot in kept)
        change(home)
        assert any(same_state(store.read(), one) for one in (new, newer))
        kept = assert_nothing_twice(store)
        assert len(kept) == KEPT_STATES
        assert any(same_state(snapshot, old) for snapshot in kept)
        numbers = {f"state/history/{snapshot.header.counter:06d}" for snapshot in kept}
        own = {"manifest.json", *store.manifest.files, "state/a", "state/b", "state/lock"}
        assert files_in(home) == {"data.jsonl", "given", *(f"bundle/{file}" for file in own | numbers)}
        shutil.rmtree(home)
    assert count >= at_least


def exported_state(home: Path) -> None:
    command("state", "export", home / "bundle", home / "out" / "state.safetensors")


def test_the_file_of_an_exported_state_is_the_old_or_the_new_one(
    prepared: Prepare, killed_at_every_call, capfd
) -> None:
    def with_former() -> Path:
        home = prepared()
        exported_state(home)
        train(home)
        return home

    sound = with_former()
    out = Path("out", "state.safetensors")
    old = (sound / out).read_bytes()
    exported_state(sound)
    new = (sound / out).read_bytes()
    assert old != new
    for start, former in ((with_former, old), (prepared, None)):
        seen = set()
        for home in killed_at_every_call(start, exported_state):
            seen.add((home / out).read_bytes() if (home / out).exists() else None)
            exported_state(home)
            assert os.listdir(home / "out") == ["state.safetensors"]
        assert len(seen) == 2 and former in seen


@pytest.fixture
def exporting(monkeypatch: pytest.MonkeyPatch, pristine: Path) -> Callable[[Path], Any]:
    """exporting(home): an export to home / "bundle" whose graphs are there already; what it writes is a bundle made by
    hand, and all the rest is its own.
    """
    pytest.importorskip("torch")
    from edge_adapt.exporters import bundle
    from edge_adapt.methods import get_method
    from edge_adapt.progress import Progress

    manifest = read_manifest(pristine)

    def filled(folder: Path, *_: object) -> Any:
        for name in manifest.files:
            shutil.copyfile(pristine / name, folder / name)
        return bundle.seal(folder, manifest)

    model = SimpleNamespace(
        name="by-hand", blocks=1, messages=(), cut_message=lambda *_: "", within=lambda tokens, _: tokens
    )  # fmt: skip
    task = SimpleNamespace(name="words", labels=manifest.labels, messages=())
    adaptation = SimpleNamespace(method="probe", trained_parameters=0, head_parameters=0)
    monkeypatch.setattr(bundle, "load_inputs", lambda *_: (model, task))
    monkeypatch.setattr(bundle, "attach", lambda *_: adaptation)
    monkeypatch.setattr(bundle, "trace", lambda *_: {})
    monkeypatch.setattr(bundle, "fill", filled)
    monkeypatch.setattr(bundle, "calibrate", lambda *_, **__: {"fixed_bytes": 1.0})
    config = bundle.ExportConfig(method=get_method("probe"))
    return lambda home: bundle.export_bundle(config, home / "deep" / "bundle", Progress(), force=True)


def trained_bundle(used: Path, tmp_path: Path, had: bool) -> Prepare:
    numbers = itertools.count()

    def make() -> Path:
        home = tmp_path / str(next(numbers))
        home.mkdir()
        if had:
            shutil.copytree(used / "bundle", home / "deep" / "bundle")
        return home

    return make


@pytest.mark.parametrize(("had", "exchanges"), [(True, True), (True, False), (False, True)])
def test_the_bundle_is_the_old_or_the_new_one(
    used: Path, tmp_path: Path, exporting, killed_at_every_call, monkeypatch, had: bool, exchanges: bool
) -> None:
    """export --force, on file systems that can let two folders change places, and on others, where the next export puts
    back the old one first if it was moved away.
    """
    if not exchanges:
        monkeypatch.setattr(folders, "_exchanged", lambda one, other: False)
    old = store_of(used / "bundle").read()
    seen = set()
    for home in killed_at_every_call(trained_bundle(used, tmp_path, had), exporting):
        out = home / "deep" / "bundle"
        if exchanges or not had:
            assert out.exists() or not had
        elif not out.exists():
            folders.clear_leftovers(out)
        if out.exists():
            store = store_of(out)
            now = store.read()
            seen.add(now.header.step)
            assert now.header.step == 0 or same_state(now, old)
        exporting(home)
        assert store_of(out).read().header.step == 0
        assert os.listdir(home) == ["deep"] and os.listdir(home / "deep") == ["bundle"]
        assert files_in(out) == {"manifest.json", "state/a", *store_of(out).manifest.files}
        shutil.rmtree(home)
    assert seen == ({0, old.header.step} if had else {0})


ORDERED = ("train", "rollback", "reset", "import", "state export")


@pytest.mark.parametrize("name", ORDERED)
def test_everything_is_on_the_disk_before_anything_old_goes(
    prepared: Prepare, synced_in_order, capfd, name: str
) -> None:
    home = prepared()
    work = exported_state if name == "state export" else CHANGES[name][0]
    assert synced_in_order(lambda: work(home), home) == []


@pytest.mark.parametrize(("had", "exchanges"), [(True, True), (True, False), (False, True)])
def test_a_bundle_is_on_the_disk_before_the_old_one_goes(
    used: Path, tmp_path: Path, exporting, synced_in_order, monkeypatch, had: bool, exchanges: bool
) -> None:
    if not exchanges:
        monkeypatch.setattr(folders, "_exchanged", lambda one, other: False)
    home = trained_bundle(used, tmp_path, had)()
    followed = [(folders, "_exchanged")] if exchanges else []
    assert synced_in_order(lambda: exporting(home), home, *followed) == []


def test_the_order_is_judged(tmp_path: Path, synced_in_order) -> None:
    """What was forgotten is found: this is no test that always passes."""

    def forgetful() -> None:
        (tmp_path / "old").touch()
        (tmp_path / "a.tmp").write_text("not synced")
        (tmp_path / "a.tmp").replace(tmp_path / "a")
        (tmp_path / "old").unlink()

    wrong = "; ".join(synced_in_order(forgetful, tmp_path))
    for words in ("not on the disk yet", "old is removed before", "not on the disk at the end"):
        assert words in wrong
