"""onnxscript's optimiser finds what it finds, without going through the whole graph at every node."""

import numpy as np
import onnx_ir as ir
import pytest
from edge_adapt.exporters.matching import first_node_first
from onnx import numpy_helper, parser
from onnxscript import optimizer
from onnxscript.rewriter import _matcher

HEADER = '<ir_version: 10, opset_import: ["" : 20]>'
NODES = 150


def chain() -> ir.Model:
    """Two halves of a vector, cut by two slices, which are one split; then a long chain, no two nodes of it equal."""
    steps = "\n".join(f"s{i + 1} = Add(s{i}, x{i})\nx{i + 1} = Tanh(s{i + 1})" for i in range(NODES))
    proto = parser.parse_model(
        f"""{HEADER} graph (float[2,8] x) => (float[2,4] s{NODES}) {{
        right = Slice(x, four, eight, last)
        left = Slice(x, zero, four, last)
        s0 = Mul(left, right)
        x0 = Tanh(s0)
        {steps}
    }}"""
    )
    for name, value in (("zero", 0), ("four", 4), ("eight", 8), ("last", 1)):
        proto.graph.initializer.append(numpy_helper.from_array(np.array([value]), name))
    return ir.from_proto(proto)


def test_the_same_graph_in_a_time_that_grows_with_its_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    real = ir.Node.op_identifier

    def counted(node: ir.Node) -> ir.OperatorIdentifier:
        nonlocal asked
        asked += 1
        return real(node)

    former = _matcher.SimplePatternMatcher.match
    plain, quick = chain(), chain()
    monkeypatch.setattr(ir.Node, "op_identifier", counted)
    optimizer.optimize(plain)
    slow, asked = asked, 0
    with first_node_first():
        optimizer.optimize(quick)
    assert _matcher.SimplePatternMatcher.match is former
    assert any(node.op_type == "Split" for node in quick.graph)
    assert ir.to_proto(quick).SerializeToString() == ir.to_proto(plain).SerializeToString()
    assert slow > NODES * NODES
    assert asked < 100 * NODES
