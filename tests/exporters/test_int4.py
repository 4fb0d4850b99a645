"""Frozen weights in 4 bits: what the codes stand for, how near they are, what is stored, and that training with them is
training of the rounded model.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from edge_adapt.errors import UsageError
from edge_adapt.exporters import int4, int4_graph
from edge_adapt.exporters.bundle import ExportConfig, attach, export_bundle
from edge_adapt.methods import get_method
from edge_adapt.runtime.engine import Engine
from edge_adapt.runtime.manifest import BundleError, read_manifest, verify_files
from edge_adapt.runtime.tokens import pad
from edge_adapt.workloads.models import load_backbone
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load_file
from transformers import BertConfig, BertModel

CODES = st.integers(-8, 7)
OUT, IN = 96, 64  # of the matrix below


def draw(seed: int, *shape: int) -> np.ndarray:
    """Numbers whose rows and columns differ in size, as those of real models do."""
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.normal(0, 0.5, shape[0]))[:, None] * np.exp(rng.normal(0, 0.5, shape[1]))
    return (rng.normal(0, 0.05, shape) * sizes).astype(np.float32)


def matrix_by_hand(found: int4.Matrix) -> np.ndarray:
    """rows[i] * tiles[i // 16, j // 16] * codes[i, j] * columns[j], number by number in float64."""
    result = np.empty(found.codes.shape)
    for i, row in enumerate(found.codes.tolist()):
        for j, code in enumerate(row):
            result[i, j] = float(found.rows[i]) * float(found.tiles[i // 16, j // 16]) * code * float(found.columns[j])
    return result


# --- the numbers


@given(hnp.arrays(np.int8, st.tuples(st.integers(1, 4), st.integers(1, 3).map(lambda n: 32 * n)), elements=CODES))
def test_two_codes_in_a_byte(codes: np.ndarray) -> None:
    packed = int4.Table(codes, np.ones((len(codes), codes.shape[1] // 32), np.float32)).nibbles()
    assert packed.dtype == np.uint8 and packed.shape == (len(codes), codes.shape[1] // 2)
    for row, packed_row in zip(codes.tolist(), packed.tolist(), strict=True):
        assert [byte % 16 - 8 for byte in packed_row] + [byte // 16 - 8 for byte in packed_row] == row


@given(st.integers(0, 1000), st.floats(-30, 30), st.booleans())
def test_a_matrix_is_near_and_no_scale_is_worse_than_the_plain_one(seed: int, size: float, empty: bool) -> None:
    exact = draw(seed, OUT, IN) * np.float32(10.0**size)
    if empty:
        exact[3], exact[:, 7], exact[16:32, 32:48] = 0.0, 0.0, 0.0
    found = int4.encode_matrix(exact)
    assert found is not None
    decoded = found.decoded()
    assert decoded.dtype == np.float32 and found.codes.min() >= -8 and found.codes.max() <= 7
    np.testing.assert_allclose(decoded, matrix_by_hand(found), rtol=1e-6)
    error = np.linalg.norm(decoded - exact.astype(np.float64)) / np.linalg.norm(exact.astype(np.float64))
    assert error < 0.13
    assert not empty or not decoded[exact == 0].reshape(-1)[:IN].any()
    balanced = exact / found.rows[:, None].astype(np.float64) / found.columns
    for i in range(0, OUT, 16):
        for j in range(0, IN, 16):
            tile, codes = balanced[i : i + 16, j : j + 16], found.codes[i : i + 16, j : j + 16]
            largest = tile.reshape(-1)[np.abs(tile).argmax()]
            plain = -largest / 8 if largest else 1.0
            mine = np.square(codes * float(found.tiles[i // 16, j // 16]) - tile).sum()
            assert mine <= 1.001 * np.square(np.clip(np.rint(tile / plain), -8, 7) * plain - tile).sum() + 1e-12


@given(st.integers(0, 1000), st.floats(-30, 30))
def test_a_table_is_near(seed: int, size: float) -> None:
    exact = draw(seed, 64, 96) * np.float32(10.0**size)
    exact[5], exact[6, 32:64] = 0.0, 0.0
    found = int4.encode_table(exact)
    assert found is not None
    decoded = found.decoded()
    by_hand = [[float(found.scales[i, j // 32]) * code for j, code in enumerate(row)]
               for i, row in enumerate(found.codes.tolist())]  # fmt: skip
    np.testing.assert_array_equal(decoded, np.float32(by_hand))
    assert not decoded[5].any() and not decoded[6, 32:64].any()
    steps = np.repeat(np.abs(exact).reshape(64, 3, 32).max(-1) / 8, 32, axis=1).astype(np.float64)
    assert np.linalg.norm(decoded - exact.astype(np.float64)) < np.linalg.norm(steps) / 12**0.5 * 1.1


@pytest.mark.parametrize("shape", [(64, 100), (100, 64), (48, 64), (64 * 64,), (2, 64, 64)])
def test_a_matrix_that_does_not_fit_has_no_codes(shape: tuple[int, ...]) -> None:
    assert int4.encode_matrix(np.ones(shape, np.float32)) is None


@pytest.mark.parametrize("shape", [(100, 48), (60, 64), (64 * 64,), (2, 64, 64)])
def test_a_table_that_does_not_fit_has_no_codes(shape: tuple[int, ...]) -> None:
    assert int4.encode_table(np.ones(shape, np.float32)) is None


# --- a graph

MATRIX, TABLE = draw(1, OUT, IN), draw(2, 130, 64)
GRAPHS = {
    "forward, with a bias": ("x64", "Gemm(x64, w_in_out, b96)", "x @ w.T + b96"),
    "forward, transposed": ("x64", "Gemm <transB = 1, alpha = 0.5> (x64, w_out_in, b96)", "0.5 * x @ w.T + b96"),
    "backward": ("x96", "MatMul(x96, w_out_in)", "x @ w"),
    "backward, transposed": ("x96", "Gemm <transB = 1, alpha = -2.0> (x96, w_in_out)", "-2 * x @ w"),
}


def rewritten(body: str, given_type: str, tensors: dict[str, np.ndarray], codes: int4.Codes) -> onnx.ModelProto:
    """A graph of one node with an input `x` and a result `y`, its constants stored as codes."""
    text = f'<ir_version: 10, opset_import: ["" : 20]> g ({given_type}) => (float y) {{ y = {body} }}'
    model = onnx.parser.parse_model(text)
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None))
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in tensors.items())
    held = ir.from_proto(onnx.shape_inference.infer_shapes(model))
    int4_graph.store_codes(held, codes)
    found = ir.to_proto(held)
    onnx.checker.check_model(found, full_check=True)
    return found


def runs(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> Iterator[np.ndarray]:
    """The result by onnxruntime as a bundle is opened, and node by node as it is written."""
    levels = onnxruntime.GraphOptimizationLevel
    for level in (levels.ORT_ENABLE_ALL, levels.ORT_DISABLE_ALL):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = level
        for key, value in int4.SESSION.items():
            options.add_session_config_entry(key, value)
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        yield session.run(None, feeds)[0]


@pytest.mark.parametrize("case", GRAPHS)
def test_a_product_in_either_direction(case: str) -> None:
    given_name, body, formula = GRAPHS[case]
    found = int4.encode_matrix(MATRIX)
    assert found is not None
    w, b96 = found.decoded(), np.linspace(-1, 1, 96, dtype=np.float32)
    x = np.random.default_rng(0).normal(size=(5, int(given_name[1:]))).astype(np.float32)
    tensors = {"w_out_in": w, "w_in_out": np.ascontiguousarray(w.T), "b96": b96}
    used = {name: array for name, array in tensors.items() if name in body}
    model = rewritten(body, f"float[n, {x.shape[1]}] {given_name}", used, {int4.digest(w): found})
    assert "DequantizeLinear" in {node.op_type for node in model.graph.node}
    floats = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    assert max(np.prod(t.dims) for t in floats) <= 96
    names = {"x": x.astype(np.float64), "w": matrix_by_hand(found), "b96": b96}
    expected = eval(formula, names)
    for actual in runs(model, {given_name: x}):
        np.testing.assert_allclose(actual, expected, atol=2e-6 * np.abs(expected).max())


def test_rows_of_a_table() -> None:
    found = int4.encode_table(TABLE)
    assert found is not None
    codes = {int4.digest(found.decoded()): found}
    model = rewritten("Gather <axis = 0> (t, i)", "int64[n, m] i", {"t": found.decoded()}, codes)
    assert {t.data_type for t in model.graph.initializer if np.prod(t.dims) > 1000} == {onnx.TensorProto.UINT8}
    rows = np.array([[0, 129, 5], [7, 7, 128]])
    for actual in runs(model, {"i": rows}):
        np.testing.assert_array_equal(actual, found.decoded()[rows])


@pytest.mark.parametrize(
    "body", ["Add(w, x)", "Transpose <perm = [1, 0]> (w)", "Identity(w)", "MatMul(w, x)", "Gemm <transA = 1> (x, w)"]
)
def test_another_use_keeps_the_numbers(body: str) -> None:
    found = int4.encode_matrix(MATRIX)
    assert found is not None
    w = found.decoded()
    model = rewritten(body, "float[96, 64] x" if "Gemm" in body else "float[64, 64] x" if "MatMul" in body else
                      "float[n, 64] x", {"w": w}, {int4.digest(w): found})  # fmt: skip
    (kept,) = model.graph.initializer
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(kept), w)


# --- a bundle


@pytest.fixture(scope="module")
def folder(exported: Callable[..., Path]) -> Path:
    return exported("lora", weights="int4")


NUMBERS = 4 * 64 * 64 + 2 * 64 * 96 + 512 * 64  # matrices, and the table of positions


def test_all_matrices_are_codes_and_the_file_is_small(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert manifest.weights["dtype"] == "int4" and manifest.weights["int4_numbers"] == NUMBERS
    assert manifest.graphs["train"].session.config == manifest.graphs["infer"].session.config == int4.SESSION
    for name in ("train", "infer"):
        model = onnx.load(folder / f"{name}.onnx", load_external_data=False)
        kinds = {tuple(t.dims): t.data_type for t in model.graph.initializer if np.prod(t.dims) >= 4096 and t.dims}
        assert {(64, 64), (64, 96), (96, 64)} <= kinds.keys()
        assert kinds.pop((512, 32)) == onnx.TensorProto.UINT8
        assert set(kinds.values()) == {onnx.TensorProto.INT4}
    left = manifest.weights["float32_numbers"]
    assert manifest.files["weights.data"].bytes < NUMBERS / 2 + 4 * left + 4096 * 20  # tensors begin on pages


def test_onnxruntime_keeps_the_codes_and_rounds_nothing_else(folder: Path, tmp_path: Path) -> None:
    for name, graph in read_manifest(folder).graphs.items():
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.optimized_model_filepath = str(tmp_path / f"{name}.onnx")
        for key, value in graph.session.config.items():
            options.add_session_config_entry(key, value)
        onnxruntime.InferenceSession(str(folder / graph.file), options, providers=["CPUExecutionProvider"])
        nodes = onnx.load(tmp_path / f"{name}.onnx", load_external_data=False).graph.node
        held = [node for node in nodes if node.op_type in ("MatMulNBits", "DequantizeLinear")]
        assert len(held) >= 6
        levels = [a.i for node in held for a in node.attribute if a.name == "accuracy_level"]
        assert set(levels) <= {1}
        assert not [node.op_type for node in nodes if "Integer" in node.op_type or node.op_type.startswith("QLinear")]


def test_training_is_that_of_the_rounded_model_in_torch(folder: Path, config: ExportConfig) -> None:
    backbone = load_backbone(config.model)
    exact = {name: tensor.clone() for name, tensor in backbone.module.state_dict().items()}
    assert len(int4.round_backbone(backbone)) == 7  # six matrices and the table of positions
    moved = {n for n, tensor in backbone.module.state_dict().items() if not torch.equal(tensor, exact[n])}
    assert len(moved) == 7 and "embeddings.word_embeddings.weight" not in moved  # 13 words: too few
    adaptation = attach(replace(config, weights="int4"), backbone, 2)
    manifest = read_manifest(folder)
    engine = Engine(folder, manifest, threads=1)
    state = load_file(folder / "initial.safetensors")
    rng = np.random.default_rng(0)
    for name, parameter in adaptation.state.items():
        np.testing.assert_array_equal(state[name], parameter.detach().numpy())
        state[name] = state[name] + rng.normal(0, 0.1, state[name].shape).astype(np.float32)
        parameter.data = torch.as_tensor(state[name].copy())
    feeds = pad([[2, 4, 3], [2, *rng.integers(4, 13, 20).tolist(), 3]], 0)
    labels = np.array([0, 1])
    optimiser = torch.optim.SGD([adaptation.state[name] for name in adaptation.trained_names], lr=0.3)
    for _ in range(5):
        optimiser.zero_grad()
        given_ids = [torch.as_tensor(feeds[name]) for name in ("input_ids", "attention_mask")]
        loss = torch.nn.functional.cross_entropy(adaptation.module(*given_ids), torch.as_tensor(labels))
        loss.backward()
        optimiser.step()
        outputs = ["loss", *(f"grad/{tensor.name}" for tensor in manifest.trained)]
        mine, *gradients = engine._run("train", outputs, {**feeds, "labels": labels, **state})
        assert float(mine) == pytest.approx(float(loss.detach()), rel=1e-5)
        for tensor, gradient in zip(manifest.trained, gradients, strict=True):
            state[tensor.name] = state[tensor.name] - np.float32(0.3) * gradient
    for name in adaptation.trained_names:
        trained = adaptation.state[name].detach().numpy()
        np.testing.assert_allclose(state[name], trained, atol=1e-5 * max(1.0, float(np.abs(trained).max())))


def test_a_changed_code_is_found(folder: Path) -> None:
    path, manifest = folder / "weights.data", read_manifest(folder)
    kept = path.read_bytes()
    try:
        for place in np.random.default_rng(0).integers(0, len(kept), 10).tolist():
            path.write_bytes(kept[:place] + bytes([kept[place] ^ 1]) + kept[place + 1 :])
            with pytest.raises(BundleError, match=r"weights\.data"):
                verify_files(folder, manifest)
    finally:
        path.write_bytes(kept)
    verify_files(folder, manifest)


# --- what is refused


def test_a_chip_has_no_codes_of_four_bits() -> None:
    with pytest.raises(UsageError, match=r"--chip with --weights int4: .* leave one of the two out"):
        ExportConfig(get_method("lora"), chip="reram", weights="int4")


def test_a_model_that_does_not_fit_is_refused_before_the_work(
    config: ExportConfig, inputs: Path, silent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_adapt.exporters.bundle.attach", lambda *_: pytest.fail("the work has begun"))
    shape = BertConfig(vocab_size=13, hidden_size=72, num_hidden_layers=1, num_attention_heads=2, intermediate_size=100)
    BertModel(shape, add_pooling_layer=False).save_pretrained(tmp_path / "odd")
    (tmp_path / "odd" / "tokenizer.json").write_bytes((inputs / "model" / "tokenizer.json").read_bytes())
    asked = replace(config, model=str(tmp_path / "odd"), weights="int4")
    with pytest.raises(UsageError, match=r"widths are 72, 100; both must be multiples of 16.*--weights int8"):
        export_bundle(asked, tmp_path / "bundle", silent)
