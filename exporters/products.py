"""Products with frozen matrices: one stored layout for both directions, and sums folded into them.

A training graph multiplies with W going forward and with its transpose going backward. Each matrix is stored once, with
its shorter extent first, S (narrow, wide), and stands on the right of both products:

    narrow -> wide   Y = X S       (MatMul)
    wide -> narrow   Y = X S^T     (Gemm with transB)

onnxruntime packs a constant right operand when it opens the graph, for each direction, and gives back the file's pages
where nothing else reads them: in memory are then two packed copies and no third. Products of few tokens are much faster
for it than those that read a matrix as it lies in the file, on the right or on the left. With packing switched off in
the session, the mapped file is the only copy of the weights.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from .editing import Editor, Extent, constant, dependents, extents, permutation, replace

SMALLEST = 4096
"""Numbers in a matrix below which its layout does not matter."""


def place_weights(model: ir.Model) -> None:
    """Give every frozen matrix one layout, and put it on the right of its products, in place."""
    graph = model.graph
    edit = Editor(graph)
    matrices = _Matrices(graph)
    backward = dependents(graph, [value for value in graph.inputs if value.name == "labels"])
    for node in list(graph):
        if node.op_type != "MatMul" or len(extents(node.inputs[0]) or ()) != 2:
            continue
        left, right = node.inputs
        found = matrices.find(right)
        if found is None or left is None:
            continue
        matrix, turned = found  # the product is X @ M, with M = matrix or its transpose
        rows, columns = matrix.shape if not turned else matrix.shape[::-1]
        result = node.outputs[0]
        count = (extents(left) or (None,))[0]
        if rows < columns or (rows == columns and result not in backward):
            stored = matrices.stored(matrix, turned)
            replace(result, edit.add(node, "MatMul", [left, stored], [count, columns]))
        else:
            stored = matrices.stored(matrix, not turned)
            replace(result, edit.add(node, "Gemm", [left, stored], [count, columns], {"transB": 1}))


@dataclass(eq=False)
class _Matrix:
    """A frozen matrix as the model has it; `layouts` are its initialisers, as it is and transposed."""

    name: str
    shape: tuple[int, int]
    layouts: dict[bool, ir.Value]


class _Matrices:
    """The large constant matrices of a graph. A matrix and its transpose are one, wherever either was made."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self._by_value: dict[ir.Value, tuple[_Matrix, bool]] = {}
        by_content: dict[str, _Matrix] = {}
        for value in list(graph.initializers.values()):
            shape = extents(value) or ()
            array = constant(value) if len(shape) == 2 else None
            if array is None or array.dtype != np.float32 or array.size < SMALLEST:
                continue
            turned = by_content.get(_digest(array.T))
            same = by_content.get(_digest(array))
            if same is not None:
                self._by_value[value] = (same, False)
            elif turned is not None:
                self._by_value[value] = (turned, True)
                turned.layouts.setdefault(True, value)
            else:
                matrix = _Matrix(str(value.name), (array.shape[0], array.shape[1]), {False: value})
                by_content[_digest(array)] = matrix
                self._by_value[value] = (matrix, False)

    def find(self, value: ir.Value | None) -> tuple[_Matrix, bool] | None:
        """The matrix behind a value, and whether the value is its transpose."""
        if value in self._by_value:
            return self._by_value[value]
        maker = value.producer() if value is not None else None
        if maker is not None and permutation(maker) == (1, 0) and maker.inputs[0] in self._by_value:
            matrix, turned = self._by_value[maker.inputs[0]]
            return matrix, not turned
        return None

    def stored(self, matrix: _Matrix, turned: bool) -> ir.Value:
        """The initialiser that holds the matrix, or its transpose."""
        if turned not in matrix.layouts:
            (other,) = matrix.layouts.values()
            array = constant(other)
            assert array is not None
            value = ir.Value(name=f"{matrix.name}.transposed")
            value.const_value = ir.tensor(np.ascontiguousarray(array.T), name=value.name)
            value.shape, value.dtype = ir.Shape(array.shape[::-1]), ir.DataType.FLOAT
            self.graph.initializers.add(value)
            matrix.layouts[turned] = value
        return matrix.layouts[turned]


def _digest(array: np.ndarray) -> str:
    return f"{array.shape}{hashlib.sha256(array.tobytes()).hexdigest()}"


def fold_sums(model: ir.Model) -> None:
    """Let products add up what is added to them: Gemm starts from its third operand instead of from zero."""
    graph = model.graph
    edit = Editor(graph)
    for node in list(graph):
        if node.op_type == "Add" and not _inside_sum(node.outputs[0]):
            terms = list(_terms(node))
            if any(_product(term, extents(node.outputs[0])) is not None for term in terms):
                _rebuild(edit, node, terms)


def _inside_sum(value: ir.Value) -> bool:
    """Whether a value is only a part of a larger sum."""
    uses = value.uses()
    return len(uses) == 1 and not value.is_graph_output() and all(_is_row_sum(use.node) for use in uses)


def _is_row_sum(node: ir.Node) -> bool:
    shape = extents(node.outputs[0])
    return node.op_type == "Add" and shape is not None and len(shape) == 2


def _terms(node: ir.Node) -> Iterator[ir.Value]:
    """What a tree of additions adds up."""
    for value in node.inputs:
        assert value is not None
        maker = value.producer()
        if maker is not None and _is_row_sum(maker) and _inside_sum(value):
            yield from _terms(maker)
        else:
            yield value


def _product(value: ir.Value, shape: tuple[Extent, ...] | None) -> ir.Node | None:
    """The product of two matrices that makes a term and nothing else. It has the `shape` of the sum: Gemm spreads what
    it starts from, not what it multiplies.
    """
    maker = value.producer()
    if maker is None or len(value.uses()) != 1 or value.is_graph_output() or len(maker.inputs) != 2:
        return None
    if shape is None or extents(value) != shape:
        return None
    if maker.op_type == "MatMul":
        return maker if all(len(extents(operand) or ()) == 2 for operand in maker.inputs) else None
    return maker if maker.op_type == "Gemm" else None


def _rebuild(edit: Editor, node: ir.Node, terms: list[ir.Value]) -> None:
    """The sum of `terms` in the place of an addition, with as many of them as possible inside products."""
    result = node.outputs[0]
    shape = extents(result)
    assert shape is not None
    products = [found for term in terms if (found := _product(term, shape)) is not None]
    others = [term for term in terms if _product(term, shape) is None]
    place = next((place for place, term in enumerate(others) if extents(term) == shape[1:]), None)
    vector = None if place is None else others.pop(place)
    rest: ir.Value | None = None
    for term in others:
        rest = term if rest is None else edit.add(node, "Add", [rest, term], shape)
    total = vector if vector is not None else rest
    for product in products:
        # Of two operands a Gemm may have a beta, which meant nothing so far.
        attributes = {name: item.value for name, item in product.attributes.items() if name != "beta"}
        total = edit.add(node, "Gemm", [*product.inputs, *([] if total is None else [total])], shape, attributes)
        if vector is not None and rest is not None:
            total, rest = edit.add(node, "Add", [total, rest], shape), None
    assert total is not None
    replace(result, total)
