"""The wheel in a clean environment: first with base dependencies only, then with the host packages in sight."""

import json
import os
import subprocess
import sysconfig
from pathlib import Path

import pytest

pytestmark = pytest.mark.download


def run(python: Path, *words: str, host: bool = False) -> subprocess.CompletedProcess[str]:
    """Run the clean interpreter in its own folder; `host` shows it the packages of the environment of this test.

    A folder on PYTHONPATH is searched, but its .pth files are not processed: an editable install does not get in.
    """
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if host:
        environment["PYTHONPATH"] = sysconfig.get_path("purelib")
    return subprocess.run(
        [str(python), *words], cwd=python.parent, env=environment, capture_output=True, text=True, check=False
    )


def command(python: Path, *words: str, host: bool = False) -> subprocess.CompletedProcess[str]:
    """Run the installed `edge-adapt`."""
    return run(python, str(python.with_name("edge-adapt")), *words, host=host)


def test_version_and_help(clean_python: Path) -> None:
    from edge_adapt import __version__

    assert command(clean_python, "--version").stdout == f"edge-adapt {__version__}\n"
    for done in (command(clean_python, "--help"), run(clean_python, "-m", "edge_adapt", "--help")):
        assert done.returncode == 0
        assert "simulate" in done.stdout
        assert not done.stderr


@pytest.mark.parametrize(
    "words",
    [
        "simulate --device reram",
        "devices list",
        "devices list --json",
        "devices show reram --json",
        "methods list",
        "methods count --model minilm --method lora --json",
        "pool inspect .",
    ],
)
def test_a_command_whose_extra_is_missing_says_which(clean_python: Path, words: str) -> None:
    done = command(clean_python, *words.split())
    assert done.returncode == 1
    assert not done.stdout
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("edge-adapt: error:")
    assert "pip install 'edge-adapt[host]'" in done.stderr


def test_with_the_host_packages_everything_is_found(clean_python: Path, root: Path) -> None:
    where = run(clean_python, "-c", "import edge_adapt; print(edge_adapt.__file__)", host=True).stdout.strip()
    assert Path(where).is_relative_to(clean_python.parents[1])

    listed = json.loads(command(clean_python, "devices", "list", "--json", host=True).stdout)
    for kind, folder in (("chips", "chips"), ("cells", "cells"), ("peripheries", "peripheries")):
        assert {item["name"] for item in listed[kind]} == {p.stem for p in (root / "devices" / folder).glob("*.yaml")}

    words = "methods count --model flan-t5-large --method lorafusion --rank 16 --pool-size 20 --json"
    assert json.loads(command(clean_python, *words.split(), host=True).stdout)["trained_parameters"] == 148_416

    script = (
        "import json, edge_adapt\n"
        "from edge_adapt.devices import list_presets\n"
        "from edge_adapt.workloads.pools import default_pool, load_pool\n"
        "from pathlib import Path\n"
        "import edge_adapt.workloads as workloads\n"
        "pools = Path(workloads.__file__).parent / 'pools'\n"
        "print(json.dumps({\n"
        "    'chips': [edge_adapt.load_chip(name).name for name in list_presets('chip')],\n"
        "    'pools': {p.name: len(load_pool(default_pool(p.name)).modules) for p in sorted(pools.glob('*'))},\n"
        "}))\n"
    )
    done = run(clean_python, "-c", script, host=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found["chips"]) == {path.stem for path in (root / "devices" / "chips").glob("*.yaml")}
    pools = root / "workloads" / "pools"
    assert found["pools"] == {
        pool.name: len(list(pool.rglob("adapter_config.json"))) for pool in pools.glob("*") if pool.is_dir()
    }
