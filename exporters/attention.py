"""Products of attention in four dimensions, as attention has them, without the reshapes a tracer puts around them.

A tracer writes a product over (batch, heads) as one over their joint extent, with four reshapes. And it moves the key
to (batch, heads, features, tokens), number by number; moving whole rows to (batch, heads, tokens, features) costs a
fraction, and the product reads a transposed operand as fast as a straight one.
"""

import numpy as np
import onnx_ir as ir

from .editing import Editor, Extent, constant, extents, permutation, replace

MASKED = -40.0
"""What is added to the score of a padded key. It is a copy of a real key's (`rows`), so its weight is at most
exp(-40) = 4e-18 of the largest one in its row: nothing that float32 could hold beside it. With the tracer's -3e38
onnxruntime computes weights below 1e-38, not quite zero, and everything they touch takes ten times as long.
"""

_LAST_TWO = {3: (0, 2, 1), 4: (0, 1, 3, 2)}


def unfold_attention(model: ir.Model) -> None:
    """Rewrite the batched products of a graph, in place."""
    edit = Editor(model.graph)
    for node in list(model.graph):
        _split_transpose(edit, node)
    for node in list(model.graph):
        if node.op_type == "MatMul":
            _unfold(edit, node)
    for node in list(model.graph):
        _transpose_product(edit, node)


def _split_transpose(edit: Editor, node: ir.Node) -> None:
    """(batch, tokens, heads, features) to (batch, heads, features, tokens), in two steps: the second is free."""
    if permutation(node) == (0, 2, 3, 1):
        result = node.outputs[0]
        shape = extents(result)
        assert shape is not None
        middle = (shape[0], shape[1], shape[3], shape[2])
        rows = edit.add(node, "Transpose", [node.inputs[0]], middle, {"perm": [0, 2, 1, 3]}, result.dtype)
        replace(result, edit.add(node, "Transpose", [rows], shape, {"perm": _LAST_TWO[4]}, result.dtype))


def _unfold(edit: Editor, node: ir.Node) -> None:
    """A product of two reshaped operands whose result is reshaped back, without the reshapes."""
    result = node.outputs[0]
    operands = [_unfolded(edit, node, value) for value in node.inputs]
    if any(operand is None for operand in operands) or result.is_graph_output():
        return
    left, right = (extents(operand) for operand in operands)
    assert left is not None and right is not None
    shape: tuple[Extent, ...] = (*left[:2], left[2], right[3])
    targets = [use.node.outputs[0] for use in result.uses() if use.node.op_type == "Reshape"]
    if len(targets) != len(result.uses()) or any(extents(target) != shape for target in targets):
        return
    product = edit.add(node, "MatMul", operands, shape)
    for target in targets:
        replace(target, product)


def _unfolded(edit: Editor, node: ir.Node, value: ir.Value | None) -> ir.Value | None:
    """The four-dimensional value behind a three-dimensional operand, None when there is none."""
    maker = value.producer() if value is not None else None
    turned = permutation(maker) == _LAST_TWO[3]
    if turned and maker is not None and maker.inputs[0] is not None:
        maker = maker.inputs[0].producer()
    if maker is None or maker.op_type != "Reshape":
        return None
    source = maker.inputs[0]
    long, short = extents(source), extents(maker.outputs[0])
    if source is None or long is None or short is None or len(long) != 4 or long[2:] != short[1:]:
        return None
    if turned:
        return edit.add(node, "Transpose", [source], (*long[:2], long[3], long[2]), {"perm": _LAST_TWO[4]})
    return source


def _transpose_product(edit: Editor, node: ir.Node) -> None:
    """A B moved from (batch, heads, features, tokens) to (batch, tokens, heads, features) is B^T A^T moved by rows."""
    maker = node.inputs[0].producer() if node.op_type == "Transpose" and node.inputs[0] is not None else None
    if permutation(node) != (0, 3, 1, 2) or maker is None or maker.op_type != "MatMul":
        return
    if len(maker.outputs[0].uses()) != 1:
        return
    operands = []
    for value in reversed(maker.inputs):
        shape = extents(value)
        if value is None or shape is None or len(shape) != 4:
            return
        turned = (*shape[:2], shape[3], shape[2])
        origin = value.producer()
        if permutation(origin) == _LAST_TWO[4] and origin is not None:
            operands.append(origin.inputs[0])
        else:
            operands.append(edit.add(node, "Transpose", [value], turned, {"perm": _LAST_TWO[4]}))
    shape = extents(maker.outputs[0])
    assert shape is not None
    product = edit.add(node, "MatMul", operands, (*shape[:2], shape[3], shape[2]))
    result = node.outputs[0]
    replace(result, edit.add(node, "Transpose", [product], extents(result), {"perm": [0, 2, 1, 3]}))


def soften_masks(model: ir.Model) -> None:
    """Let masks push scores down by `MASKED` instead of out of the range of numbers, in place."""
    edit = Editor(model.graph)
    for node in list(model.graph):
        maker = node.inputs[0].producer() if node.op_type == "Softmax" and node.inputs[0] is not None else None
        for value in maker.inputs if maker is not None and maker.op_type == "Add" else ():
            mask = value.producer() if value is not None else None
            if mask is not None and mask.op_type == "Where":
                for place in (1, 2):
                    array = constant(mask.inputs[place])
                    if array is not None and array.size == 1 and float(array.reshape(-1)[0]) < -1e4:
                        mask.replace_input_with(place, edit.constant(np.full(array.shape, MASKED), np.float32))
