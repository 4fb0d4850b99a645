"""Passes that only make a graph smaller: what is computed stays the same, bit for bit."""

import onnx_ir as ir
from onnx_ir.passes import common

from .editing import Editor, extents, integers, permutation, replace

_SHAPING = ("Reshape", "Squeeze", "Unsqueeze")


def simplify(model: ir.Model) -> None:
    """Drop reshapes of reshapes, products with expanded matrices, equal nodes computed twice, and unused nodes."""
    matrices_without_batch(model.graph)
    merge_reshapes(model.graph)
    tidy(model)


def tidy(model: ir.Model) -> None:
    """Equal nodes once, unused nodes and initialisers not at all."""
    for remove in (
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.DeduplicateInitializersPass(size_limit=1 << 20),
        common.RemoveUnusedNodesPass(),
    ):
        remove(model)


def forget_origins(model: ir.Model) -> None:
    """Remove the tracer's remarks (source lines, module paths): several times the size of the graph itself."""
    common.ClearMetadataAndDocStringPass()(model)
    for value in (*model.graph.inputs, *model.graph.initializers.values(), *_outputs(model.graph)):
        value.metadata_props.clear()
    model.metadata_props.clear()
    model.graph.metadata_props.clear()


def _outputs(graph: ir.Graph) -> list[ir.Value]:
    return [output for node in graph for output in node.outputs]


def matrices_without_batch(graph: ir.Graph) -> None:
    """X @ expand(W) over a batch is X @ W: MatMul broadcasts by itself. So with the transpose of such an expansion."""
    edit = Editor(graph)
    for node in list(graph):
        if node.op_type != "MatMul":
            continue
        operand = node.inputs[1]
        assert operand is not None
        maker = operand.producer()
        turned = permutation(maker) == (0, 2, 1)
        if turned and maker is not None and maker.inputs[0] is not None:
            maker = maker.inputs[0].producer()
        if maker is None or maker.op_type != "Expand":
            continue
        matrix = maker.inputs[0]
        shape = extents(matrix)
        if matrix is None or shape is None or len(shape) != 2 or shape != (extents(maker.outputs[0]) or ())[-2:]:
            continue
        if turned:
            matrix = edit.add(node, "Transpose", [matrix], shape[::-1], {"perm": [1, 0]}, matrix.dtype)
        node.replace_input_with(1, matrix)


def merge_reshapes(graph: ir.Graph) -> None:
    """A reshape of a reshape is one reshape, one to the same shape is none, and a transpose that moves only extents of
    1 is one too.
    """
    edit = Editor(graph)
    for node in list(graph):
        _transpose_as_reshape(edit, node)
    for node in list(graph):
        if node.op_type not in _SHAPING:
            continue
        source, result = node.inputs[0], node.outputs[0]
        assert source is not None
        origin, moved = source, False
        while (maker := origin.producer()) is not None and maker.op_type in _SHAPING and maker.inputs[0] is not None:
            origin, moved = maker.inputs[0], True
        shape = extents(result)
        if shape is not None and None not in shape and shape == extents(origin) and not result.is_graph_output():
            replace(result, origin)
        elif moved and node.op_type == "Reshape" and 0 not in (integers(node.inputs[1]) or ()):
            node.replace_input_with(0, origin)
        elif moved and shape is not None and all(isinstance(extent, int) for extent in shape):
            replace(result, edit.add(node, "Reshape", [origin, edit.constant(list(shape))], shape, dtype=result.dtype))


def _transpose_as_reshape(edit: Editor, node: ir.Node) -> None:
    order = permutation(node)
    shape = extents(node.inputs[0])
    if order is None or shape is None or not all(isinstance(extent, int) for extent in shape):
        return
    long = [axis for axis in order if shape[axis] != 1]
    if long == sorted(long):
        target = [shape[axis] for axis in order]
        reshaped = edit.add(
            node, "Reshape", [node.inputs[0], edit.constant(target)], target, dtype=node.outputs[0].dtype
        )
        replace(node.outputs[0], reshaped)
