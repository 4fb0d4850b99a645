"""The same functions in fewer passes over memory: gradients as a tracer writes them, and shorter ones."""

import math

import numpy as np
import onnx_ir as ir

from .cleanup import tidy
from .editing import Editor, attribute, constant, extents, integers, replace
from .scales import absorbs, is_product


def shorten_gradients(model: ir.Model) -> None:
    """Rewrite the gradients of GELU and of layer normalisation, in place."""
    edit = Editor(model.graph)
    for node in list(model.graph):
        _gelu(edit, node)
    for node in list(model.graph):
        _normalisation(edit, node)
    tidy(model)
    edit = Editor(model.graph)  # anew: tidying dropped constants that the former one would hand out
    for node in list(model.graph):
        _shared_gelu(edit, node)


def _maker(value: ir.Value | None, op: str) -> ir.Node | None:
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == op else None


def _scaled(value: ir.Value | None, op: str, number: float) -> ir.Value | None:
    """x, where the value is x combined with a constant number (in either order) by Mul or Add."""
    node = _maker(value, op)
    if node is None:
        return None
    for x, other in (node.inputs, reversed(node.inputs)):
        array = constant(other)
        if array is not None and array.size == 1 and math.isclose(array.item(), number, rel_tol=1e-5):
            return x
    return None


def _other(node: ir.Node, value: ir.Value) -> ir.Value | None:
    first, second = node.inputs
    return second if first is value else first if second is value else None


def _gelu(edit: Editor, node: ir.Node) -> None:
    """g (Phi(x) + x phi(x)), traced as g ((erf(x c) + 1) / 2 + x (k exp(-x^2 / 2))), c = 1 / sqrt(2).

    With t = c x this is h ((1 + erf(t)) + t / exp(t^2 - log(2 / sqrt(pi)))), h = g / 2, and the half goes into the
    product that makes g.
    """
    if node.op_type != "Mul" or node.outputs[0].dtype != ir.DataType.FLOAT:
        return
    for gradient, slope in (node.inputs, reversed(node.inputs)):
        x = _gelu_slope(slope)
        shape = extents(x)
        if x is None or gradient is None or shape is None or shape != extents(gradient):
            continue
        number = lambda value: edit.constant(value, np.float32)
        t = edit.add(node, "Mul", [x, number(math.sqrt(0.5))], shape)
        square = edit.add(node, "Mul", [t, t], shape)
        exponent = edit.add(node, "Sub", [square, number(math.log(2.0 / math.sqrt(math.pi)))], shape)
        bell = edit.add(node, "Div", [t, edit.add(node, "Exp", [exponent], shape)], shape)
        factor = edit.add(node, "Add", [_twice_cumulative(edit, node, t), bell], shape)
        half = _halved(edit, node, gradient)
        replace(node.outputs[0], edit.add(node, "Mul", [half, factor], shape))
        return


def _twice_cumulative(edit: Editor, before: ir.Node, t: ir.Value) -> ir.Value:
    """2 Phi(x) = 1 + erf(t)."""
    error = edit.add(before, "Erf", [t], extents(t))
    return edit.add(before, "Add", [error, edit.constant(1.0, np.float32)], extents(t))


def _shared_gelu(edit: Editor, node: ir.Node) -> None:
    """GELU and its gradient from the same t = c x and 1 + erf(t): GELU is c t (1 + erf(t)).

    The product that makes x makes t at no cost, and the products that take GELU take its c. Where one of them could
    not, everything stays.
    """
    x = node.inputs[0] if node.op_type == "Gelu" and attribute(node, "approximate", "none") == "none" else None
    maker = x.producer() if x is not None and x.dtype == ir.DataType.FLOAT else None
    if x is None or maker is None or not is_product(maker) or not absorbs(node.outputs[0]):
        return
    bias = maker.inputs[2] if len(maker.inputs) > 2 else None
    added, root = constant(bias), math.sqrt(0.5)
    others = [use.node for use in x.uses() if use.node is not node]
    if not others or any(_scaled(other.outputs[0], "Mul", root) is not x for other in others):
        return
    if any(extents(other.outputs[0]) != extents(x) for other in others):
        return
    if bias is not None and (added is None or attribute(maker, "beta", 1.0) != 1.0):
        return
    shape, attributes = extents(x), {name: item.value for name, item in maker.attributes.items()}
    attributes["alpha"] = root * attribute(maker, "alpha", 1.0)
    inputs = [*maker.inputs[:2], *([] if added is None else [edit.constant(added * np.float32(root), np.float32)])]
    t = edit.add(node, "Gemm", inputs, shape, attributes)
    for other in others:
        replace(other.outputs[0], t)
    result = edit.add(node, "Mul", [t, _twice_cumulative(edit, node, t)], shape)
    replace(node.outputs[0], edit.add(node, "Mul", [result, edit.constant(root, np.float32)], shape))


def _gelu_slope(value: ir.Value | None) -> ir.Value | None:
    """x, where the value is the derivative of GELU at x."""
    total = _maker(value, "Add")
    if total is None:
        return None
    for first, second in (total.inputs, reversed(total.inputs)):
        erf = _maker(_scaled(_scaled(first, "Mul", 0.5), "Add", 1.0), "Erf")
        x = _scaled(erf.inputs[0], "Mul", math.sqrt(0.5)) if erf is not None else None
        density = _maker(second, "Mul")
        if x is None or density is None:
            continue
        exp = _maker(_scaled(_other(density, x), "Mul", 1.0 / math.sqrt(2.0 * math.pi)), "Exp")
        square = _maker(_scaled(exp.inputs[0], "Mul", -0.5), "Mul") if exp is not None else None
        if square is not None and all(operand is x for operand in square.inputs):
            return x
    return None


def _halved(edit: Editor, before: ir.Node, value: ir.Value) -> ir.Value:
    """Half of a value, by the product that makes it where there is one."""
    product = _maker(value, "MatMul")
    shape = extents(value)
    if product is not None and len(value.uses()) == 1 and is_product(product):
        return edit.add(before, "Gemm", product.inputs, shape, {"alpha": 0.5})
    return edit.add(before, "Mul", [value, edit.constant(0.5, np.float32)], shape)


def _normalisation(edit: Editor, node: ir.Node) -> None:
    """r / n (n g - sum(g) - z sum(g z)), as it is traced, becomes r (g - mean(g) - z mean(g z)).

    z is the normalised row of n numbers, r its inverse deviation.
    """
    if node.op_type != "Mul" or node.outputs[0].dtype != ir.DataType.FLOAT:
        return
    for ratio, inner in (node.inputs, reversed(node.inputs)):
        division, outer = _maker(ratio, "Div"), _maker(inner, "Sub")
        middle = _maker(outer.inputs[0], "Sub") if outer is not None else None
        if division is None or outer is None or middle is None:
            continue
        shape, count = extents(node.outputs[0]), constant(division.inputs[1])
        if shape is None or count is None or count.size != 1 or count.item() != shape[-1]:
            continue
        gradient = _scaled(middle.inputs[0], "Mul", count.item())
        total, last = _row_sum(middle.inputs[1]), _maker(outer.inputs[1], "Mul")
        if gradient is None or total is None or total.inputs[0] is not gradient or last is None:
            continue
        for z, correlation in (last.inputs, reversed(last.inputs)):
            summed = _row_sum(correlation)
            product = _maker(summed.inputs[0], "Mul") if summed is not None else None
            if summed is None or product is None or z is None or {*product.inputs} != {gradient, z}:
                continue
            axes, column = edit.constant([-1]), (*shape[:-1], 1)
            mean = edit.add(node, "ReduceMean", [gradient, axes], column)
            share = edit.add(node, "ReduceMean", [product.outputs[0], axes], column)
            rest = edit.add(node, "Sub", [gradient, mean], shape)
            rest = edit.add(node, "Sub", [rest, edit.add(node, "Mul", [z, share], shape)], shape)
            replace(node.outputs[0], edit.add(node, "Mul", [rest, division.inputs[0]], shape))
            return


def _row_sum(value: ir.Value | None) -> ir.Node | None:
    """The node that makes a value as sums over the last extent, which is kept."""
    node = _maker(value, "ReduceSum")
    axes = integers(node.inputs[1]) if node is not None and len(node.inputs) > 1 else None
    rank = len(extents(node.inputs[0]) or ()) if node is not None else 0
    if node is None or axes is None or not attribute(node, "keepdims", 1):
        return None
    return node if axes in ((-1,), (rank - 1,)) else None
