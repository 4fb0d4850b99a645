"""A bundle that stands for one simulated chip: its frozen weights are those the chip's cells hold at an age."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from edge_adapt.commands.export import seconds
from edge_adapt.devices import load_chip
from edge_adapt.runtime.manifest import read_manifest
from edge_adapt.simulator import program
from edge_adapt.workloads.models import load_backbone
from onnx import numpy_helper

MONTH = 30 * 86400.0


@pytest.fixture(scope="module")
def aged(exported: Callable[..., Path]) -> Path:
    return exported("frozen", chip="pcm", seed=3, age_seconds=MONTH)


def matrices(folder: Path) -> list[np.ndarray]:
    model = onnx.load(folder / "infer.onnx")
    return [array for t in model.graph.initializer if (array := numpy_helper.to_array(t)).size >= 4096]


def test_the_cells_weights_are_written(aged: Path, inputs: Path) -> None:
    backbone = load_backbone(inputs / "model")
    exact = {n: backbone.module.get_parameter(f"{n}.weight").detach().numpy() for n in backbone.linear_names()}
    chip = program(load_chip("pcm"), exact, np.random.default_rng([3, 0xC41]))
    fresh = {name: chip.effective_weight(name) for name in exact}
    chip.set_time(MONTH)
    stored = matrices(aged)
    square_error = square = 0.0
    for name, weight in exact.items():
        held = chip.effective_weight(name)
        assert np.abs(held - fresh[name]).max() > 0  # it drifts
        assert any(np.array_equal(array, held) or np.array_equal(array, held.T) for array in stored), name
        assert not any(np.array_equal(array, weight) or np.array_equal(array, weight.T) for array in stored)
        square_error += float(((held - weight).astype(np.float64) ** 2).sum())
        square += float((weight.astype(np.float64) ** 2).sum())
    source = read_manifest(aged).weights["source"]
    assert (source["chip"], source["seed"], source["age_seconds"], source["label"]) == ("pcm", 3, MONTH, "simulated")
    assert source["matrices"] == len(exact)
    assert source["relative_error"] == pytest.approx((square_error / square) ** 0.5, rel=1e-5)


def test_a_pool_on_the_chip_passes_the_comparison_with_torch(exported: Callable[..., Path]) -> None:
    folder = exported("lorafusion", chip="pcm", seed=3)
    manifest = read_manifest(folder)
    assert manifest.weights["source"]["matrices"] == 6 + 4  # of the block, and A and B of two linears
    assert 0 < manifest.parity["gradient"] <= 1e-4


@pytest.mark.parametrize(("text", "expected"), [("0", 0), ("90s", 90), ("1.5 h", 5400), ("30d", MONTH), ("10min", 600)])
def test_ages(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "-3d", "3 weeks", "d", "1e3s"])
def test_what_is_no_age(text: str) -> None:
    with pytest.raises(Exception, match="is no time"):
        seconds(text)
