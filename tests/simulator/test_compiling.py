"""A first run says that it compiles; later ones do not."""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from edge_adapt import load_chip
from edge_adapt.errors import EdgeAdaptError
from edge_adapt.simulator.compiling import _key, compiled, prepare

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


STUDY = """
import hashlib, json, logging, sys
import numpy as np
from edge_adapt import load_chip
from edge_adapt.simulator import compiling, kernels, program, pulse_kernel, read_kernels

logging.basicConfig(level=logging.ERROR)
found = {"prepared": [], "digests": []}
for fidelity in ("fast", "bitserial"):
    chip = load_chip("reram")
    found["prepared"].append(compiling.prepare(chip, fidelity))
    rng = np.random.default_rng(1)
    model = program(chip, {"w": rng.normal(size=(40, 300))}, rng, fidelity)
    from edge_adapt.simulator.autograd import ChipReader

    twin = model.fork(rng, own=("w",))
    ChipReader(twin)
    x = rng.normal(size=(70, 300))
    results = []
    for chip_model in (model, twin):
        results += [chip_model.matvec("w", x[:n]) for n in (1, 3, 70)]
        chip_model.set_time(86400.0)
        results += [chip_model.matvec("w", x), chip_model.transposed_product("w", results[-1])]
    twin.rewrite("w", rng.normal(size=(40, 300)))
    results.append(twin.matvec("w", x))
    found["digests"].append(hashlib.sha256(b"".join(r.tobytes() for r in results)).hexdigest())
dispatchers = {
    f"{module.__name__}.{name}": kernel
    for module in (kernels, pulse_kernel, read_kernels)
    for name, kernel in vars(module).items()
    if hasattr(kernel, "stats") and getattr(kernel.stats, "cache_path", None)
}
found["compiled_here"] = [name for name, kernel in dispatchers.items() if sum(kernel.stats.cache_misses.values())]
found["read"] = sum(sum(kernel.stats.cache_hits.values()) for kernel in dispatchers.values())
print(json.dumps(found))
"""


def test_the_first_run_after_an_installation_is_like_all_others(tmp_path: Path) -> None:
    """No process compiles for itself: the first run reads its kernels from files, and finds the same numbers."""
    runs = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", STUDY], env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}, cwd=tmp_path,
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        runs.append(json.loads(done.stdout))
    cold, warm = runs
    assert (cold["prepared"], warm["prepared"]) == ([True, True], [False, False])
    assert cold["compiled_here"] == warm["compiled_here"] == []
    assert cold["read"] == warm["read"] > 0
    assert cold["digests"] == warm["digests"]


def test_a_child_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    chip = load_chip("reram")
    monkeypatch.setattr("edge_adapt.simulator.compiling.sys.executable", "/bin/false")
    monkeypatch.setattr("edge_adapt.simulator.compiling._key", lambda *_: "none")
    with pytest.raises(EdgeAdaptError, match="could not be compiled"):
        prepare(chip)


def test_what_decides_which_kernels_are_called() -> None:
    chip = load_chip("reram")
    others = [load_chip("reram", {"chip.adc.bits": "6"}), load_chip("reram", {"chip.array.rotation": "hadamard"})]
    keys = [_key(each, "fast") for each in (chip, *others)]
    assert keys[0] == keys[1] != keys[2]
    assert _key(chip, "bitserial") != keys[0]


def test_kernels_changed_since_are_not_compiled(tmp_path: Path) -> None:
    """As numba sees it: after a change of the file's time alone, one numba compiles again, and another does not."""
    path = tmp_path / "kernel_of_a_test.py"

    def kernel(added: int) -> Any:
        path.write_text(f"from numba import njit\n\n@njit(cache=True)\ndef plus(x):\n    return x + {added}\n")
        spec = importlib.util.spec_from_file_location("kernel_of_a_test", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.plus

    first = kernel(1)
    assert not compiled([first])
    assert first(1) == 2 and compiled([first])
    assert not compiled([kernel(20)])
    os.utime(path, (4e9, 4e9))
    importlib.invalidate_caches()
    touched = kernel(1)
    known = compiled([touched])
    assert touched(1) == 2 and bool(sum(touched.stats.cache_hits.values())) is known
