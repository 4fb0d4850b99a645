"""All passes over random graphs: whatever the operations and their order, a batch without padding gives the same."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from edge_adapt.exporters.layout import optimise
from onnx import helper, numpy_helper

B, K, EVERY = "batch", "tokens", "batch*tokens"
SIZES = {B: 3, K: 5, EVERY: 15}
Shape = tuple[int | str, ...]
GRAPHS = 30  # of one test


class Graph:
    """A graph that grows by what a tracer writes: rows of tokens, heads of attention, sums, gradients of GELU."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.inputs: dict[str, Shape] = {"x": (B, K, 6), "z": (B, K, 6), "labels": (B, 1, 1)}
        self.values = dict(self.inputs)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        growths = [self.pointwise, self.split, self.join, self.attend, self.scale, self.by_labels, self.outer,
                   self.reduce, self.gelu, *(3 * [self.product, self.flat]), self.add_up, self.add_up]  # fmt: skip
        for _ in range(int(self.rng.integers(6, 26))):
            growths[int(self.rng.integers(len(growths)))]()

    def constant(self, content: object, dtype: type = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(content, dtype), name))
        return name

    def add(self, op: str, inputs: list[str], shape: Shape, **attributes: object) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        self.values[name] = shape
        return name

    def reshape(self, name: str, shape: Shape) -> str:
        free = next(place for place, extent in enumerate(shape) if isinstance(extent, str))
        sizes = [-1 if place == free else SIZES.get(str(extent), extent) for place, extent in enumerate(shape)]
        return self.add("Reshape", [name, self.constant(sizes, np.int64)], shape)

    def turn(self, name: str, order: list[int]) -> str:
        shape = self.values[name]
        return self.add("Transpose", [name], tuple(shape[axis] for axis in order), perm=order)

    def pick(self, fits: Callable[[Shape], bool]) -> str:
        """One of the values that fit, mostly a late one; "" where there is none."""
        found = [name for name, shape in self.values.items() if fits(shape)]
        return found[-min(len(found), int(self.rng.geometric(0.35)))] if found else ""

    def pick_rows(self) -> str:
        return self.pick(lambda shape: shape[:-1] in ((B, K), (EVERY,)))

    def pick_heads(self) -> str:
        return self.pick(lambda shape: len(shape) == 4 and shape[0] == B and shape[2] == K)

    # --- operations; each does nothing where no value fits

    def product(self) -> None:
        if left := self.pick_rows():
            shape, wide = self.values[left], int(self.rng.choice([6, 6, 12]))
            turned = bool(self.rng.random() < 0.5)
            content = self.rng.normal(0, 0.4, (wide, shape[-1]) if turned else (shape[-1], wide))
            right, result = self.constant(content), (*shape[:-1], wide)
            if len(shape) == 2 and self.rng.random() < 0.7:
                bias = [self.constant(self.rng.normal(size=wide))] if self.rng.random() < 0.5 else []
                numbers = {key: float(self.rng.choice([1.0, -0.5])) for key in ("alpha", "beta")}
                made = self.add("Gemm", [left, right, *bias], result, transB=int(turned), **numbers)
                self.add("Add", [made, self.pick(lambda other: other == result)], result)
            else:
                self.values[right] = tuple(content.shape)
                right = self.turn(right, [1, 0]) if turned else right
                self.add("MatMul", [left, right], result)

    def pointwise(self) -> None:
        name = self.pick(lambda _: True)
        kind = str(self.rng.choice(["Tanh", "Gelu", "Neg", "Softmax", "LayerNormalization"]))
        more = [self.constant(1.0 + self.rng.random(SIZES.get(str(self.values[name][-1]), self.values[name][-1])))]
        self.add(kind, [name, *(more if kind == "LayerNormalization" else [])], self.values[name])

    def split(self) -> None:
        if name := self.pick(lambda shape: len(shape) == 3 and shape[:2] == (B, K) and shape[2] in (6, 12)):
            heads = int(self.rng.choice([2, 3]))
            seen = self.reshape(name, (B, K, heads, int(self.values[name][2]) // heads))
            self.turn(seen, [0, 2, 1, 3] if self.rng.random() < 0.7 else [0, 2, 3, 1])

    def join(self) -> None:
        if name := self.pick_heads():
            _, heads, _, features = self.values[name]
            if isinstance(heads, int) and isinstance(features, int):
                rows = self.turn(name, [0, 2, 1, 3])
                self.reshape(rows, ((B, K) if self.rng.random() < 0.7 else (EVERY,)) + (heads * features,))

    def attend(self) -> None:
        if left := self.pick_heads():
            shape = self.values[left]
            right = self.pick(lambda other: len(other) == 4 and other[:2] == shape[:2] and other[2] == shape[3])
            right = right or self.turn(left, [0, 1, 3, 2])
            self.add("MatMul", [left, right], (*shape[:3], self.values[right][3]))

    def flat(self) -> None:
        if name := self.pick_rows():
            shape = self.values[name]
            self.reshape(name, (EVERY, shape[-1]) if len(shape) == 3 else (B, K, shape[-1]))

    def add_up(self) -> None:
        one = self.pick(lambda _: True)
        other = self.pick(lambda shape: shape == self.values[one])
        self.add(str(self.rng.choice(["Add", "Add", "Mul"])), [one, other], self.values[one])

    def scale(self) -> None:
        name = self.pick(lambda _: True)
        number = self.constant(np.full((1,) * int(self.rng.integers(0, 2)), self.rng.normal()))
        self.add("Mul", [name, number] if self.rng.random() < 0.5 else [number, name], self.values[name])

    def by_labels(self) -> None:
        if name := self.pick(lambda shape: len(shape) == 3 and shape[0] == B):
            self.add("Mul", [name, "labels"], self.values[name])

    def outer(self) -> None:
        one, other = (self.pick(lambda shape: len(shape) == 2 and shape[0] == EVERY) for _ in range(2))
        if one:
            self.add("MatMul", [self.turn(one, [1, 0]), other], (self.values[one][1], self.values[other][1]))

    def reduce(self) -> None:
        if name := self.pick_rows():
            shape, kept = self.values[name], int(self.rng.random() < 0.5)
            axes = list(range(len(shape) - 1)) if self.rng.random() < 0.5 else [-1]
            result = (*shape[:-1], 1) if axes == [-1] else (*(1,) * len(axes), shape[-1])[0 if kept else len(axes) :]
            kept = 1 if axes == [-1] else kept
            self.add("ReduceSum", [name, self.constant(axes, np.int64)], result, keepdims=kept)

    def gelu(self) -> None:
        """GELU, and a value times its slope."""
        if x := self.pick_rows():
            shape = self.values[x]
            by = lambda value, op, number: self.add(op, [value, self.constant(number)], shape)
            mul = lambda one, other: self.add("Mul", [one, other], shape)
            error = self.add("Erf", [by(x, "Mul", 0.5**0.5)], shape)
            cumulative = by(by(error, "Add", 1.0), "Mul", 0.5)
            bell = self.add("Exp", [by(mul(x, x), "Mul", -0.5)], shape)
            rest = mul(x, by(bell, "Mul", (2 * np.pi) ** -0.5))
            slope = self.add("Add", [cumulative, rest], shape)
            mul(self.pick(lambda other: other == shape), slope)
            self.add("Gelu", [x], shape)

    # --- both forms

    def model(self) -> onnx.ModelProto:
        """With some of its values as outputs, the last one among them."""
        made = [node.output[0] for node in self.nodes]
        outputs = sorted({made[-1], *self.rng.choice(made, int(self.rng.integers(0, 6))).tolist()})
        told = lambda name: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, list(self.values[name]))
        mask = helper.make_tensor_value_info("attention_mask", onnx.TensorProto.INT64, [B, K])
        graph = helper.make_graph(
            self.nodes, "g", [mask, *map(told, self.inputs)], list(map(told, outputs)), self.constants
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)

    def optimised(self, model: onnx.ModelProto) -> onnx.ModelProto:
        held = ir.from_proto(model)
        for value in held.graph.initializers.values():
            value.shape, value.dtype = value.const_value.shape, value.const_value.dtype
        for node in held.graph:
            (output,) = node.outputs
            output.shape, output.dtype = ir.Shape(self.values[str(output.name)]), ir.DataType.FLOAT
        optimise(held)
        return ir.to_proto(held)


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


@pytest.mark.parametrize("first", range(0, 5 * GRAPHS, GRAPHS))
def test_a_random_graph_computes_the_same(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for room in ("products", "sums"):  # matrices of a real model are larger
        monkeypatch.setattr(f"edge_adapt.exporters.{room}.SMALLEST", 2)
    for seed in range(first, first + GRAPHS):
        graph = Graph(seed)
        model = graph.model()
        rng = np.random.default_rng(seed)
        draw = lambda shape: rng.normal(size=[SIZES.get(str(e), e) for e in shape]).astype(np.float32)  # noqa: B023
        feeds = {name: draw(shape) for name, shape in graph.inputs.items()}
        feeds["attention_mask"] = np.ones((SIZES[B], SIZES[K]), np.int64)
        before = run(model, feeds)
        after = run(graph.optimised(model), feeds)
        for one, other in zip(before, after, strict=True):
            assert one.shape == other.shape, f"graph {seed}"
            size = np.abs(one).max(initial=1.0)
            np.testing.assert_allclose(other / size, one / size, atol=3e-4, err_msg=f"graph {seed}")
