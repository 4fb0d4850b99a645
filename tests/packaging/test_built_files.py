"""What is in the wheel and in the source archive, compared with what lies on disk."""

import configparser
import re
import tarfile
import zipfile
from pathlib import Path

import pytest

NOT_SHIPPED = {"tests", "examples", "benchmarks", "docs", "build", "dist", "prototypes"}
ONLY_FOR_READERS = {".md"}


def packages_on_disk(root: Path) -> set[str]:
    """Dotted names of every folder below the root that holds an `__init__.py`, the root itself being `edge_adapt`."""
    found = set()
    for init in root.rglob("__init__.py"):
        parts = init.parent.relative_to(root).parts
        if not parts or not (parts[0] in NOT_SHIPPED or any(part.startswith(".") for part in parts)):
            found.add(".".join(("edge_adapt", *parts)))
    return found


def shipped_files(root: Path, packages: set[str]) -> set[str]:
    """Paths in the wheel that the tree calls for: sources of every package, and all data below the packages."""
    found = set()
    for path in root.rglob("*"):
        parts = path.relative_to(root).parts
        if not path.is_file() or parts[0] in NOT_SHIPPED or any(part.startswith(".") for part in parts):
            continue
        top = ".".join(("edge_adapt", *parts[:1]))
        inside = len(parts) > 1 and top in packages
        at_root = len(parts) == 1 and (path.suffix == ".py" or path.name == "py.typed")
        if "__pycache__" in parts or path.suffix in ONLY_FOR_READERS or not (inside or at_root):
            continue
        found.add("/".join(("edge_adapt", *parts)))
    return found


@pytest.fixture(scope="module")
def config(root: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(root / "setup.cfg")
    return parser


@pytest.fixture(scope="module")
def in_wheel(built) -> set[str]:
    with zipfile.ZipFile(built.wheel) as archive:
        return set(archive.namelist())


def test_every_package_on_disk_is_listed(root: Path, config: configparser.ConfigParser) -> None:
    assert set(config["options"]["packages"].split()) == packages_on_disk(root)


def test_every_package_data_pattern_names_a_listed_package(config: configparser.ConfigParser) -> None:
    assert set(config["options.package_data"]) <= set(config["options"]["packages"].split())


def test_the_wheel_holds_the_packages_and_nothing_else(built, in_wheel: set[str]) -> None:
    code = {name for name in in_wheel if ".dist-info/" not in name}
    assert code == shipped_files(built.tree, packages_on_disk(built.tree))


@pytest.mark.parametrize(
    "name",
    [
        "edge_adapt/py.typed",
        "edge_adapt/devices/cells/reram.yaml",
        "edge_adapt/devices/peripheries/isaac-32nm.yaml",
        "edge_adapt/devices/chips/reram.yaml",
        "edge_adapt/workloads/shapes/flan-t5-large.yaml",
        "edge_adapt/reports/templates/report.html.j2",
    ],
)
def test_the_wheel_holds_the_data(in_wheel: set[str], name: str) -> None:
    assert name in in_wheel


def test_the_wheel_holds_the_shipped_pools(root: Path, in_wheel: set[str]) -> None:
    pools = [path.relative_to(root) for path in (root / "workloads" / "pools").rglob("adapter_model.safetensors")]
    if not pools:
        pytest.skip("no pool is in the tree yet")
    assert {f"edge_adapt/{path.as_posix()}" for path in pools} <= in_wheel


def test_the_wheel_carries_licence_and_entry_point(built, in_wheel: set[str]) -> None:
    names = {name.rsplit("/", 1)[-1] for name in in_wheel if ".dist-info/" in name}
    assert {"LICENSE", "NOTICE.md", "entry_points.txt"} <= names
    with zipfile.ZipFile(built.wheel) as archive:
        metadata = archive.read(next(n for n in in_wheel if n.endswith(".dist-info/METADATA"))).decode()
    base = {
        re.match(r"[\w-]+", line.removeprefix("Requires-Dist: "))[0].lower()
        for line in metadata.splitlines()
        if line.startswith("Requires-Dist:") and "extra ==" not in line
    }
    assert base == {"numpy", "onnxruntime", "pyyaml", "safetensors", "tokenizers"}


def test_the_source_archive_builds_the_same_wheel_and_holds_no_tests(built, in_wheel: set[str]) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    wanted = {name.removeprefix("edge_adapt/") for name in in_wheel if ".dist-info/" not in name}
    assert wanted | {"setup.cfg", "pyproject.toml", "LICENSE", "NOTICE.md"} <= names
    assert not [name for name in names if name.split("/")[0] in {"tests", ".venv", "build", "edge-adapt-report"}]


def test_constraints_pin_every_dependency(root: Path, config: configparser.ConfigParser) -> None:
    lines = (root / "constraints.txt").read_text().splitlines()
    pinned = {line.split("==")[0].lower() for line in lines if "==" in line}
    extras = config["options.extras_require"]
    asked = "\n".join([config["options"]["install_requires"], *extras.values()]).split("\n")
    named = {re.match(r"[\w-]+", line.strip())[0].lower() for line in asked if line.strip()}
    assert named <= pinned
