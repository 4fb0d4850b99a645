"""An exported bundle of a tiny random model: what is in it, and what is left when an export fails."""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from edge_adapt.errors import EdgeAdaptError, UsageError
from edge_adapt.exporters import parity
from edge_adapt.exporters.bundle import ExportConfig, Progress, check_graph, export_bundle
from edge_adapt.methods import get_method
from edge_adapt.methods.recipes import with_optimiser
from edge_adapt.runtime import Session
from edge_adapt.runtime.manifest import UNTAUGHT_BIAS, read_manifest, verify_files
from edge_adapt.runtime.tokens import pad
from edge_adapt.workloads.models import load_backbone
from onnx import external_data_helper as external
from safetensors.numpy import load_file
from torch.nn.utils import prune


def test_manifest_describes_what_is_there(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    verify_files(bundle, manifest)
    assert manifest.labels == ("down", "up") and manifest.reserved_classes == 1
    initial = load_file(bundle / "initial.safetensors")
    assert {tensor.name: tensor.shape for tensor in manifest.state} == {n: v.shape for n, v in initial.items()}
    np.testing.assert_array_equal(initial["head.bias"], np.float32([0, 0, UNTAUGHT_BIAS]))
    assert 0 < max(manifest.parity[kind] for kind in ("loss", "logits", "gradient")) <= 1e-4
    assert len({tuple(shape) for shape in manifest.parity["batches"]}) > 5
    assert {1} <= set(manifest.parity["threads"])
    assert manifest.plan["fixed_bytes"] > 0 and manifest.plan["token_bytes"] >= 0


def test_files_have_the_rights_that_the_user_asks_for(bundle: Path) -> None:
    umask = os.umask(0)
    os.umask(umask)
    files = [path for path in bundle.rglob("*") if path.is_file()]
    assert len(files) >= 7
    assert {path.stat().st_mode & 0o777 for path in files} <= {0o666 & ~umask, 0o644 & ~umask}


@pytest.mark.parametrize("name", ["train", "infer"])
def test_graphs_are_plain_onnx_with_free_extents(bundle: Path, name: str) -> None:
    model = onnx.load(bundle / f"{name}.onnx", load_external_data=False)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert not any(node.metadata_props for node in model.graph.node)
    ids = model.graph.input[0].type.tensor_type.shape.dim
    assert [extent.dim_param for extent in ids] == ["batch", "tokens"]


def test_both_graphs_share_one_copy_of_each_weight(bundle: Path) -> None:
    places: Counter[tuple[str, str]] = Counter()
    contents: dict[tuple[str, str], set[str]] = {}
    for name in ("train", "infer"):
        model = onnx.load(bundle / f"{name}.onnx", load_external_data=False)
        for tensor in model.graph.initializer:
            if external.uses_external_data(tensor):
                found = {entry.key: entry.value for entry in tensor.external_data}
                assert found["location"] == "weights.data"
                place = (found["offset"], found["length"])
                places[place] += 1
                contents.setdefault(place, set()).add(tensor.name)
    data = (bundle / "weights.data").read_bytes()
    parts = [data[int(offset) : int(offset) + int(length)] for offset, length in places]
    assert len(set(parts)) == len(parts)  # nothing is there twice
    parameters = 4 * (64 * 64 * 4 + 2 * 64 * 96)
    assert parameters <= len(data) < 3 * parameters
    assert max(places.values()) == 2


def test_a_failing_comparison_leaves_nothing(
    config: ExportConfig, silent: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity, "TOLERANCE", 0.0)
    with pytest.raises(EdgeAdaptError, match="differs from torch"):
        export_bundle(replace(config, method=get_method("frozen")), tmp_path / "bundle", silent)
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_overwritten(bundle: Path, config: ExportConfig, silent: Progress, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--force"):
        export_bundle(config, bundle, silent)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="no bundle"):
        export_bundle(config, tmp_path, silent, force=True)


def test_what_cannot_be_is_refused_before_the_work(
    config: ExportConfig, silent: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_adapt.exporters.bundle.trace", lambda *_: pytest.fail("the work has begun"))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(EdgeAdaptError, match="cannot write "):
        export_bundle(config, tmp_path / "file" / "bundle", silent)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_method_that_trains_cells_is_refused() -> None:
    with pytest.raises(UsageError, match=r"full.*cells.*lorafusion"):
        ExportConfig(get_method("full"))


def test_lorahub_is_trained_on_the_device_by_another_optimiser(exported: Callable[..., Path]) -> None:
    """Its own search is in no bundle, by name; with AdamW one coefficient a module is a state like any other."""
    with pytest.raises(UsageError, match="a bundle cannot hold the optimiser interpolation of lorahub"):
        exported("lorahub")
    folder = exported("lorahub", options={"recipe": with_optimiser(get_method("lorahub").recipe, "adamw")})
    assert {tensor.name: tensor.shape[1:] for tensor in read_manifest(folder).state}["coefficients"] == (1,)
    with Session(folder, threads=1) as session:
        batch = session.batch(["the film was good", "the plot was very bad"] * 4, ["up", "down"] * 4)
        losses = [session.step(batch) for _ in range(8)]
        assert losses[-1] < losses[0]


@pytest.mark.parametrize("method", ["frozen", "pasta+lorafusion", "hira"])
def test_other_methods(exported: Callable[..., Path], method: str) -> None:
    weights = "int8" if method != "frozen" else "float32"
    folder = exported(method, weights=weights)
    manifest = read_manifest(folder)
    assert ("train" in manifest.graphs) == (method != "frozen")
    assert set(get_method(method).groups) <= set(manifest.recipe.learning_rates)
    texts, labels = ["the film was good", "the plot was very bad"] * 4, ["up", "down"] * 4
    with Session(folder, threads=1) as session:
        batch = session.batch(texts, labels)
        if manifest.trained:
            losses = [session.step(batch, factor=0.0), session.step(batch, factor=0.0)]
            assert losses[0] == losses[1] and np.isfinite(losses[0])
        assert len(session.predict(texts)) == 8


def test_a_bottleneck_adapter_is_held_digitally(exported: Callable[..., Path]) -> None:
    """The export itself compares loss and gradients with torch's, and refuses what differs."""
    manifest = read_manifest(folder := exported("adapter", options={"targets": "attention_output,ffn_down"}))
    kinds = {tensor.name.rsplit(".", 1)[-1] for tensor in manifest.trained if "adapter" in tensor.name}
    assert kinds == {"adapter_down", "adapter_up", "adapter_down_bias", "adapter_up_bias"}
    with Session(folder, threads=1) as session:
        batch = session.batch(["the film was good", "the plot was very bad"] * 4, ["up", "down"] * 4)
        first = session.step(batch, factor=0.0)
        losses = [session.step(batch) for _ in range(5)]
    assert losses[0] == first and losses[-1] < first


@pytest.mark.parametrize("method", ["pruned", "dsee"])
def test_a_pruned_backbone_is_pruned_in_the_bundle(exported: Callable[..., Path], inputs: Path, method: str) -> None:
    """The export itself compares with torch; zeros are where torch prunes. Exporting scales what is left."""
    folder = exported(method, options={"density": 0.5})
    weight = load_backbone(str(inputs / "model")).module.get_parameter("encoder.layer.0.intermediate.dense.weight")
    linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
    linear.weight = torch.nn.Parameter(weight.detach().clone())
    prune.l1_unstructured(linear, "weight", amount=weight.numel() // 2)
    graph = onnx.load(folder / read_manifest(folder).graphs["infer"].file).graph
    stored = [onnx.numpy_helper.to_array(tensor, str(folder)) for tensor in graph.initializer]
    zeros = (linear.weight == 0).numpy()
    assert zeros.sum() == zeros.size // 2
    found = [values for values in stored if sorted(values.shape) == [64, 96]]
    assert any(np.array_equal(values == 0, zeros.T) for values in found)


def test_padding_changes_nothing(bundle: Path) -> None:
    rng = np.random.default_rng(0)
    with Session(bundle, threads=1) as session:
        texts = [[2, 4, 3], [2, *rng.integers(4, 13, 50).tolist(), 3]]
        state = {n: value + rng.normal(0, 0.3, value.shape).astype(np.float32) for n, value in session.state.items()}
        feeds = [pad(part, 0) for part in (texts, texts[:1])]
        padded, alone = (session.model.engine.infer(state, feed, ["features"])[0] for feed in feeds)
        np.testing.assert_allclose(padded[0], alone[0], atol=2e-6 * np.abs(alone).max())
        assert np.abs(padded[1] - padded[0]).max() > 0.01


def test_masks_leave_no_numbers_next_to_zero(bundle: Path) -> None:
    """Weights of attention just above the smallest float are as slow as they are useless."""
    for name in ("train", "infer"):
        model = onnx.load(bundle / f"{name}.onnx")
        arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        masks = [node for node in model.graph.node if node.op_type == "Where"]
        assert masks
        for node in masks:
            lowest = [arrays[value].min() for value in node.input[1:] if value in arrays]
            assert all(value >= -40 for value in lowest)


def test_a_bundle_in_the_folder_where_one_is(config: ExportConfig, silent, tmp_path: Path, monkeypatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    export_bundle(replace(config, method=get_method("probe")), Path("."), silent)
    assert (tmp_path / "here" / "manifest.json").is_file()


def test_a_graph_whose_shapes_contradict_each_other_is_refused_in_one_line(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["" : 20]>
      graph (float[5] x) => (float[5,1] y) { y = Identity(x) }"""
    path = tmp_path / "train.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    with pytest.raises(EdgeAdaptError, match=r"the exported train\.onnx is not valid: ") as caught:
        check_graph(path)
    assert "\n" not in str(caught.value)
