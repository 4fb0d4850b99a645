"""The runtime works where nothing of the workstation can be imported."""

import os
import subprocess
import sys
from pathlib import Path

HOST_ONLY = ("torch", "onnx", "onnxscript", "onnx_ir", "numba", "transformers", "rich", "pint", "jinja2", "matplotlib")
HOST_ONLY += ("filelock", "peft", "scipy")
SCRIPT = """
import json, sys
for name in {blocked!r}:
    sys.modules[name] = None
from edge_adapt.cli import main
bundle, data, guard = {bundle!r}, {data!r}, {data!r}
for words in (
    ["train", bundle, data, "--guard", data, "--hold-out", "0.2", "--energy"],
    ["train", bundle, data, "--optimizer", "mezo"],
    ["predict", bundle, data],
    ["evaluate", bundle, data, "--json"],
    ["state", "history", bundle],
    ["state", "rollback", bundle],
    ["state", "reset", bundle],
    ["plan", bundle, "--measure"],
):
    assert main(words) == 0, words
from edge_adapt.runtime import Session
with Session(bundle) as session:
    assert session.step([("the good film", "up")]) > 0
    session.save()
ours = sorted(name for name in sys.modules if name.startswith("edge_adapt."))
print([name for name in ours if name.split(".")[1] not in {allowed!r}], file=sys.stderr)
"""


def test_every_command_of_the_device_with_imports_blocked(bundle: Path, tmp_path: Path, texts) -> None:
    data = tmp_path / "data.csv"
    data.write_text("text,label\n" + "\n".join(map(",".join, zip(*texts(20, 0), strict=True))))
    allowed = [
        "_version", "errors", "inputs", "display", "paths", "yamlfile", "options_file", "defaults", "merge_ways", "cli",
        "commands", "runtime",
    ]  # fmt: skip
    script = SCRIPT.format(blocked=HOST_ONLY, bundle=str(bundle), data=str(data), allowed=allowed)
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "[]\n"
    assert not list(home.iterdir())  # nothing is written behind the user's back
    assert "accuracy" in done.stdout
