"""A graph is looked at before ONNX Runtime opens it: without loops, functions and foreign operators."""

from pathlib import Path

import onnx
import pytest
from edge_adapt.runtime.graph_file import DEEPEST, require_straight
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
