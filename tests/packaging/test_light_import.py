"""`import edge_adapt` and every `--help` load nothing heavy."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "onnx", "onnxruntime", "numba", "transformers", "matplotlib")
HEAVY += ("pint", "rich", "jinja2", "numpy", "yaml")
SCRIPT = """
import sys
{code}
print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
"""
HELP = """
from edge_adapt.cli import main
try:
    main({words!r})
except SystemExit as stop:
    assert stop.code == 0, stop.code
"""


def heavy_modules(code: str) -> str:
    script = SCRIPT.format(code=code, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr.strip()


def test_importing_the_package_is_light() -> None:
    assert heavy_modules("import edge_adapt; assert edge_adapt.__version__") == "[]"


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "--version",
        "simulate --help",
        "pool train --help",
        "pool merge --help",
        "pool fit --help",
        "devices show --help",
    ],
)
def test_help_is_light(words: str) -> None:
    assert heavy_modules(HELP.format(words=words.split())) == "[]"
