"""A first run says that it compiles; later ones do not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from edge_adapt.simulator import pulse_kernel
from edge_adapt.simulator.compiling import compiled

PROGRAM = """
import numpy as np
from edge_adapt import load_chip
from edge_adapt.simulator import compiling, pulse_kernel, writing
compiling.compiled = lambda kernels, every=compiling.compiled: every(kernels[:1])
for _ in range(2):
    writing.program_cells(np.full(8, 20e-6), load_chip("reram").cell, np.random.default_rng(0))
"""


def test_only_the_first_run_announces_that_kernels_are_compiled(tmp_path: Path) -> None:
    said = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}, cwd=tmp_path,
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        said.append(done.stderr.count("compiling the kernels of the simulator"))
    assert said == [1, 0]


def test_kernels_changed_since_are_not_compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    newer = tmp_path / "pulse_kernel.py"
    newer.write_text("")
    os.utime(newer, (4e9, 4e9))
    monkeypatch.setattr("edge_adapt.simulator.compiling.inspect.getfile", lambda _: str(newer))
    assert not compiled([pulse_kernel.program_blocks])
