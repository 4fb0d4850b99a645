"""A folder that appears complete or not at all."""

import os
from pathlib import Path

import pytest
from edge_adapt.errors import EdgeAdaptError
from edge_adapt.folders import try_place, whole_folder, writing


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

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(EdgeAdaptError, match="Input/output error"):
        fill(tmp_path / "out", "new")
    assert (tmp_path / "out" / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["out"]


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
