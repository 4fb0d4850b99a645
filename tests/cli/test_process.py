"""What only a process of its own shows: Ctrl-C, a reader that goes away, clean streams."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# Prints a line and waits for the signal as soon as the named function is entered; everything else is the real command.
CHILD = """
import importlib, os, sys, time
stdout = os.fdopen(os.dup(1), "w")  # while a command works, what libraries print goes to stderr
module, name = {place!r}
module = importlib.import_module(module)
original = getattr(module, name)
def announced(*arguments, **options):
    print("entered", file=stdout, flush=True)
    for _ in range(60000):
        time.sleep(0.01)
    return original(*arguments, **options)
setattr(module, name, announced)
from edge_adapt.cli import main
sys.exit(main({words!r}))
"""


@pytest.mark.parametrize(
    "place",
    [
        ("edge_adapt.studies.simulate", "load_workbench"),
        ("edge_adapt.studies.parts", "at_start"),
        ("edge_adapt.reports.store", "write_synced"),
    ],
    ids=lambda place: place[1],
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_nothing_behind(
    local, tmp_path: Path, usual_signals, place: tuple[str, str], number: int
) -> None:
    here, scratch = tmp_path / "here", tmp_path / "scratch"
    here.mkdir()
    scratch.mkdir()
    words = local.words("--method", "frozen", "--test-examples", "4")
    with usual_signals():
        started = subprocess.Popen(
            [sys.executable, "-c", CHILD.format(place=place, words=words)], cwd=here, text=True,
            env={**os.environ, "TMPDIR": str(scratch)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    with started as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "entered\n"
        child.send_signal(number)
        out, err = child.communicate()
    assert child.returncode == 128 + number
    assert out == ""
    lines = [line for line in err.splitlines() if not line.startswith("[")]  # what it was doing
    assert lines == ["edge-adapt: stopped; nothing of it was kept"]
    assert not list(here.iterdir())
    assert not list(scratch.iterdir())


@pytest.mark.parametrize("words", ["devices list --json", "devices show reram --json", "devices list"])
def test_a_reader_that_goes_away(words: str, tmp_path: Path) -> None:
    """As in `edge-adapt devices list | head -0`: no complaint, whatever the size of the output."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "edge_adapt", *words.split()],
        cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 1
