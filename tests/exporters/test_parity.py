"""The comparison with torch: what it lets pass, what it refuses, and what float64 decides."""

import numpy as np
import pytest
import torch
from edge_adapt.errors import EdgeAdaptError
from edge_adapt.exporters import parity
from edge_adapt.exporters.bundle import ExportConfig, attach
from edge_adapt.exporters.parity import Parity
from edge_adapt.methods import get_method
from edge_adapt.workloads.models import load_backbone

GRADIENT = "grad/prompts"


def decided(graph: float, float32: float) -> Parity:
    """Parity of a gradient of 100 ones in float64, of which torch's float32 and the graph are so far off."""
    exact = {"loss": np.array(1.0), GRADIENT: np.ones(100)}
    off = lambda error: {"loss": np.float32(1.0), GRADIENT: np.float32(1.0 + error * (np.arange(100) == 7))}
    found = Parity()
    parity._compare(found, off(graph), off(float32), lambda: exact, "train.onnx on 3 x 16")
    return found


def test_within_the_tolerance_float64_is_not_asked() -> None:
    found = decided(1.5e-4, 0.8e-4)
    assert not found.by_float64 and found.gradient == pytest.approx(0.7e-4, rel=0.01)


def test_float64_decides_where_torch_is_off_itself() -> None:
    found = decided(-2e-4, 1.5e-4)
    distance = found.by_float64[GRADIENT]
    assert found.gradient == 0
    assert distance.graph_from_torch == pytest.approx(3.5e-4, rel=0.01)
    assert distance.graph_from_float64 == pytest.approx(2e-4, rel=0.01)
    assert distance.torch_from_float64 == pytest.approx(1.5e-4, rel=0.01)
    assert found.as_dict()["by_float64"][0]["value"] == GRADIENT


def test_a_graph_that_is_near_float64_is_right() -> None:
    """Two float32 that are near enough to it may lie on its two sides."""
    found = decided(0.9e-4, -0.5e-4)
    assert found.gradient == 0
    assert found.by_float64[GRADIENT].graph_from_float64 == pytest.approx(0.9e-4, rel=0.01)


# In the last two torch's own float32 is near enough: the plain rule holds. Numbers that are none are never let pass.
@pytest.mark.parametrize(
    ("graph", "float32"),
    [(4e-4, 1.5e-4), (1.1e-3, 2e-3), (np.nan, 1e-3), (0.0, np.nan), (2e-4, 0.0), (1.15e-4, -0.6e-4)],
)
def test_a_graph_that_is_further_off_is_refused(graph: float, float32: float) -> None:
    with pytest.raises(EdgeAdaptError, match="its float64"):
        decided(graph, float32)


def test_loss_and_logits_have_no_exception() -> None:
    values = {"loss": np.float32(1.0002)}
    with pytest.raises(EdgeAdaptError, match=r"loss differs from torch by 0\.0002"):
        parity._compare(Parity(), values, {"loss": np.float32(1.0)}, lambda: {"loss": np.array(1.0002)}, "train.onnx")


@pytest.mark.parametrize(
    "method", ["lora", "lorafusion", "pasta", "bitfit", "ln-tuning", "ia3", "vera", "prompt-tuning"]
)
def test_float64_is_nearer_than_float32_and_leaves_no_trace(config: ExportConfig, inputs, method: str) -> None:
    asked = ExportConfig(
        get_method(method), config.model, config.task, str(inputs / "pool") if method == "lorafusion" else None
    )
    adaptation = attach(asked, load_backbone(config.model), 2)
    (given, labels), *_ = parity._random_texts(13, 2, 8, None)
    parity._draw_state(adaptation, adaptation.state_dict(), given, labels, 2, 0)
    before = {name: value.detach().clone() for name, value in adaptation.module.state_dict().items()}
    exact = parity._exact(adaptation, given, labels, 2)
    rounded = parity._expected(adaptation, given, labels, 2)
    assert exact.keys() == rounded.keys()
    assert all(value.dtype == np.float64 for value in exact.values())
    assert all(value.dtype == np.float32 for value in rounded.values())
    for name, value in exact.items():
        np.testing.assert_allclose(rounded[name], value, rtol=1e-3, atol=1e-5, err_msg=name)
    after = adaptation.module.state_dict()
    assert all(torch.equal(value, after[name]) and value.dtype == after[name].dtype for name, value in before.items())


def test_texts_of_chance_hold_no_masked_token() -> None:
    for given, _ in parity._random_texts(5, 2, 24, mask_token=4):
        assert set(np.unique(given["input_ids"])) <= {0, 1, 2, 3}
    assert any((given["input_ids"] == 4).any() for given, _ in parity._random_texts(5, 2, 24, mask_token=None))
