"""Frozen weights as int8 codes: how they are rounded, what is stored, and that nothing else is rounded with them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from edge_adapt.errors import UsageError
from edge_adapt.exporters import int8
from edge_adapt.exporters.bundle import ExportConfig
from edge_adapt.methods import get_method
from edge_adapt.runtime.manifest import read_manifest
from edge_adapt.workloads.models import load_backbone
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import numpy_helper

SIZES = st.floats(-1e6, 1e6, width=32).map(lambda x: x if abs(x) > 1e-6 else 0.0)
ARRAYS = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=3, max_side=6), elements=SIZES)


@given(ARRAYS, st.data())
def test_rounding_is_the_nearest_and_rounding_again_changes_nothing(array: np.ndarray, data) -> None:
    axis = data.draw(st.integers(0, array.ndim - 1))
    codes, scale = int8.encode(array, axis)
    found = int8.decode(codes, scale, axis)
    others = tuple(n for n in range(array.ndim) if n != axis)
    steps = np.expand_dims(scale.astype(np.float64), others)
    assert codes.dtype == np.int8 and np.abs(codes.astype(int)).max() <= 127
    assert (np.abs(found - array.astype(np.float64)) <= 0.5000001 * steps).all()
    np.testing.assert_array_equal(found.astype(np.float64), codes * steps)  # the float32 product is exact
    again = int8.encode(found, axis)
    np.testing.assert_array_equal(again[0], codes)
    np.testing.assert_array_equal(
        again[1][np.abs(codes).max(axis=others) > 0], scale[np.abs(codes).max(axis=others) > 0]
    )


def test_codes_are_those_of_torch(inputs: Path) -> None:
    weight = load_backbone(inputs / "model").module.encoder.layer[0].intermediate.dense.weight.detach()
    _, scale = int8.encode(weight.numpy(), 0)
    assert np.abs(scale / (weight.abs().amax(1).numpy() / 127) - 1).max() < 2**-15
    zeros = torch.zeros(len(scale), dtype=torch.int32)
    expected = torch.fake_quantize_per_channel_affine(weight, torch.as_tensor(scale), zeros, 0, -127, 127)
    np.testing.assert_array_equal(int8.round_rows(weight.numpy()), expected.numpy())


def test_what_is_stored_is_the_rounded_model(exported: Callable[..., Path], inputs: Path) -> None:
    folder = exported("pasta+lorafusion", weights="int8")
    assert read_manifest(folder).weights["dtype"] == "int8"
    model = onnx.load(folder / "infer.onnx")
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    stored = []
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            (axis,) = (attribute.i for attribute in node.attribute if attribute.name == "axis")
            codes, scale = (arrays[name] for name in node.input)
            stored.append(codes * np.expand_dims(scale, 1 - axis) if codes.ndim == 2 else None)
    backbone = load_backbone(inputs / "model")
    for name in backbone.linear_names():
        exact = backbone.module.get_parameter(f"{name}.weight").detach().numpy()
        wanted = [a for a in stored if a is not None and sorted(a.shape) == sorted(exact.shape)]
        near = min(np.abs(a - w).max() for a in wanted for w in (exact, exact.T) if a.shape == w.shape)
        assert 0 < near <= np.abs(exact).max() / 253
    large = [array for array in arrays.values() if array.dtype == np.float32 and array.size >= 4096]
    assert not large


def test_the_file_is_less_than_a_third(exported: Callable[..., Path], inputs: Path) -> None:
    numbers = sum(p.numel() for p in load_backbone(inputs / "model").module.parameters() if p.dim() == 2)
    assert read_manifest(exported("pasta+lorafusion", weights="int8")).files["weights.data"].bytes < 0.6 * 4 * numbers


def test_products_stay_those_of_float32(exported: Callable[..., Path], tmp_path: Path) -> None:
    folder = exported("pasta+lorafusion", weights="int8")
    for name, graph in read_manifest(folder).graphs.items():
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.optimized_model_filepath = str(tmp_path / f"{name}.onnx")
        for key, value in graph.session.config.items():
            options.add_session_config_entry(key, value)
        onnxruntime.InferenceSession(str(folder / graph.file), options, providers=["CPUExecutionProvider"])
        kinds = {node.op_type for node in onnx.load(tmp_path / f"{name}.onnx", load_external_data=False).graph.node}
        assert kinds & {"MatMul", "Gemm"}
        assert not [kind for kind in kinds if "Integer" in kind or "Quant" in kind or "NBits" in kind]


def test_a_chip_is_not_rounded() -> None:
    for words, said in (
        ({"chip": "reram", "weights": "int8"}, "--chip with --weights int8"),
        ({"weights": "int5"}, "did you mean 'int8' or 'int4'"),
        ({"age_seconds": 5.0}, "no effect without a chip: --age; add --chip NAME"),
        ({"chip_settings": {"chip.adc.bits": "6"}}, "no effect without a chip: --set chip.adc.bits; add"),
        ({"seed": -1}, "--seed must be 0 or more; got -1"),
        ({"max_tokens": 3}, "--max-tokens must be at least 4; got 3"),
        ({"reserved_classes": -1}, "--reserve-classes must be 0 or more; got -1"),
    ):
        with pytest.raises(UsageError, match=said):
            ExportConfig(get_method("lora"), **words)
