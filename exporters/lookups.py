"""Gradients of values looked up by an index, without a scatter.

onnxruntime's threads add numbers with the same index in any order: gradients would differ from run to run. A value
looked up along the last extent is a product with a matrix of ones and zeros, and so is its gradient, whose order of
sums is fixed. DeBERTa looks the scores of distances between tokens up this way; the same matrix serves all examples and
heads, and as the index is a function of the distance, all rows of a text, too (`distances`).
"""

import numpy as np
import onnx_ir as ir

from .distances import depends_on_distance, sums_by_distance
from .editing import Editor, attribute, constant, extents, replace


def scatter_by_products(model: ir.Model) -> None:
    """Rewrite sums by index along the last extent, in place; others stay, and are refused by `bundle.check_graph`."""
    edit = Editor(model.graph)
    for node in list(model.graph):
        if node.op_type == "ScatterElements" and attribute(node, "reduction", "none") == "add":
            _by_product(edit, node)


def _by_product(edit: Editor, node: ir.Node) -> None:
    """zeros (.., i, P), index (.., i, j), values (.., i, j): values (.., i, 1, j) times [index = p] (.., i, j, P)."""
    start, index, values = node.inputs
    shape, given = extents(start), extents(values)
    if shape is None or given is None or index is None or attribute(node, "axis", 0) not in (-1, len(shape) - 1):
        return
    rows, places = shape[-1], _without_batch(index)
    if start is None or not _is_zero(start):
        return
    kind: type = index.dtype.numpy().type if index.dtype is not None else np.int64
    numbers = edit.constant(np.arange(rows), kind) if isinstance(rows, int) else _numbers(edit, node, start, kind)
    if values is not None and depends_on_distance(places):
        replace(node.outputs[0], sums_by_distance(edit, node, places, values, numbers, rows))
        return
    found = extents(places) or given
    column = edit.add(node, "Unsqueeze", [places, edit.constant([-1])], [*found, 1], dtype=index.dtype)
    equal = edit.add(node, "Equal", [column, numbers], [*found, rows], dtype=ir.DataType.BOOL)
    ones = edit.add(node, "Cast", [equal], [*found, rows], {"to": ir.DataType.FLOAT})
    row = edit.add(node, "Unsqueeze", [values, edit.constant([-2])], [*given[:-1], 1, given[-1]])
    product = edit.add(node, "MatMul", [row, ones], [*given[:-1], 1, rows])
    replace(node.outputs[0], edit.add(node, "Squeeze", [product, edit.constant([-2])], shape))


def _numbers(edit: Editor, node: ir.Node, value: ir.Value, kind: type) -> ir.Value:
    """0, 1, ... below the last extent of a value, which depends on the batch."""
    integer = ir.DataType.INT64
    count = edit.add(node, "Shape", [value], [1], {"start": -1}, integer)
    scalar = edit.add(node, "Squeeze", [count], [], dtype=integer)
    numbers = edit.add(node, "Range", [edit.constant(0), scalar, edit.constant(1)], [None], dtype=integer)
    same = ir.DataType.from_numpy(np.dtype(kind))
    return edit.add(node, "Cast", [numbers], [None], {"to": same}, same)


def _without_batch(index: ir.Value) -> ir.Value:
    """The index before it is repeated for every example, where it is."""
    maker = index.producer()
    if maker is None or maker.op_type != "Expand" or maker.inputs[0] is None:
        return index
    source = maker.inputs[0]
    short, long = extents(source), extents(index)
    return source if short is not None and long is not None and short[-2:] == long[-2:] else index


def _is_zero(value: ir.Value | None) -> bool:
    """Whether a value is all zeros."""
    array = constant(value)
    if array is not None:
        return not array.any()
    maker = value.producer() if value is not None else None
    if maker is not None and maker.op_type == "ConstantOfShape":
        fill = attribute(maker, "value")
        return fill is None or not fill.numpy().any()
    return maker is not None and maker.op_type == "Expand" and _is_zero(maker.inputs[0])
