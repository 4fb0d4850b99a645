"""A report folder is complete or not there, and nothing of the user's is overwritten."""

import errno
import json
import os
from pathlib import Path

import pytest
from edge_adapt import folders
from edge_adapt.errors import EdgeAdaptError, UsageError
from edge_adapt.reports import check_destination
from edge_adapt.reports.compare import check_folder
from edge_adapt.reports.store import write_folder

FILES = {
    "report.json": json.dumps({"schema": "edge-adapt/simulate/2"}),
    "report.html": "<p>new",
    "figures/a.svg": "<svg/>",
}
OLD = FILES | {"report.html": "<p>old", "figures/b.svg": "<svg/>"}


def contents(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()}


def everything(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*")}


@pytest.mark.parametrize("place", ["report", "deep/er/report"])
def test_writes_exactly_the_files(tmp_path, place):
    write_folder(tmp_path / place, FILES)
    assert contents(tmp_path / place) == FILES
    assert {p.name for p in (tmp_path / place).parent.iterdir()} == {"report"}
    assert (tmp_path / place).stat().st_mode & 0o777 == 0o777 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_replaces_a_former_report_and_an_empty_folder(tmp_path):
    (tmp_path / "report").mkdir()
    write_folder(tmp_path / "report", OLD)
    write_folder(tmp_path / "report", FILES)
    assert contents(tmp_path / "report") == FILES, "the figure that the new report does not have is gone"
    assert everything(tmp_path) == {"report", "report/figures", *(f"report/{name}" for name in FILES)}


def test_relative_destination(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folder(Path("out"), FILES)
    assert contents(tmp_path / "out") == FILES


@pytest.mark.parametrize(
    "others",
    [
        {"notes.txt": "mine"},
        OLD | {"notes.txt": "mine"},
        OLD | {"figures/photo.png": "mine"},
        {"report.json": "{}"},
        {"report.json": "not json"},
        {"report.html": "mine"},
    ],
)
def test_refuses_a_folder_with_other_things(tmp_path, others):
    for name, text in others.items():
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_text(text)
    for attempt in (lambda: check_destination(tmp_path / "out"), lambda: write_folder(tmp_path / "out", FILES)):
        with pytest.raises(UsageError, match="not overwritten"):
            attempt()
    assert contents(tmp_path / "out") == others


def test_refuses_files_links_and_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path / "real")
    for name, words in (("file", "is a file"), ("link", "is a link"), ("real", "working folder")):
        with pytest.raises(UsageError, match=words):
            check_destination(tmp_path / name)
    with pytest.raises(UsageError, match="working folder"):
        check_destination(Path())


@pytest.mark.parametrize("failing_call", [1, 2, 3])
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), RuntimeError("bug")]
)
def test_a_failure_while_writing_leaves_nothing(tmp_path, monkeypatch, failure, old, failing_call):
    out = tmp_path / "a" / "out"
    if old:
        write_folder(out, OLD)
    before = everything(tmp_path)
    calls = 0

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == failing_call:
            raise failure

    monkeypatch.setattr(os, "fsync", full)
    expected = EdgeAdaptError if isinstance(failure, OSError) else type(failure)
    with pytest.raises(expected) as caught:
        write_folder(out, FILES)
    if isinstance(failure, OSError):
        assert "no space left" in str(caught.value)
        assert str(tmp_path) in str(caught.value)
    assert everything(tmp_path) == before
    if old:
        assert contents(out) == OLD


@pytest.mark.parametrize("exchanges", [True, False], ids=["exchanged", "moved"])
def test_a_failure_while_swapping_brings_the_old_report_back(tmp_path, monkeypatch, exchanges):
    out = tmp_path / "out"
    write_folder(out, OLD)
    real, refused = os.replace, []

    def replace(source: Path, target: Path) -> None:
        if Path(source).name == "new":
            refuse(source, target)
        real(source, target)

    def refuse(one: Path, other: Path) -> bool:
        refused.append(one)
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(folders, "_exchanged", refuse if exchanges else lambda one, other: False)
    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(EdgeAdaptError, match="Permission denied"):
        write_folder(out, FILES)
    assert len(refused) == 1
    assert contents(out) == OLD
    assert {p.name for p in tmp_path.iterdir()} == {"out"}


def test_a_parent_that_is_a_file_is_one_line(tmp_path):
    (tmp_path / "file").write_text("mine")
    for refuse in (check_destination, lambda out: write_folder(out, FILES)):
        with pytest.raises(UsageError, match=r"cannot write the report .*file' is no folder; give another --out"):
            refuse(tmp_path / "file" / "deep" / "out")


@pytest.mark.parametrize("check", [check_destination, check_folder])
def test_where_nothing_can_be_made_is_found_before_the_run(tmp_path, monkeypatch, check):
    check(tmp_path / "deep" / "er" / "out")
    assert not list(tmp_path.iterdir()), "nothing of the trial stays"

    def refuse(folder: str, mode: int = 0o777) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(UsageError) as caught:
        check(tmp_path / "deep" / "er" / "out")
    words = str(caught.value)
    assert f"no folder can be made in {str(tmp_path)!r} (Permission denied); give another --out" in words
    assert "\n" not in words


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc, where not even root makes a folder")
@pytest.mark.parametrize("check", [check_destination, check_folder])
def test_proc_is_no_place_for_a_report(check):
    with pytest.raises(UsageError, match="no folder can be made in '/proc'"):
        check(Path("/proc/foo"))
