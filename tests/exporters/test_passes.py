"""Rewritten graphs compute what they computed before: small graphs, run by onnxruntime on both sides."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from edge_adapt.exporters.cleanup import tidy
from edge_adapt.exporters.heads import gather_heads
from edge_adapt.exporters.lookups import scatter_by_products
from edge_adapt.exporters.products import fold_sums, place_weights
from edge_adapt.exporters.rules import shorten_gradients
from edge_adapt.exporters.scales import absorb_scales
from edge_adapt.exporters.sums import read_in_place
from onnx import parser
from scipy.special import erf

HEADER = '<ir_version: 10, opset_import: ["" : 20]>'


def both(
    text: str, constants: dict[str, np.ndarray], feeds: dict[str, np.ndarray], passes: list[Callable[[ir.Model], None]]
) -> tuple[list[np.ndarray], list[np.ndarray], list[onnx.NodeProto]]:
    """Outputs before and after, and the nodes after."""
    proto = parser.parse_model(f"{HEADER} {text}")
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in constants.items())
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto, data_prop=True))
    for change in passes:
        change(model)
    after = ir.to_proto(model)
    onnx.checker.check_model(after, full_check=True)
    run = lambda graph: onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, feeds
    )
    return run(proto), run(after), list(after.graph.node)


@pytest.mark.parametrize("width", [96, 64, 48])
def test_a_matrix_is_stored_once_and_stands_on_the_right(width: int) -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(64, width)).astype(np.float32)
    feeds = {
        "x": rng.normal(size=(5, 64)).astype(np.float32),
        "bias": rng.normal(size=width).astype(np.float32),
        "labels": rng.normal(size=(5, width)).astype(np.float32),
        "rest": rng.normal(size=(5, 64)).astype(np.float32),
    }
    text = f"""graph (float[rows,64] x, float[{width}] bias, float[rows,{width}] labels, float[rows,64] rest)
      => (float[rows,{width}] y, float[rows,64] z) {{
        forward = MatMul(x, W)
        y = Add(forward, bias)
        turned = Transpose<perm = [1, 0]>(W)
        g = Mul(y, labels)
        back = MatMul(g, turned)
        once = Add(back, rest)
        z = Add(once, rest)
    }}"""
    before, after, nodes = both(text, {"W": matrix}, feeds, [place_weights, fold_sums])
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    used = [node for node in nodes if node.op_type in ("MatMul", "Gemm") and "W" in node.input[1]]
    live = {name for node in used for name in node.input[1:2]}
    assert len(used) >= 2 and len(live) == 1  # both directions read the same constant


def test_weighted_sums_read_constants_where_they_lie() -> None:
    rng = np.random.default_rng(1)
    pool = rng.normal(size=(6, 32, 64)).astype(np.float32)
    text = """graph (float[1,1,6] c, float[1,1,2048] g) => (float[1,1,2048] s, float[1,1,6] d) {
        flat = Reshape(P, shape)
        s = MatMul(c, flat)
        turned = Transpose<perm = [0, 2, 1]>(flat)
        d = MatMul(g, turned)
    }"""
    constants = {"P": pool, "shape": np.array([1, 6, 2048], np.int64)}
    feeds = {"c": rng.normal(size=(1, 1, 6)).astype(np.float32), "g": rng.normal(size=(1, 1, 2048)).astype(np.float32)}
    before, after, nodes = both(text, constants, feeds, [read_in_place])
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(after[0][0, 0], np.einsum("k,kn->n", feeds["c"][0, 0], pool.reshape(6, -1)), rtol=1e-4,
                               atol=1e-4)  # fmt: skip
    (gradient,) = (node for node in nodes if node.op_type == "MatMul" and node.input[0].startswith("P"))
    assert gradient.input[1] != "g"


@pytest.mark.parametrize("width", [6, "distances"], ids=["fixed", "free"])
@pytest.mark.parametrize("repeated", [True, False], ids=["one index for all", "an index for each"])
def test_sums_by_index_are_products(repeated: bool, width: int | str) -> None:
    """The gradient of a lookup along the last extent; several values have the same index."""
    rng = np.random.default_rng(2)
    rows = "1" if repeated else "batch"
    spread = "index = Expand(places, all)" if repeated else "index = Identity(places)"
    text = f"""graph (int64[{rows},4,5] places, float[batch,4,5] values, int64[3] all, int64[3] shape)
      => (float[batch,4,{width}] y) {{
        {spread}
        start = Expand(zero, shape)
        y = ScatterElements<axis = -1, reduction = "add">(start, index, values)
    }}"""
    places = rng.integers(0, 6, (1 if repeated else 3, 4, 5))
    values = rng.normal(size=(3, 4, 5)).astype(np.float32)
    constants = {"zero": np.zeros(1, np.float32)}
    feeds = {"places": places, "values": values, "all": np.array([3, 4, 5]), "shape": np.array([3, 4, 6])}

    def known(model: ir.Model) -> None:  # as a tracer knows it
        for node in model.graph:
            if node.op_type == "Expand":
                node.outputs[0].shape = ir.Shape(["batch", 4, width if node.outputs[0].name == "start" else 5])
        scatter_by_products(model)

    (before,), (after,), nodes = both(text, constants, feeds, [known])
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)
    expected = np.zeros((3, 4, 6))
    for b, i, j in np.ndindex(3, 4, 5):
        expected[b, i, places[0 if repeated else b, i, j]] += values[b, i, j]
    np.testing.assert_allclose(after, expected, rtol=1e-5, atol=1e-6)
    (product,) = (node for node in nodes if node.op_type == "MatMul")
    assert product.output[0] in {node.input[0] for node in nodes if node.op_type == "Squeeze"}


@pytest.mark.parametrize("tokens", [1, 2, 3, 7, 20])
@pytest.mark.parametrize(
    "across",
    ["across = Unsqueeze(numbers, front)", "flat = Reshape(numbers, row)\nacross = Tile(flat, tall)"],
    ids=["row", "repeated row"],
)
@pytest.mark.parametrize("turned", [False, True], ids=["by distance", "by more than distance"])
def test_sums_by_distance_need_no_matrix_for_each_token(turned: bool, across: str, tokens: int) -> None:
    """An index that is computed of row less column, as a tracer writes DeBERTa's; with a row's own number it is not."""
    rng = np.random.default_rng(3)
    made = "bucket = Add(middle, down)" if turned else "bucket = Add(middle, zero)"
    text = f"""graph (float[b,n,n] values, int64[3] all, int64[3] shape, int64 count) => (float[b,n,6] y) {{
        numbers = Range(zero, count, one)
        down = Unsqueeze(numbers, behind)
        {across}
        distance = Sub(down, across)
        size = Abs(distance)
        wide = Cast<to = 1>(size)
        root = Sqrt(wide)
        whole = Cast<to = 7>(root)
        sign = Sign(distance)
        signed = Mul(whole, sign)
        middle = Add(signed, two)
        {made}
        bounded = Clip(bucket, zero, five)
        places = Unsqueeze(bounded, front)
        index = Expand(places, all)
        start = Expand(nothing, shape)
        y = ScatterElements<axis = -1, reduction = "add">(start, index, values)
    }}"""
    values = rng.normal(size=(3, tokens, tokens)).astype(np.float32)
    numbers = {
        "zero": 0,
        "one": 1,
        "two": 2,
        "five": 5,
        "behind": [1],
        "front": [0],
        "row": [1, -1],
        "tall": [tokens, 1],
    }
    constants = {name: np.array(value, np.int64) for name, value in numbers.items()}
    feeds = {"values": values, "all": np.array([3, tokens, tokens]), "shape": np.array([3, tokens, 6])}

    def known(model: ir.Model) -> None:  # as a tracer knows it
        rows = "n" if "Tile" in across else 1
        shapes = {"numbers": ["n"], "down": ["n", 1], "across": [rows, "n"], "flat": [1, "n"], "places": [1, "n", "n"],
                  "index": ["b", "n", "n"], "start": ["b", "n", 6], "y": ["b", "n", 6]}  # fmt: skip
        for value in (output for node in model.graph for output in node.outputs):
            value.shape = ir.Shape(shapes.get(str(value.name), ["n", "n"]))
        model.graph.inputs[0].shape = ir.Shape(["b", "n", "n"])
        scatter_by_products(model)

    (before,), (after,), nodes = both(
        text, constants | {"nothing": np.zeros(1, np.float32)}, feeds | {"count": np.array(tokens)}, [known]
    )
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)
    expected = np.zeros((3, tokens, 6))
    for i, j in np.ndindex(tokens, tokens):
        bucket = int(np.sqrt(abs(i - j))) * np.sign(i - j) + 2 + (i if turned else 0)
        expected[:, i, np.clip(bucket, 0, 5)] += values[:, i, j]
    np.testing.assert_allclose(after, expected, rtol=1e-5, atol=1e-6)
    assert ("Pad" in {node.op_type for node in nodes}) != turned
    assert [node.op_type for node in nodes if "y" in node.output] == ["Squeeze" if turned else "MatMul"]


@pytest.mark.parametrize("side", [True, False], ids=["used elsewhere", "of products alone"])
def test_products_scale_by_themselves(side: bool) -> None:
    """After a product, and before products over what moves it; where something else uses it, everything stays."""
    rng = np.random.default_rng(4)
    also = "y = Add(turned, moved)" if side else "y = Identity(turned)"
    text = f"""graph (float[6,8] x, float[8,8] w, float[8,8] v, int64[6] order) => (float[6,8] y, float[8,8] z) {{
        first = MatMul(x, w)
        scaled = Mul(first, quarter)
        plain = MatMul(scaled, v)
        kept = Relu(plain)
        more = Mul(three, kept)
        flat = Reshape(more, shape)
        moved = Gather<axis = 0>(flat, order)
        turned = MatMul(moved, w)
        upright = Transpose<perm = [1, 0]>(moved)
        z = MatMul(upright, x)
        {also}
    }}"""
    constants = {
        "quarter": np.float32([0.25]).reshape(1, 1),
        "three": np.float32([3.0]).reshape(1, 1),
        "shape": np.array([-1, 8]),
    }
    feeds = {name: rng.normal(size=(6, 8) if name == "x" else (8, 8)).astype(np.float32) for name in ("x", "w", "v")}
    before, after, nodes = both(text, constants, feeds | {"order": rng.permutation(6)}, [absorb_scales, tidy])
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    assert sum(node.op_type == "Mul" for node in nodes) == int(side)


@pytest.mark.parametrize("masked", [True, False], ids=["zero at padding", "any row at padding"])
def test_rows_reach_the_heads_in_one_lookup(masked: bool) -> None:
    """Of texts of 1, 4 and 2 tokens into attention with 3 heads, and out of it."""
    rng = np.random.default_rng(5)
    lengths, width = np.array([1, 4, 2]), 6
    mask = (np.arange(4) < lengths[:, None]).astype(np.int64)
    times = "wide = Mul(gathered, column)" if masked else "wide = Identity(gathered)"
    text = f"""graph (int64[batch,tokens] attention_mask, float[rows,6] x, int64[every] slots,
      float[every,1] column, int64[4] shape) => (float[batch,3,tokens,2] inside, float[rows,6] y) {{
        flat_mask = Reshape(attention_mask, row)
        found = NonZero(flat_mask)
        places = Reshape(found, row)
        gathered = Gather<axis = 0>(x, slots)
        {times}
        view = Reshape(wide, shape)
        heads = Transpose<perm = [0, 2, 1, 3]>(view)
        inside = Mul(heads, heads)
        back = Transpose<perm = [0, 2, 1, 3]>(inside)
        flat = Reshape(back, two)
        y = Gather<axis = 0>(flat, places)
    }}"""
    feeds = {
        "attention_mask": mask,
        "x": rng.normal(size=(lengths.sum(), width)).astype(np.float32),
        "slots": np.maximum(np.cumsum(mask) - 1, 0),
        "column": mask.reshape(-1, 1).astype(np.float32),
        "shape": np.array([3, 4, 3, 2]),
    }

    def known(model: ir.Model) -> None:  # as a tracer knows it
        every, heads = "batch*tokens", ["batch", 3, "tokens", 2]
        shapes = {"gathered": [every, 6], "wide": [every, 6], "view": ["batch", "tokens", 3, 2], "heads": heads,
                  "inside": heads, "back": ["batch", "tokens", 3, 2], "flat": [every, 6], "y": ["rows", 6]}  # fmt: skip
        for node in model.graph:
            if node.outputs[0].name in shapes:
                node.outputs[0].shape = ir.Shape(shapes[str(node.outputs[0].name)])
        model.graph.inputs[3].shape = ir.Shape([every, 1])
        if not masked:  # an Identity is nothing that a tracer writes
            (same,) = (node for node in model.graph if node.op_type == "Identity")
            same.outputs[0].replace_all_uses_with(same.inputs[0])
        gather_heads(model)
        tidy(model)

    before, after, nodes = both(text, {"two": np.array([-1, 6]), "row": np.array([-1])}, feeds, [known])
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    assert "Transpose" not in {node.op_type for node in nodes}
    first = [places[:length] for places, length in zip(after[0].transpose(0, 2, 1, 3), lengths, strict=True)]
    np.testing.assert_array_equal(np.concatenate(first).reshape(-1, 6), feeds["x"] ** 2)
    assert (after[0][0, :, 1:] == 0).all() == masked


@pytest.mark.parametrize("alone", [True, False], ids=["products alone", "also a sum"])
def test_gelu_and_its_gradient_share_their_error_function(alone: bool) -> None:
    """GELU between two products, with the gradient as a tracer writes it; x is 0, tiny and large, too."""
    rng = np.random.default_rng(6)
    text = f"""graph (float[rows,4] x, float[rows,3] labels) => (float[rows,3] y, float[rows,8] d) {{
        inside = Gemm(x, W, bias)
        active = Gelu(inside)
        out = MatMul(active, V)
        y = Identity(out)
        d = {"Identity(slope)" if alone else "Add(slope, active)"}
        gradient = MatMul(labels, turned)
        turned = Transpose<perm = [1, 0]>(V)
        scaled = Mul(inside, root)
        error = Erf(scaled)
        more = Add(error, one)
        cumulative = Mul(more, half)
        square = Mul(inside, inside)
        negative = Mul(square, minus)
        bell = Exp(negative)
        density = Mul(bell, height)
        rest = Mul(inside, density)
        total = Add(cumulative, rest)
        slope = Mul(gradient, total)
    }}"""
    order = ["inside", "active", "out", "y", "turned", "gradient", "scaled", "error", "more", "cumulative", "square",
             "negative", "bell", "density", "rest", "total", "slope", "d"]  # fmt: skip
    lines = dict(line.strip().split(" = ", 1) for line in text.splitlines()[1:-1])
    text = "\n".join([text.splitlines()[0], *(f"{name} = {lines[name]}" for name in order), "}"])
    scalars = {"root": 0.5**0.5, "one": 1.0, "half": 0.5, "minus": -0.5, "height": (2 * np.pi) ** -0.5}
    constants = {name: np.float32(value) for name, value in scalars.items()} | {
        "W": rng.normal(size=(4, 8)).astype(np.float32),
        "V": rng.normal(size=(8, 3)).astype(np.float32),
        "bias": np.zeros(8, np.float32),
    }
    rows = np.concatenate([np.zeros((1, 4)), rng.normal(size=(5, 4)), np.full((1, 4), 1e-20), np.full((1, 4), 40.0)])
    feeds = {"x": rows.astype(np.float32), "labels": rng.normal(size=(8, 3)).astype(np.float32)}
    before, after, nodes = both(text, constants, feeds, [shorten_gradients, absorb_scales, tidy])
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    inside = feeds["x"].astype(np.float64) @ constants["W"]
    cumulative = 0.5 * (1 + erf(inside / np.sqrt(2)))
    density = np.exp(-(inside**2) / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(after[0], inside * cumulative @ constants["V"], rtol=1e-5, atol=1e-5)
    slope = feeds["labels"] @ constants["V"].T * (cumulative + inside * density)
    np.testing.assert_allclose(after[1], slope if alone else slope + inside * cumulative, rtol=1e-5, atol=1e-5)
    assert sum(node.op_type == "Erf" for node in nodes) == 1
    assert ("Gelu" in {node.op_type for node in nodes}) != alone


NUMBER = np.float32(3.0)
LOOKALIKES: dict[str, tuple[str, dict[str, object], list[Callable[[ir.Model], None]]]] = {
    "a number with more extents": (
        "graph (float[4,4] x, float[4,4] w) => (float[1,4,4] y) { a = Gemm(x, w)\n y = Mul(a, c) }",
        {"c": NUMBER.reshape(1, 1, 1)},
        [absorb_scales],
    ),
    "a row of numbers": (
        "graph (float[4,4] x, float[4,4] w) => (float[4,4] y) { a = Mul(x, c)\n y = MatMul(a, w) }",
        {"c": np.float32([[1.0, 2.0, 3.0, 4.0]])},
        [absorb_scales],
    ),
    "the third operand of Gemm": (
        "graph (float[4,4] x, float[4,4] w) => (float[4,4] y) { a = Mul(x, c)\n y = Gemm<beta = 0.5>(w, w, a) }",
        {"c": NUMBER},
        [absorb_scales],
    ),
    "both operands": (
        "graph (float[4,4] x) => (float[4,4] y) { a = Mul(x, c)\n y = MatMul(a, a) }",
        {"c": NUMBER},
        [absorb_scales],
    ),
    "what is scaled is an output": (
        "graph (float[4,4] x, float[4,4] w) => (float[4,4] a, float[4,4] y) { a = MatMul(x, w)\n y = Mul(a, c) }",
        {"c": NUMBER},
        [absorb_scales],
    ),
    "a product of fewer rows than the sum": (
        "graph (float[1,4] r, float[4,4] x, float[4,4] w) => (float[4,4] y) { a = MatMul(r, w)\n y = Add(a, x) }",
        {},
        [fold_sums],
    ),
    "a sum behind a Gemm of two operands, whose beta meant nothing": (
        "graph (float[4,4] x, float[4,4] w) => (float[4,4] y) { a = Gemm<beta = 0.5>(x, w)\n y = Add(a, x) }",
        {},
        [fold_sums],
    ),
    "a gradient that GELU's slope is spread over": (
        """graph (float[4,4] x, float[2,1,1] g) => (float[2,4,4] y) {
            t = Mul(x, root)\n e = Erf(t)\n m = Add(e, one)\n p = Mul(m, half)\n s = Mul(x, x)\n n = Mul(s, minus)
            b = Exp(n)\n d = Mul(b, height)\n r = Mul(x, d)\n slope = Add(p, r)\n y = Mul(g, slope) }""",
        {"root": np.float32(0.5**0.5), "one": np.float32(1.0), "half": np.float32(0.5), "minus": np.float32(-0.5),
         "height": np.float32((2 * np.pi) ** -0.5)},
        [shorten_gradients],
    ),
    "GELU of a product with a vector": (
        """graph (float[4,2,4] s, float[4] v, float[2,4] m) => (float[4,4] y, float[4,2] z) {
            x = MatMul(s, v)\n a = Gelu(x)\n y = MatMul(a, m)\n z = Mul(x, c) }""",
        {"c": np.float32(0.5**0.5)},
        [shorten_gradients],
    ),
    "GELU beside a number with more extents": (
        """graph (float[4,4] x, float[4,4] w) => (float[4,4] y, float[1,4,4] z) {
            a = MatMul(x, w)\n b = Gelu(a)\n y = MatMul(b, w)\n z = Mul(a, c) }""",
        {"c": np.full((1, 1, 1), 0.5**0.5, np.float32)},
        [shorten_gradients],
    ),
} | {
    f"normalisation, sums over {axes} and {others}, kept: {kept}": (
        f"""graph (float[4,4] g, float[4,4] x, float[4,1] r) => (float[4,4] y) {{
            ratio = Div(r, n)\n many = Mul(g, n)\n s = ReduceSum<keepdims = {kept}>(g, axes)
            product = Mul(g, x)\n c = ReduceSum<keepdims = {kept}>(product, others)
            first = Sub(many, s)\n second = Mul(x, c)\n rest = Sub(first, second)\n y = Mul(ratio, rest) }}""",
        {"n": np.float32([4.0]), "axes": np.array(axes), "others": np.array(others)},
        [shorten_gradients],
    )
    for axes, others, kept in (([-1], [1], 1), ([0], [0], 1), ([1], [0], 1), ([0, 1], [1], 1), ([1], [1], 0))
}  # fmt: skip


@pytest.mark.parametrize("kind", LOOKALIKES)
def test_what_only_looks_like_a_pattern_computes_the_same(kind: str) -> None:
    text, constants, passes = LOOKALIKES[kind]
    rng = np.random.default_rng(7)
    inputs = parser.parse_model(f"{HEADER} {text}").graph.input
    sizes = {one.name: [extent.dim_value for extent in one.type.tensor_type.shape.dim] for one in inputs}
    feeds = {name: rng.normal(size=size).astype(np.float32) for name, size in sizes.items()}
    before, after, nodes = both(text, constants, feeds, passes)  # type: ignore[arg-type]
    for one, other in zip(before, after, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    changed = "ReduceMean" in {node.op_type for node in nodes}
    assert changed == (kind == "normalisation, sums over [-1] and [1], kept: 1")


def test_a_number_scales_what_has_no_known_shape() -> None:
    """It may have more extents than that, and the result then, too."""

    def unknown(model: ir.Model) -> None:
        for node in model.graph:
            if not node.outputs[0].is_graph_output():
                node.outputs[0].shape = None
        absorb_scales(model)

    text = "graph (float[4,4] x, float[4,4] w) => (float[1,4,4] y) { a = Gemm(x, w)\n b = Mul(a, c)\n y = Neg(b) }"
    feeds = {name: np.eye(4, dtype=np.float32) for name in "xw"}
    (before,), (after,), _ = both(text, {"c": NUMBER.reshape(1, 1, 1)}, feeds, [unknown])
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("way", ["into", "out of", "places from the end"])
def test_other_lookups_stay_beside_attention(way: str) -> None:
    """Of columns instead of rows, and of rows whose numbers count from the end."""
    rng = np.random.default_rng(8)
    axis = {"into": (1, 0), "out of": (0, 1), "places from the end": (0, 0)}[way]
    text = f"""graph (int64[batch,tokens] attention_mask, float[12,6] x, int64[n] slots, int64[m] places)
      => (float[a,6] y) {{
        gathered = Gather<axis = {axis[0]}>(x, slots)
        view = Reshape(gathered, shape)
        heads = Transpose<perm = [0, 2, 1, 3]>(view)
        inside = Mul(heads, heads)
        back = Transpose<perm = [0, 2, 1, 3]>(inside)
        flat = Reshape(back, two)
        y = Gather<axis = {axis[1]}>(flat, places)
    }}"""
    numbers = lambda axis: rng.permutation(6) if axis else rng.permutation(12)
    feeds = {"attention_mask": np.ones((3, 4), np.int64), "x": rng.normal(size=(12, 6)).astype(np.float32),
             "slots": numbers(axis[0]), "places": numbers(axis[1]) - (12 if "end" in way else 0)}  # fmt: skip

    def known(model: ir.Model) -> None:  # as a tracer knows it
        every, heads = "batch*tokens", ["batch", 3, "tokens", 2]
        shapes = {"gathered": [every, 6], "view": ["batch", "tokens", 3, 2], "heads": heads, "inside": heads,
                  "back": ["batch", "tokens", 3, 2], "flat": [every, 6], "y": ["a", 6]}  # fmt: skip
        for node in model.graph:
            node.outputs[0].shape = ir.Shape(shapes[str(node.outputs[0].name)])
        gather_heads(model)

    constants = {"shape": np.array([3, 4, 3, 2]), "two": np.array([-1, 6])}
    (before,), (after,), _ = both(text, constants, feeds, [known])
    np.testing.assert_array_equal(before, after)
