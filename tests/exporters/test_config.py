"""What is wrong in the options of an export is said before torch and onnx are imported, and before anything else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from edge_adapt.errors import UsageError
from edge_adapt.exporters.config import ExportConfig
from edge_adapt.methods import get_method

SCRIPT = """
import contextlib, io, json, sys
from edge_adapt.cli import main
said = []
for words in json.loads(sys.argv[1]):
    text = io.StringIO()
    with contextlib.redirect_stderr(text):
        try:
            code = main(words)
        except SystemExit as stop:
            code = stop.code
    heavy = [name for name in ("torch", "onnx", "onnxruntime", "transformers", "numba") if name in sys.modules]
    said.append([code, text.getvalue(), heavy])
print(json.dumps(said))
"""

WRONG = {
    "--method lorra": "unknown method 'lorra'",
    "--method full": "full trains matrices that sit in cells",
    "--method lora:NVM_STEP": "take lora:DIGITAL",
    "--set lora.rnk=3 --method lora": "'rnk'",
    "--set lora.recipe.epochs=-1 --method lora": "epochs of a recipe",
    "--set lora.recipe.weight_decay=1e9 --method lora": "recipe.weight_decay must be from 0 to 1,000",
    "--set lora.recipe.learning_rates.head=5000 --method lora": "recipe.learning_rates.head must be from 0 to 1,000",
    "--task moovie": "did you mean 'movie'",
    "--task none.csv": "none.csv does not exist",
    "--task tagged.conll": "words with tags",
    "--task own.csv --text-column words": "no column 'words'",
    "--task own.csv --image-size 32": "--image-size is for images, and task 'own' holds texts",
    "--model minilmm": "did you mean 'minilm'",
    "--model empty": "no config.json",
    "--model own.csv": "is a file",
    "--pool nowhere": "nowhere: no such folder",
    "--pool empty": "neither an adapter",
    "--chip rerem": "did you mean 'reram'",
    "--chip reram --set chip.adc.bitss=3": "did you mean 'chip.adc.bits'",
    "--chip reram --weights int8": "leave one of the two out",
    "--age 3d": "no effect without a chip: --age",
    "--age soon": "'soon' is no time",
    "--weights int9": "int8",
    "--seed -1": "--seed must be 0 or more; got -1",
    "--reserve-classes -1": "--reserve-classes must be 0 or more",
    "--reserve-classes 100001": "--reserve-classes must be at most 100000",
    "--max-tokens 3": "--max-tokens must be at least 4; got 3",
    "--max-tokens 2000000": "--max-tokens must be at most 1048576",
    "--image-size 0": "--image-size must be at least 1; got 0",
    "": "holds something that is no bundle",
    "--out own.csv/bundle": "cannot write",
}


def test_wrong_options_are_refused_without_torch_and_before_a_folder_that_is_taken(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "mine").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "tagged.conll").write_text("".join(f"w{i} O\nMadrid B-LOC\n\n" for i in range(30)))
    rows = [f"this is {('good', 'bad')[i % 2]} {i},{('up', 'down')[i % 2]}\n" for i in range(30)]
    (tmp_path / "own.csv").write_text("text,label\n" + "".join(rows))
    words = []
    for given in WRONG:
        task = [] if "--task" in given else ["--task", "own.csv"]  # nothing is fetched
        words.append(["export", *task, *given.split()])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(words)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for (given, fragment), (code, said, heavy) in zip(WRONG.items(), json.loads(done.stdout), strict=True):
        lines = [line for line in said.splitlines() if line.startswith("edge-adapt: error: ")]
        assert code == (1 if "cannot write" in fragment else 2), (given, said)
        assert len(lines) == 1 and fragment in lines[0], (given, said)
        assert not heavy, (given, heavy)
    assert [path.name for path in (tmp_path / "bundle").iterdir()] == ["mine"]


def test_an_age_without_end_is_refused() -> None:
    with pytest.raises(UsageError, match="--age is too long"):
        ExportConfig(get_method("lora"), chip="reram", age_seconds=float("inf"))
