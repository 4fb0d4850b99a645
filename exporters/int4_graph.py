"""Store the frozen matrices of a graph as codes of 4 bits (`int4`), in plain ONNX.

A product with a matrix becomes Mul (factors of what is summed up), DequantizeLinear in blocks, MatMul, Mul (factors of
the result). Both directions of a training graph are made from one stored copy of codes and scales: the transposed codes
and the scales of every column are made when onnxruntime opens the graph, which also joins DequantizeLinear and MatMul
to a product that keeps the codes. Where a runtime does not do that, it multiplies out one matrix at a time.

A row of an embedding is looked up as bytes of two codes and multiplied out afterwards.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from .editing import Editor, Extent, attribute, constant, extents, replace
from .int4 import GROUP, LOWEST, SMALLEST, TILE, Codes, Matrix, Table, digest

OPSET = 21
"""The first with codes of 4 bits. Of the operators that graphs use, none means anything else than in 20."""


def store_codes(model: ir.Model, codes: Codes) -> None:
    """Store every constant that is a matrix or table of `codes` as such, in place. Products with a matrix and rows of a
    table are rewritten; where one is used in another way, it stays beside them as it is.
    """
    graph = model.graph
    edit = Editor(graph)
    stored: dict[int, _Stored] = {}
    for value in list(graph.initializers.values()):
        array = constant(value)
        if array is None or array.dtype != np.float32 or array.ndim != 2 or array.size < SMALLEST:
            continue
        as_it_is = codes.get(digest(array))
        found = as_it_is or codes.get(digest(array.T))
        if isinstance(found, Matrix):
            matrix = stored.setdefault(id(found), _Stored(edit, str(value.name), found))
            for use in list(value.uses()):
                matrix.take_over(use.node, use.idx, as_it_is is None)
        elif isinstance(found, Table) and as_it_is is not None:
            _look_up_codes(edit, value, found)
        if not value.uses() and not value.is_graph_output():
            graph.initializers.pop(str(value.name))
    model.opset_imports[""] = max(OPSET, model.opset_imports[""])


def count(model: ir.Model) -> dict[str, int]:
    """Frozen numbers of a graph that are held in 4 bits, and those in float32."""
    arrays = [value for value in model.graph.initializers.values() if not value.is_graph_input() and extents(value)]
    size = lambda value: math.prod(extent for extent in extents(value) or () if isinstance(extent, int))
    held = {kind: sum(size(value) for value in arrays if value.dtype == kind) for kind in _KINDS}
    return {"int4_numbers": held[ir.DataType.INT4] + 2 * held[ir.DataType.UINT8], "float32_numbers": held[_FLOAT]}


_FLOAT = ir.DataType.FLOAT
_KINDS = (ir.DataType.INT4, ir.DataType.UINT8, _FLOAT)


class _Stored:
    """One matrix in a graph: its initialisers, and the operands of either direction, each made when first needed."""

    def __init__(self, edit: Editor, name: str, matrix: Matrix) -> None:
        self.edit, self.name, self.matrix = edit, name, matrix
        self._operands: dict[bool, tuple[ir.Value, ir.Value]] = {}
        self._made: dict[str, ir.Value] = {}

    def take_over(self, node: ir.Node, place: int, turned: bool) -> None:
        """Rewrite a product with the matrix, or with its transpose (`turned`), on the right; leave other nodes."""
        if node.op_type not in ("MatMul", "Gemm") or place != 1:
            return
        left, right = node.inputs[:2]
        if left is None or left is right:
            return
        if attribute(node, "transA", 0) or attribute(node, "beta", 1.0) != 1.0:  # no pass makes such a product
            return
        forward = bool(turned) != bool(attribute(node, "transB", 0))  # X @ W.T
        rows, columns = self.matrix.rows, self.matrix.columns
        before, after = (columns, rows) if forward else (rows, columns)
        shape, edit = extents(node.outputs[0]), self.edit
        codes, scales = self._operands_of(forward)
        scaled = edit.add(node, "Mul", [left, self._vector(before)], extents(left))
        number = edit.add(
            node, "DequantizeLinear", [codes, scales], (len(before), len(after)), {"axis": 0, "block_size": TILE}
        )
        product = edit.add(node, "MatMul", [scaled, number], shape)
        alpha = np.float32(attribute(node, "alpha", 1.0))
        result = edit.add(node, "Mul", [product, self._vector(alpha * after)], shape)
        if len(node.inputs) > 2 and node.inputs[2] is not None:
            result = edit.add(node, "Add", [result, node.inputs[2]], shape)
        replace(node.outputs[0], result)
        edit.graph.remove(node, safe=True)

    def _operands_of(self, forward: bool) -> tuple[ir.Value, ir.Value]:
        """Codes (summed up, kept) and scales (summed up / 16, kept). Stored are those of the forward product."""
        if forward not in self._operands:
            out, inner = self.matrix.codes.shape
            codes = self._initializer("codes", self.matrix.codes.T, ir.DataType.INT4)
            tiles = self._initializer("tiles", self.matrix.tiles.T, _FLOAT)
            summed, kept = (inner, out) if forward else (out, inner)
            if not forward:
                codes = self._first("Transpose", [codes], (summed, kept), {"perm": [1, 0]}, ir.DataType.INT4)
                tiles = self._first("Transpose", [tiles], (summed // TILE, kept // TILE), {"perm": [1, 0]})
            blocks, target = (summed // TILE, kept // TILE, TILE), (summed // TILE, kept)
            column = self._first("Unsqueeze", [tiles, self.edit.constant([-1])], (*blocks[:2], 1))
            spread = self._first("Expand", [column, self.edit.constant(blocks)], blocks)
            self._operands[forward] = codes, self._first("Reshape", [spread, self.edit.constant(target)], target)
        return self._operands[forward]

    def _first(
        self,
        op: str,
        inputs: Sequence[ir.Value],
        shape: Sequence[Extent],
        attributes: Mapping[str, object] | None = None,
        dtype: ir.DataType = _FLOAT,
    ) -> ir.Value:
        """A node in front of all others that are there already, but behind those that were added so."""
        made = inputs[0].producer()
        before = next(iter(self.edit.graph)) if made is None else _next(self.edit.graph, made)
        return self.edit.add(before, op, inputs, shape, attributes, dtype)

    def _vector(self, numbers: np.ndarray) -> ir.Value:
        return self.edit.constant(numbers, np.float32)

    def _initializer(self, kind: str, array: np.ndarray, dtype: ir.DataType) -> ir.Value:
        if kind not in self._made:
            self._made[kind] = _initializer(self.edit, f"{self.name}.{kind}", array, dtype)
        return self._made[kind]


def _next(graph: ir.Graph, node: ir.Node) -> ir.Node:
    """The node behind another one."""
    following = iter(graph)
    for found in following:
        if found is node:
            break
    return next(following)


def _look_up_codes(edit: Editor, value: ir.Value, table: Table) -> None:
    """Rows of a table: bytes of two codes, the codes, and their scales. `nibbles` says how they lie."""
    uses = [use.node for use in value.uses() if use.node.op_type == "Gather" and use.idx == 0]
    uses = [node for node in uses if attribute(node, "axis", 0) == 0]
    if not uses:
        return
    packed = _initializer(edit, f"{value.name}.codes", table.nibbles(), ir.DataType.UINT8)
    scales = _initializer(edit, f"{value.name}.scales", table.scales, _FLOAT)
    width, groups, byte = table.codes.shape[1], table.scales.shape[1], ir.DataType.UINT8
    for node in uses:
        rows, shape = node.inputs[1], extents(node.outputs[0])
        assert shape is not None
        lead = shape[:-1]
        bytes_ = edit.add(node, "Gather", [packed, rows], (*lead, width // 2), {"axis": 0}, byte)
        low = edit.add(node, "BitwiseAnd", [bytes_, edit.constant(15, np.uint8)], (*lead, width // 2), dtype=byte)
        four = edit.constant(4, np.uint8)
        high = edit.add(node, "BitShift", [bytes_, four], (*lead, width // 2), {"direction": "RIGHT"}, byte)
        both = edit.add(node, "Concat", [low, high], shape, {"axis": -1}, byte)
        number = edit.add(node, "Cast", [both], shape, {"to": _FLOAT})
        code = edit.add(node, "Add", [number, edit.constant(LOWEST, np.float32)], shape)
        same = [0] * len(lead)
        grouped = edit.add(node, "Reshape", [code, edit.constant([*same, groups, GROUP])], (*lead, groups, GROUP))
        scale = edit.add(node, "Gather", [scales, rows], (*lead, groups), {"axis": 0})
        column = edit.add(node, "Unsqueeze", [scale, edit.constant([-1])], (*lead, groups, 1))
        product = edit.add(node, "Mul", [grouped, column], (*lead, groups, GROUP))
        replace(node.outputs[0], edit.add(node, "Reshape", [product, edit.constant([*same, width])], shape))
        edit.graph.remove(node, safe=True)


def _initializer(edit: Editor, name: str, array: np.ndarray, dtype: ir.DataType) -> ir.Value:
    """A constant of the graph, of a type that numpy may not have."""
    content = np.ascontiguousarray(array).astype(dtype.numpy())
    value = ir.Value(name=edit.name(name), const_value=ir.Tensor(content, dtype=dtype))
    value.shape, value.dtype = ir.Shape(array.shape), dtype
    edit.graph.initializers.add(value)
    return value
