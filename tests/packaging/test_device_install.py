"""What a device installs, base dependencies alone: it trains a bundle and predicts with it."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

NOT_ON_A_DEVICE = ("torch", "onnx", "onnxscript", "numba", "transformers", "rich", "matplotlib", "PIL")

pytestmark = pytest.mark.download


@pytest.fixture(scope="module")
def small(root: Path) -> ModuleType:
    """The bundle written by hand of the runtime's tests, and sentences for it."""
    spec = importlib.util.spec_from_file_location("small_bundle", root / "tests" / "runtime" / "conftest.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run(where: Path, *words: str | Path, given: str = "") -> str:
    """What a command prints; nothing of this environment reaches it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        list(map(str, words)), cwd=where, env=environment, input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_train_and_predict(clean_python: Path, small: ModuleType, tmp_path: Path) -> None:
    asked = "import importlib.util as u, json, sys; print(json.dumps([n for n in sys.argv[1:] if u.find_spec(n)]))"
    assert json.loads(run(tmp_path, clean_python, "-c", asked, "numpy", *NOT_ON_A_DEVICE)) == ["numpy"]
    bundle, command = tmp_path / "bundle", clean_python.with_name("edge-adapt")
    small.write_bundle(bundle)
    (texts, labels), (asked_texts, expected) = small.sentences(60, 0), small.sentences(20, 1)
    rows = [json.dumps({"text": text, "label": label}) + "\n" for text, label in zip(texts, labels, strict=True)]
    (tmp_path / "train.jsonl").write_text("".join(rows))
    told = json.loads(
        run(tmp_path, command, "train", bundle, "train.jsonl", "--epochs", "15", "--threads", "1", "--json")
    )
    assert told["examples"] == 60 and told["updates"] == len(told["losses"]) > 10
    assert sum(told["losses"][-5:]) < sum(told["losses"][:5])

    lines = "\n".join(asked_texts) + "\n"
    printed = run(tmp_path, command, "predict", bundle, "--threads", "1", given=lines)
    found = [line.split("\t")[0] for line in printed.splitlines()]
    assert sum(one == other for one, other in zip(found, expected, strict=True)) >= 18
    here = (sys.executable, "-m", "edge_adapt", "predict", bundle, "--threads", "1")
    assert run(tmp_path, *here, given=lines) == printed  # as with everything installed
