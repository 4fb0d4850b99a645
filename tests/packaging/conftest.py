"""One wheel and one source archive of the present tree; a clean environment with the wheel and nothing else."""

import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = """
import sys
from setuptools import build_meta
folder = sys.argv[1]  # setuptools changes sys.argv
build_meta.build_wheel(folder)
build_meta.build_sdist(folder)
"""


@dataclass(frozen=True)
class Built:
    wheel: Path
    sdist: Path
    tree: Path


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Wheel and source archive, built in a copy of the tree, with things beside the packages that must not get in."""
    folder = tmp_path_factory.mktemp("build")
    tree, dist = folder / "tree", folder / "dist"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist"))
    for decoy in (".venv/lib/decoy.py", "edge-adapt-report/report.json"):
        path = tree / decoy
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    dist.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(dist)], cwd=tree, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return Built(next(dist.glob("*.whl")), next(dist.glob("*.tar.gz")), tree)


@pytest.fixture(scope="session")
def clean_python(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment that holds the wheel with its base dependencies, from the package index."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1"]
    done = subprocess.run(
        [*pip, "-c", str(ROOT / "constraints.txt"), str(built.wheel)], capture_output=True, text=True, check=False
    )
    if done.returncode and any(sign in done.stderr for sign in ("onnection", "No matching distribution", "timed out")):
        pytest.skip(f"the base dependencies need a package index: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return python
