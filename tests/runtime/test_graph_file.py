"""A graph is looked at before ONNX Runtime opens it: without loops, functions, foreign operators and great sizes."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from edge_adapt.runtime.graph_file import DEEPEST, require_straight
from edge_adapt.runtime.graph_sizes import MOST_NUMBERS, SIZED, UNBOUNDED
from hypothesis import given
from hypothesis import strategies as st
from onnx import parser

HEADER = '<ir_version: 10, opset_import: ["" : 20, "com.microsoft" : 1]>'
MOST = 1 << 20
NEVER = """g (int64 x) => (int64 y) {
    y = Loop(, , x) <body = b (int64 i, bool go, int64 v) => (bool again, int64 w) {
        again = Identity(go)
        w = Add(v, i)
    }>
}"""
FORK = """g (float[n] x, bool c) => (float[n] y) {
    y = If(c) <then_branch = t () => (float[n] a) { a = %s(x) }, else_branch = e () => (float[n] b) { b = Abs(x) }>
}"""
FUNCTION = '<opset_import: ["" : 20], domain: "ai.onnx"> twice (x) => (y) { y = Add(x, x) }'


def written(folder: Path, text: str) -> Path:
    path = folder / "graph.onnx"
    path.write_bytes(parser.parse_model(f"{HEADER} {text}").SerializeToString())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "g (float[n] x) => (float[n] y) { y = Abs(x) }",
        "g (float[n] Loop) => (float[n] Scan) { Scan = Abs(Loop) }",
        FORK % "Neg",
        "g (float[2] x) => (float[2] y) <float[2] w = {1.0, 2.0}> { y = Add(x, w) }",
    ],
    ids=["plain", "names are not operators", "two branches", "weights"],
)
def test_graphs_that_end_are_taken(tmp_path: Path, text: str) -> None:
    require_straight(written(tmp_path, text), MOST)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (NEVER, "'Loop' repeats"),
        ("g (float[n] x) => (float[n] y) { y = com.microsoft.Gelu(x) }", "'Gelu' is not ONNX's own but of"),
        (f"g (float[n] x) => (float[n] y) {{ y = twice(x) }} {FUNCTION}", "functions of its own"),
        (FORK % "com.microsoft.Gelu", "'Gelu' is not ONNX's own"),
    ],
    ids=["loop", "foreign", "function", "foreign in a branch"],
)
def test_others_are_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        require_straight(written(tmp_path, text), MOST)


@pytest.mark.parametrize("operator", ["Scan", "SequenceMap"])
def test_every_repeating_operator_is_refused(tmp_path: Path, operator: str) -> None:
    model = parser.parse_model(f"{HEADER} g (float[n] x) => (float[n] y) {{ y = Abs(x) }}")
    model.graph.node[0].op_type = operator
    (tmp_path / "graph.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=operator):
        require_straight(tmp_path / "graph.onnx", MOST)


def test_branches_in_branches_have_a_bound(tmp_path: Path) -> None:
    graph = onnx.helper.make_graph([onnx.helper.make_node("Abs", ["x"], ["y"])], "g", [], [])
    for _ in range(DEEPEST + 3):
        node = onnx.helper.make_node("If", ["c"], ["y"], then_branch=graph, else_branch=graph)
        graph = onnx.helper.make_graph([node], "g", [], [])
        graph.node[0].attribute[1].g.CopyFrom(onnx.GraphProto())  # or it would grow twofold each time
    (tmp_path / "graph.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    with pytest.raises(ValueError, match="deep"):
        require_straight(tmp_path / "graph.onnx", MOST)


# --- sizes that constants give
# ----------------------------------------------------------------------------------------------------------------------

HALF = MOST_NUMBERS // 2
ASKS: dict[str, tuple[list[object], int]] = {
    "ConstantOfShape": ([np.array([2, HALF // 2])], HALF),
    "Expand": (["x", np.array([HALF // 4, 1, 4])], HALF),
    "Tile": (["x", np.array([HALF, 1])], HALF),
    "OneHot": (["x", np.array(HALF), np.zeros(2)], HALF),
    "Range": ([np.array(-5), np.array(4 * HALF - 5), np.array(4)], HALF),
    "Pad": (["x", np.array([1, HALF - 2])], HALF),
    "Resize": (["x", "", "", np.array([1, 1, 8, HALF // 8])], HALF),
}
"""Inputs of an operator that make so many numbers at least."""


def asking(folder: Path, operator: str, inputs: list[object], how: str, times: int = 1) -> Path:
    """A graph in which an operator takes constants, given in one of the ways that ONNX has."""
    nodes, tensors, names = [], [], []
    for place, value in enumerate(inputs):
        if isinstance(value, str):
            names.append(value)
            continue
        array = np.asarray(value)
        names.append(name := f"c{place}")
        tensor = onnx.numpy_helper.from_array(array, name)
        if how == "list":
            tensor = onnx.helper.make_tensor(name, onnx.TensorProto.INT64, array.shape, array.astype(int).ravel())
        if how == "float":
            tensor = onnx.numpy_helper.from_array(array.astype(np.float64), name)
        if how == "elsewhere":
            onnx.external_data_helper.set_external_data(tensor, "weights.data")
            tensor.ClearField("raw_data")
        if how == "node":
            nodes.append(onnx.helper.make_node("Constant", [], [name], value=tensor))
        elif how == "numbers" and array.ndim:
            nodes.append(onnx.helper.make_node("Constant", [], [name], value_ints=array.astype(int).tolist()))
        elif how == "numbers":
            nodes.append(onnx.helper.make_node("Constant", [], [name], value_int=int(array)))
        else:
            tensors.append(tensor)
    nodes += [onnx.helper.make_node(operator, names, [f"y{k}"]) for k in range(times)]
    if how == "branch":
        graph = onnx.helper.make_graph(nodes, "inner", [], [])
        nodes = [onnx.helper.make_node("If", ["b"], ["z"], then_branch=graph, else_branch=onnx.GraphProto())]
    nodes.reverse()  # whatever the order of a file
    graph = onnx.helper.make_graph(nodes, "g", [], [], tensors)
    (folder / "graph.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    return folder / "graph.onnx"


@pytest.mark.parametrize("how", ["raw", "list", "float", "node", "numbers", "branch"])
@pytest.mark.parametrize("operator", ASKS)
def test_numbers_that_constants_ask_for_are_bounded_over_all_operators(tmp_path: Path, operator: str, how: str) -> None:
    inputs, _ = ASKS[operator]
    require_straight(asking(tmp_path, operator, inputs, how, times=2), MOST)
    with pytest.raises(ValueError, match="its constants ask for"):
        require_straight(asking(tmp_path, operator, inputs, how, times=3), MOST)


def test_every_operator_with_a_size_is_tried() -> None:
    assert ASKS.keys() == SIZED.keys()


@pytest.mark.parametrize("operator", ASKS)
def test_the_count_is_no_larger_than_what_onnx_makes(tmp_path: Path, operator: str) -> None:
    """With a hundred-thousandth of the numbers, which ONNX's own reference makes."""
    from onnx.reference import ReferenceEvaluator

    shape = {"Pad": (1,), "OneHot": (1,), "Tile": (1, 1), "Resize": (1, 1, 1, 1)}.get(operator, (1, 1, 1))
    small = {
        "ConstantOfShape": [np.array([2, 300])], "Expand": ["x", np.array([150, 1, 4])],
        "Tile": ["x", np.array([6, 100])],
        "OneHot": ["x", np.array(600), np.zeros(2, np.float32)], "Range": [np.array(-5), np.array(2395), np.array(4)],
        "Pad": ["x", np.array([1, 598])], "Resize": ["x", "", "", np.array([1, 1, 6, 100])],
    }[operator]  # fmt: skip
    path = asking(tmp_path, operator, small, "raw")
    model = onnx.load(path)
    kind = onnx.TensorProto.INT64 if operator == "OneHot" else onnx.TensorProto.FLOAT
    model.graph.input.append(onnx.helper.make_tensor_value_info("x", kind, shape))
    model.graph.output.append(onnx.helper.make_tensor_value_info("y0", onnx.TensorProto.FLOAT, None))
    model.opset_import[0].version = 20
    given_x = np.zeros(shape, np.int64 if operator == "OneHot" else np.float32)
    (made,) = ReferenceEvaluator(model).run(None, {"x": given_x})
    assert made.size == 600


@pytest.mark.parametrize("operator", SIZED)
def test_a_size_that_lies_elsewhere_or_is_a_weight_is_refused(tmp_path: Path, operator: str) -> None:
    inputs = ASKS[operator][0]
    with pytest.raises(ValueError, match="is no size"):
        require_straight(asking(tmp_path, operator, inputs, "elsewhere"), MOST)
    long = [np.zeros(1000, np.int64) if isinstance(value, np.ndarray) else value for value in inputs]
    with pytest.raises(ValueError, match="is no size"):
        require_straight(asking(tmp_path, operator, long, "raw"), MOST)


@pytest.mark.parametrize("operator", UNBOUNDED)
def test_operators_of_any_size_that_no_bundle_needs_are_refused(tmp_path: Path, operator: str) -> None:
    with pytest.raises(ValueError, match=f"{operator}' makes results of any size"):
        require_straight(asking(tmp_path, operator, ["x"], "raw"), MOST)


def test_other_ways_to_ask_for_memory_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    values = onnx.helper.make_tensor("s", onnx.TensorProto.FLOAT, [1], [1.0])
    sparse = onnx.helper.make_sparse_tensor(
        values, onnx.helper.make_tensor("i", onnx.TensorProto.INT64, [1], [3]), [1 << 40]
    )
    graph = onnx.helper.make_graph([onnx.helper.make_node("Abs", ["s"], ["y"])], "g", [], [])
    graph.sparse_initializer.append(sparse)
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    with pytest.raises(ValueError, match="sparse"):
        require_straight(path, MOST)
    nodes = [onnx.helper.make_node("Constant", [], ["s"], sparse_value=sparse)]
    path.write_bytes(onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], [])).SerializeToString())
    with pytest.raises(ValueError, match="sparse"):
        require_straight(path, MOST)
    for pads, refused in (([3, 3, 3, 3], False), ([1 << 20, 0, 0, 1 << 20], True)):
        nodes = [onnx.helper.make_node("Conv", ["x", "w"], ["y"], pads=pads)]
        path.write_bytes(onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], [])).SerializeToString())
        if refused:
            with pytest.raises(ValueError, match="ask for"):
                require_straight(path, MOST)
        else:
            require_straight(path, MOST)


@pytest.mark.parametrize(
    "graph",
    [
        b"\x10\x00" * 1200,  # fields that nobody knows
        b"\x0a\x00" * 600,  # operators, each of which is looked at twice
        b"\x0a\xf6\x0a" + b"\x2a\xed\x0a" + b"\x0a\x04pads" + b"\x42\xe4\x0a" + b"\x00" * 1380 + b"\x22\x04Conv",
    ],
    ids=["fields", "operators", "numbers in one piece"],
)
def test_a_file_of_very_many_fields_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, graph: bytes) -> None:
    monkeypatch.setattr("edge_adapt.runtime.graph_file.MOST_FIELDS", 1000)
    model = onnx.ModelProto(graph=onnx.GraphProto.FromString(graph))
    (tmp_path / "graph.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="more than 1,000 fields"):
        require_straight(tmp_path / "graph.onnx", MOST)


def test_numbers_that_are_none_count_as_too_many(tmp_path: Path) -> None:
    for limit in (np.inf, 1e300):
        inputs: list[object] = [np.array(0), np.array(limit), np.array(1e-300)]
        with pytest.raises(ValueError, match="ask for"):
            require_straight(asking(tmp_path, "Range", inputs, "float"), MOST)
    require_straight(asking(tmp_path, "Range", [np.array(0), "x", np.array(1)], "raw"), MOST)
    require_straight(asking(tmp_path, "Range", [np.array(5), np.array(0), np.array(1)], "raw"), MOST)
    require_straight(asking(tmp_path, "ConstantOfShape", [np.array([0, 1 << 40])], "raw"), MOST)  # holds nothing


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty"),
        (b"{}", "no ONNX model"),
        (b"\x3a\x05\x0a", "cut off"),
        (b"\x08\xff", "cut off"),
        (b"\x08" + b"\xff" * 12, "cut off"),
        (b"\x08\x0a", "no ONNX model"),
        (b"\x3b", "no ONNX model"),
        (b"\x3a\x00\x3a\x00", "no ONNX model"),
    ],
)
def test_what_is_no_graph_is_said(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "graph.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=why):
        require_straight(tmp_path / "graph.onnx", MOST)


@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_graph_or_a_value_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "graph.onnx"
    path.write_bytes(content)
    try:
        require_straight(path, MOST)
    except ValueError:
        return
    onnx.ModelProto.FromString(content)
