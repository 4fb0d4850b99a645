"""A folder that appears complete or not at all."""

import os
import stat
from pathlib import Path

import pytest
from edge_adapt import folders
from edge_adapt.errors import EdgeAdaptError
from edge_adapt.folders import try_place, whole_folder, write_whole, writing


def fill(out: Path, text: str) -> None:
    with writing(out), whole_folder(out) as new:
        (new / "a").write_text(text)


def test_it_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    fill(tmp_path / "out", "old")
    fill(tmp_path / "out", "new")
    assert (tmp_path / "out" / "a").read_text() == "new"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("call", [1, 2])
def test_what_was_there_is_put_back_when_a_rename_fails(tmp_path: Path, monkeypatch, call: int) -> None:
    fill(tmp_path / "out", "old")
    real, calls = os.replace, []

    def failing(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == call:
            raise OSError(5, "Input/output error")
        real(source, target)

    monkeypatch.setattr(folders, "_exchanged", lambda one, other: False)  # a file system that cannot
    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(EdgeAdaptError, match="Input/output error"):
        fill(tmp_path / "out", "new")
    assert (tmp_path / "out" / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("exchanges", [True, False])
@pytest.mark.parametrize("had", [True, False])
def test_killed_at_every_call_the_old_or_the_new_is_there(
    tmp_path: Path, had: bool, exchanges: bool, monkeypatch, killed_at_every_call
) -> None:
    """And the next one clears away what was left; where folders cannot be exchanged, it puts back what was there."""
    if not exchanges:
        monkeypatch.setattr(folders, "_exchanged", lambda one, other: False)
    numbers = iter(range(10_000))

    def prepared() -> Path:
        home = tmp_path / str(next(numbers))
        home.mkdir()
        if had:
            fill(home / "out", "old")
        return home

    seen = set()
    for home in killed_at_every_call(prepared, lambda home: fill(home / "out", "new")):
        out = home / "out"
        seen.add((out / "a").read_text() if out.exists() else None)
        if exchanges:
            assert out.exists() or not had
        folders.clear_leftovers(out)
        assert os.listdir(home) == (["out"] if out.exists() else [])
        assert out.exists() or not had
        if out.exists():
            assert (out / "a").read_text() in ("old", "new")
        fill(out, "newer")
        assert (out / "a").read_text() == "newer" and os.listdir(home) == ["out"]
    assert {"new", "old" if had else None} <= seen


def test_everything_is_synced_before_it_takes_its_place(tmp_path: Path, monkeypatch) -> None:
    synced: set[tuple[int, int]] = set()
    real_sync, real_place = os.fsync, folders.put_in_place

    def sync(descriptor: int) -> None:
        found = os.fstat(descriptor)
        synced.add((found.st_dev, found.st_ino))
        real_sync(descriptor)

    def place(new: Path, out: Path, old: Path) -> None:
        inside = [new, *new.rglob("*")]
        assert len(inside) == 4
        assert {(path.stat().st_dev, path.stat().st_ino) for path in inside} <= synced
        real_place(new, out, old)
        assert (tmp_path.stat().st_dev, tmp_path.stat().st_ino) in synced

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(folders, "put_in_place", place)
    with whole_folder(tmp_path / "out") as new:
        (new / "deep").mkdir()
        (new / "deep" / "a").write_text("text")
        (new / "b").write_text("text")
    assert stat.S_ISDIR((tmp_path / "out").stat().st_mode)


def test_a_folder_in_use_is_no_leftover(tmp_path: Path) -> None:
    (tmp_path / ".tmp-out-b-abcdefgh").mkdir()  # of a folder "out-b"
    with whole_folder(tmp_path / "out") as new:
        (new / "a").write_text("outer")
        fill(tmp_path / "out", "inner")
        assert (new / "a").exists()
    assert (tmp_path / "out" / "a").read_text() == "outer"
    assert sorted(os.listdir(tmp_path)) == [".tmp-out-b-abcdefgh", "out"]


def test_nothing_is_left_of_a_failure_nor_of_the_folders_made_for_it(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "er" / "out"

    def broken(failure: BaseException) -> None:
        with writing(out), whole_folder(out) as new:
            (new / "a").write_text("half")
            raise failure

    with pytest.raises(EdgeAdaptError, match=r"cannot write .*out: No space left"):
        broken(OSError(28, "No space left on device"))
    assert not os.listdir(tmp_path)
    fill(out, "new")
    with pytest.raises(KeyboardInterrupt):
        broken(KeyboardInterrupt())
    assert (out / "a").read_text() == "new"
    assert os.listdir(out.parent) == ["out"]


def test_it_has_the_permissions_of_any_other_folder(tmp_path: Path) -> None:
    fill(tmp_path / "out", "new")
    (tmp_path / "other").mkdir()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_place_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    try_place(tmp_path / "deep" / "out")
    assert not os.listdir(tmp_path)
    with pytest.raises(NotADirectoryError):
        try_place(Path(os.devnull) / "out")


def test_a_file_is_the_old_or_the_new_one_and_the_next_write_leaves_nothing_beside(
    tmp_path: Path, killed_at_every_call
) -> None:
    numbers = iter(range(1000))

    def prepared() -> Path:
        home = tmp_path / str(next(numbers))
        home.mkdir()
        write_whole(home / "deep" / "a", "old")
        return home

    seen = []
    for home in killed_at_every_call(prepared, lambda home: write_whole(home / "deep" / "a", "new")):
        seen.append((home / "deep" / "a").read_text())
        write_whole(home / "deep" / "a", "newer")
        assert (home / "deep" / "a").read_text() == "newer" and os.listdir(home / "deep") == ["a"]
    assert seen == ["old"] * 3 + ["new"] * 2


def test_a_file_that_cannot_be_written_leaves_nothing_beside(tmp_path: Path, monkeypatch) -> None:
    write_whole(tmp_path / "a", "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "a", "new")
    assert os.listdir(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "old"


def test_the_folders_made_for_something_are_on_the_disk_before_it(tmp_path: Path, synced_in_order) -> None:
    assert synced_in_order(lambda: write_whole(tmp_path / "deep" / "er" / "a", "text"), tmp_path) == []
    assert synced_in_order(lambda: fill(tmp_path / "very" / "deep" / "out", "text"), tmp_path) == []


@pytest.mark.parametrize("name", ["out", "deep/out"])
def test_a_place_that_was_being_tried_is_cleared_by_the_next_try(
    tmp_path: Path, killed_at_every_call, name: str
) -> None:
    numbers = iter(range(1000))

    def prepared() -> Path:
        home = tmp_path / str(next(numbers))
        home.mkdir()
        return home

    left = 0
    for home in killed_at_every_call(prepared, lambda home: try_place(home / name)):
        left += len(os.listdir(home))
        try_place(home / name)
        assert not os.listdir(home)
    assert left == 1
