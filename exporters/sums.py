"""Weighted sums of constant tensors (a pool's modules), read where they lie in the file.

A tracer writes the sum of K tensors as (1, 1, K) times a reshaped constant (1, K, n), and its gradient as (1, 1, n)
times the transpose of that. onnxruntime would compute both constants when it opens the graph and keep them beside the
file. Here the constant is stored in the shape it is used in, and stands on the left for the gradient: (1, K, n) times
(1, n, 1), which is faster than the product with the transpose, too.
"""

import onnx_ir as ir

from .editing import Editor, constant, extents, permutation, replace
from .products import SMALLEST


def read_in_place(model: ir.Model) -> None:
    """Rewrite the weighted sums of a graph, in place."""
    edit = Editor(model.graph)
    for node in list(model.graph):
        if node.op_type == "Reshape":
            _stored_as_used(edit, node)
    for node in list(model.graph):
        if node.op_type == "MatMul":
            _constant_on_the_left(edit, node)


def _stored_as_used(edit: Editor, node: ir.Node) -> None:
    """A reshaped constant is a constant of that shape; `write_weights` stores equal contents once."""
    source, result = node.inputs[0], node.outputs[0]
    array, shape = constant(source), extents(result)
    if source is None or array is None or array.size < SMALLEST or shape is None or result.is_graph_output():
        return
    fixed = [extent for extent in shape if isinstance(extent, int)]
    if len(fixed) == len(shape):
        value = ir.Value(name=edit.name(f"{source.name}.reshaped"))
        value.const_value = ir.tensor(array.reshape(fixed), name=value.name)
        value.shape, value.dtype = ir.Shape(fixed), ir.DataType.from_numpy(array.dtype)
        edit.graph.initializers.add(value)
        replace(result, value)


def _constant_on_the_left(edit: Editor, node: ir.Node) -> None:
    """A row (1, 1, n) times the transpose of a constant (1, K, n)."""
    row, right = node.inputs
    maker = right.producer() if right is not None else None
    if permutation(maker) != (0, 2, 1) or maker is None:
        return
    table, shape = maker.inputs[0], extents(maker.inputs[0])
    if constant(table) is None or shape is None or shape[0] != 1 or extents(row) != (1, 1, shape[2]):
        return
    column = edit.add(node, "Reshape", [row, edit.constant([1, -1, 1])], (1, shape[2], 1))
    product = edit.add(node, "MatMul", [table, column], (1, shape[1], 1))
    result = node.outputs[0]
    replace(result, edit.add(node, "Reshape", [product, edit.constant([1, 1, -1])], extents(result)))
