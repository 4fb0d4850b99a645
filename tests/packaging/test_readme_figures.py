"""Figures of the README are those of the recorded runs that it names."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def main_table(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("main_table", root / "benchmarks" / "main_table.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def readme(root: Path) -> str:
    return (root / "README.md").read_text(encoding="utf-8")


def test_the_table_of_the_main_job_is_that_of_its_recorded_run(readme: str, main_table: ModuleType) -> None:
    recorded = json.loads(main_table.RESULT.read_text(encoding="utf-8"))
    for row in main_table.rows(recorded["results"]):
        assert row in readme


def test_energies_have_three_digits(main_table: ModuleType) -> None:
    given = (0.0, 1.8749, 0.1203, 5.0e-3, 5.69e-5, 4.4e-10)
    assert [main_table.joules(value) for value in given] == ["0", "1.87 J", "120 mJ", "5 mJ", "56.9 µJ", "440 pJ"]


def test_means_and_spreads_over_seeds_are_those_of_the_recorded_runs(readme: str, root: Path) -> None:
    runs = json.loads((root / "benchmarks" / "results" / "movie.json").read_text(encoding="utf-8"))["runs"]
    for shots in (100, 400):
        for method in ("lorafusion", "lora"):
            found = [r["accuracy"] for r in runs if (r["method"], r["shots"]) == (method, shots)]
            assert len(found) == 5
            assert f"{100 * sum(found) / 5:.1f}" in readme, (method, shots)
