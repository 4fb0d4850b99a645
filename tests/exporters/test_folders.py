"""A folder that appears complete or not at all."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from edge_adapt.errors import EdgeAdaptError
from edge_adapt.exporters.bundle import ExportConfig, export_bundle
from edge_adapt.exporters.folders import in_place
from edge_adapt.methods import get_method


def fill(out: Path, text: str) -> None:
    with in_place(out) as new:
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


def test_a_bundle_in_the_folder_where_one_is(config: ExportConfig, silent, tmp_path: Path, monkeypatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    export_bundle(replace(config, method=get_method("probe")), Path("."), silent)
    assert (tmp_path / "here" / "manifest.json").is_file()
