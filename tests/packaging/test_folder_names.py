"""A clone may have any name: the root is the package, and `git clone` calls it `edge-adapt`, which is no identifier."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LEFT_OUT = (".*", "__pycache__", "*.egg-info", "build", "dist", "docs", "benchmarks", "examples", "pools")
QUICK = "tests/runtime/test_mezo.py"  # with a conftest.py of its own, and imports of the package in both


@pytest.mark.parametrize("name", ["edge-adapt", "edge adapt 2", "edge_adapt"])
def test_the_tests_run_in_a_folder_of_any_name(root: Path, tmp_path: Path, name: str) -> None:
    tree, found = tmp_path / "clones" / name, tmp_path / "found"
    shutil.copytree(root, tree, ignore=shutil.ignore_patterns(*LEFT_OUT))
    found.mkdir()
    (found / "edge_adapt").symlink_to(tree)  # as an editable install does
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", QUICK, "-k", "seeds_of_different"],
        cwd=tree, env=environment | {"PYTHONPATH": str(found)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
