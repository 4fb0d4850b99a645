"""Figures of docs/bundle.md are those of the recorded runs that it names."""

import json
import re
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "bundle.md").read_text(encoding="utf-8")


def rows(root: Path, name: str) -> dict[str, dict[str, Any]]:
    recorded = json.loads((root / "benchmarks" / "results" / name).read_text(encoding="utf-8"))
    return {row["what"]: row for row in recorded["rows"]}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [1, 16])
def test_steps_per_second(page: str, root: Path, size: int, threads: int) -> None:
    (row,) = (row for what, row in rows(root, "on_device.json").items()
              if re.fullmatch(rf"steps/s, batches of {size},.* threads {threads}", what))  # fmt: skip
    rates = " | ".join(f"{row[name]:.1f}" for name in ("edge_adapt", "torch_eager", "torch_compile"))
    ratio = row["edge_adapt"] / row["torch_eager"]
    assert ratio == pytest.approx(row["ratio_to_eager"])
    assert f"| batch {size}, threads {threads} | {rates} | {ratio:.2f} | {row['target']} |" in page


@pytest.mark.parametrize("threads", [1, 2])
def test_start_and_save(page: str, root: Path, threads: int) -> None:
    found = rows(root, "on_device.json")
    start = found[f"seconds to the first step, threads {threads}"]
    save = found[f"seconds of a save, threads {threads}"]
    assert f"{start['edge_adapt']:.2f} s" in page
    assert f"{1000 * save['edge_adapt']:.1f} ms" in page


@pytest.mark.parametrize("shape", ["8 x 48", "1 x 16"])
def test_peak_memory(page: str, root: Path, shape: str) -> None:
    found = rows(root, "on_device.json")
    peak, predicted = (found[f"peak MB{kind}, batch {shape}"]["edge_adapt"] for kind in ("", " predicted"))
    assert f"{peak:.0f} MB at {shape} (predicted {predicted:.0f})" in page


def test_the_bundle_of_a_chip(page: str, root: Path) -> None:
    found = rows(root, "chip_bundle.json")
    assert len(found) == 4
    for what, row in found.items():
        assert row["mean"] == pytest.approx(100 * sum(row["accuracies"]) / len(row["accuracies"]))
        assert f"| {what} | {row['percent']} | {row['mean']:.1f} | {row['label']} |" in page


FOUR_BITS = ("ms 1 x 16", "ms 16 x 48, a quarter padding", "MB 1 x 16", "MB 16 x 48, a quarter padding")


@pytest.mark.parametrize("kind", ["float32", "int8", "int4"])
def test_frozen_weights_in_fewer_bits(page: str, root: Path, kind: str) -> None:
    row = rows(root, "four_bits.json")[f"bundle, {kind}"]
    first, second, third, fourth = (row[name] for name in FOUR_BITS)
    points = row["points to float32"]
    less = "" if points is None else f"{points:+.1f} ± {row['their error']:.1f}"
    assert (
        f"| {kind} | {row['bundle MB']:.1f} | {first:.1f} | {second:.0f} | {third:.0f} | {fourth:.0f} "
        f"| {row['features cosine']:.4f} | {row['percent']} | {row['mean']:.1f} | {less} |"
    ) in page


def test_other_roundings_to_four_bits(page: str, root: Path) -> None:
    found = {what: row for what, row in rows(root, "four_bits.json").items() if what.startswith("rounding")}
    assert len(found) == 6
    for what, row in found.items():
        figures = f"{row['weights error']:.3f} | {row['features error']:.3f} | {row['features cosine']:.4f}"
        assert f"| {what.removeprefix('rounding, ')} | {figures} |" in page
