"""Under --json stdout holds one JSON document, whatever libraries print meanwhile."""

import ctypes
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edge_adapt.studies import count as counting


def _noise() -> None:
    """What a library may do: print from Python, from C, and from a child process."""
    print("a greeting")
    ctypes.CDLL(None).puts(b"a warning from C")
    subprocess.run([sys.executable, "-c", "print('a child')"], check=True)


@pytest.mark.parametrize(
    "words",
    [
        ("count", "--model", "MODEL", "--method", "probe", "--json"),
        ("methods", "count", "--model", "MODEL", "--method", "lora", "--json"),
    ],
)
def test_nothing_but_the_document(
    words: tuple[str, ...], cli: Callable, local: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_adapt.workloads import named_shapes

    real = named_shapes.load_shape

    def noisy(name: str | Path) -> Any:
        _noise()
        return real(name)

    monkeypatch.setattr(named_shapes, "load_shape", noisy)
    monkeypatch.setattr(counting, "load_shape", noisy)
    done = cli(*(str(local.model) if word == "MODEL" else word for word in words))
    assert done.code == 0, done.err
    assert isinstance(json.loads(done.out), dict)
    assert all(words in done.err for words in ("a greeting", "a warning from C", "a child"))


def test_a_simulation(cli: Callable, local: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_adapt.studies import workbench

    real = workbench.load_backbone

    def noisy(*given: Any) -> Any:
        _noise()
        return real(*given)

    monkeypatch.setattr(workbench, "load_backbone", noisy)
    done = cli(*local.words("--method", "frozen", "--test-examples", "4", "--json"))
    assert done.code == 0, done.err
    assert json.loads(done.out)["results"]
    assert "a warning from C" in done.err
