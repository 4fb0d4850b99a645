"""The C++ example, built against the onnxruntime of this machine, gives the numbers of the Python session."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from edge_adapt.runtime import Session
from edge_adapt.runtime.options import TrainOptions

SOURCE = Path(__file__).resolve().parents[2] / "examples" / "cpp"
HEADER = "onnxruntime_cxx_api.h"
FOLDERS = ("/usr/include", "/usr/local/include")
"""Debian's libonnxruntime-dev puts its headers below the first; ORT_ROOT names an unpacked release."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built example; the library is the one in the onnxruntime wheel where there is no other."""
    if shutil.which("cmake") is None or shutil.which("c++") is None:
        pytest.skip("needs cmake and a C++ compiler")
    roots = [Path(os.environ["ORT_ROOT"], "include")] if "ORT_ROOT" in os.environ else map(Path, FOLDERS)
    found = next((path for root in roots for path in root.rglob(HEADER)), None)
    if found is None:
        pytest.skip(f"no {HEADER} on this machine: install libonnxruntime-dev, or set ORT_ROOT to an unpacked release")
    build = tmp_path_factory.mktemp("cpp")
    given = [f"-DORT_INCLUDE={found.parent}"]
    if in_wheel := next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*"), None):
        library = build / "libonnxruntime.so.1"  # the name it is looked for when the program starts
        library.symlink_to(in_wheel)
        given.append(f"-DORT_LIBRARY={library}")
    done = subprocess.run(["cmake", "-B", build, "-S", SOURCE, *given], capture_output=True, text=True, check=False)
    if "nlohmann_json" in done.stderr:
        pytest.skip("needs nlohmann-json (Debian: nlohmann-json3-dev)")
    assert done.returncode == 0, done.stderr
    done = subprocess.run(["cmake", "--build", build], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return build / "train_and_predict"


def test_the_page_makes_a_batch_that_the_program_takes(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python of its README, with a bundle of other labels."""
    script = (SOURCE / "README.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(bundle.parent)
    assert bundle.name == "bundle"
    exec(script.replace('"positive"', '"up"').replace('"negative"', '"down"'), {})
    made = json.loads((bundle.parent / "batch.json").read_text())
    assert made["labels"] == [1, 0]
    for name in ("input_ids", "attention_mask"):
        assert len(made[name]) == 2
        assert len(made[name][0]) == len(made[name][1])


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)


def test_ten_steps_and_predictions(program: Path, bundle: Path, texts, tmp_path: Path) -> None:
    rates = {"head": 0.3, "coefficients": 0.3, "magnitudes": 0.3}
    options = TrainOptions(optimizer="sgd", learning_rates=rates, weight_decay=0.0)
    session = Session(bundle, threads=1, options=options)
    batch = session.batch(*texts(12, 0))
    file = tmp_path / "batch.json"
    file.write_text(json.dumps({n: v.tolist() for n, v in batch.inputs.items()} | {"labels": batch.labels.tolist()}))
    done = run(program, bundle, file, 0.3)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    losses = [float(line.removeprefix("loss ")) for line in lines[:10]]
    np.testing.assert_allclose(losses, [session.step(batch) for _ in range(10)], atol=1e-5)
    assert losses[-1] < losses[0]
    assert lines[10:] == [p.label for p in session.predict(texts(12, 0)[0])]


def test_mistakes_are_said(program: Path, bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "batch.json"
    for content, fragment in (
        ({"input_ids": [[1, 2]], "attention_mask": [[1, 1]], "labels": [2]}, "outside the classes"),
        ({"input_ids": [[1, 2], [1]], "attention_mask": [[1, 1], [1, 0]], "labels": [0, 1]}, "differ in length"),
        ({"input_ids": [[1, 2]], "labels": [0]}, "attention_mask"),
    ):
        file.write_text(json.dumps(content))
        done = run(program, bundle, file)
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert fragment in done.stderr
    assert "cannot be read" in run(program, tmp_path, file).stderr
