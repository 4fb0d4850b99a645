"""Multiplications with one number, inside the products beside them: Gemm scales what it computes free of charge.

A tracer scales a whole tensor (the update of a LoRA module, and the gradient that reaches it) in a pass of its own,
and moves the scaled gradient out of attention beside the unscaled one. Here the number moves along, over whatever only
moves numbers, until it is part of a product.
"""

from collections import deque

import numpy as np
import onnx_ir as ir

from .editing import Editor, attribute, constant, extents, replace

_MOVING = ("Reshape", "Transpose", "Gather")
"""Nodes that only move what their first input holds."""


def absorb_scales(model: ir.Model) -> None:
    """Let matrix products do the multiplications with single numbers right before or after them, in place."""
    edit = Editor(model.graph)
    waiting = deque(node for node in model.graph if node.op_type == "Mul")
    while waiting:
        node = waiting.popleft()
        found = scaled(node)
        if found is None or None in (extents(found[0]), extents(node.outputs[0])):
            continue
        source, number = found
        if extents(node.outputs[0]) != extents(source):
            continue  # the number has more extents
        maker = source.producer()
        alone = len(source.uses()) == 1 and not source.is_graph_output()
        if maker is not None and is_product(maker) and alone and len(maker.inputs) == 2:
            replace(node.outputs[0], _product(edit, maker, list(maker.inputs), number))
        elif absorbs(node.outputs[0]):
            waiting.extend(_push(edit, node, source, number))


def scaled(node: ir.Node) -> tuple[ir.Value, float] | None:
    """What a node multiplies with a constant number, and the number."""
    for source, other in (node.inputs, reversed(node.inputs)) if node.op_type == "Mul" else ():
        array = constant(other)
        if source is not None and array is not None and array.size == 1 and array.dtype == np.float32:
            return source, float(array.reshape(-1)[0])
    return None


def absorbs(value: ir.Value) -> bool:
    """Whether all that uses a value are products of matrices, or moves it to such."""
    return (
        bool(value.uses())
        and not value.is_graph_output()
        and all(
            (is_product(use.node) and use.idx < 2 and [*use.node.inputs].count(value) == 1)
            or (use.node.op_type in _MOVING and use.idx == 0 and absorbs(use.node.outputs[0]))
            for use in value.uses()
        )
    )


def _push(edit: Editor, node: ir.Node, source: ir.Value, number: float) -> list[ir.Node]:
    """Move a multiplication over what uses it; returns the multiplications that stand there now."""
    moved = []
    for use in list(node.outputs[0].uses()):
        after, result = use.node, use.node.outputs[0]
        inputs = [source if index == use.idx else value for index, value in enumerate(after.inputs)]
        if is_product(after):
            replace(result, _product(edit, after, inputs, number))
            continue
        attributes = {name: item.value for name, item in after.attributes.items()}
        shape = extents(result)
        plain = edit.add(after, after.op_type, inputs, shape, attributes)
        again = edit.add(after, "Mul", [plain, edit.constant(number, np.float32)], shape)
        replace(result, again)
        maker = again.producer()
        assert maker is not None
        moved.append(maker)
    return moved


def is_product(node: ir.Node) -> bool:
    """Whether a node is a product of two matrices."""
    if node.op_type == "Gemm":
        return True
    return node.op_type == "MatMul" and all(len(extents(value) or ()) == 2 for value in node.inputs)


def _product(edit: Editor, node: ir.Node, inputs: list[ir.Value | None], number: float) -> ir.Value:
    """The product of a node, its matrices' part multiplied with a number."""
    attributes = {name: item.value for name, item in node.attributes.items()}
    attributes["alpha"] = number * attribute(node, "alpha", 1.0)
    return edit.add(node, "Gemm", inputs, extents(node.outputs[0]), attributes)
