"""Figures of docs/bundle.md are those of the recorded runs that it names."""

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "bundle.md").read_text(encoding="utf-8")


def rows(root: Path, name: str) -> dict[str, dict[str, Any]]:
    recorded = json.loads((root / "benchmarks" / "results" / name).read_text(encoding="utf-8"))
    return {row["what"]: row for row in recorded["rows"]}


def test_the_bundle_of_a_chip(page: str, root: Path) -> None:
    found = rows(root, "chip_bundle.json")
    assert len(found) == 4
    for what, row in found.items():
        assert row["mean"] == pytest.approx(100 * sum(row["accuracies"]) / len(row["accuracies"]))
        assert f"| {what} | {row['percent']} | {row['mean']:.1f} | {row['label']} |" in page
