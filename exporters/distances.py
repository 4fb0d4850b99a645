"""Tables of numbers by the distance of two tokens: sums of a row's entries that have the same index.

An index f(i - j) for the tokens i and j of a text (DeBERTa's buckets of distances) is known by its 2 n - 1 distances,
not by n x n pairs. Row i of the values, shifted by i, has every distance in a column of its own:

    values (n, n) -> behind each row n zeros, (n, 2 n) -> n zeros in front of all, read as (n, 2 n + 1):

    shifted[i, n + j - i] = values[i, j]

and the sums are one product, shifted (.., n, 2 n + 1) times [f(distance of the column) = p] (2 n + 1, P). A one-hot
matrix for each row, (n, n, P), would take half a gigabyte with 512 tokens and as many places.
"""

import numpy as np
import onnx_ir as ir

from .editing import Editor, Extent, constant, extents, integers

_OF_EACH_NUMBER = {
    "Abs", "Add", "And", "Cast", "Ceil", "Clip", "Div", "Equal", "Exp", "Floor", "Greater", "GreaterOrEqual",
    "Identity", "Less", "LessOrEqual", "Log", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow", "Round", "Sign",
    "Sqrt", "Sub", "Where", "Xor",
}  # fmt: skip
_SAME_ORDER = {"Expand", "Squeeze", "Unsqueeze"}
"""Operations that add and remove extents in front and leave the last two as they are, if those are the same before and
after.
"""


def depends_on_distance(index: ir.Value) -> bool:
    """Whether an index (1, .., tokens, tokens) is a function of row less column, by the way in which it is computed."""
    shape = extents(index)
    if shape is None or len(shape) < 2 or shape[-1] is None or shape[-1] != shape[-2] or {*shape[:-2]} - {1}:
        return False
    return _of_distance(index, shape[-1], {})


def _of_distance(value: ir.Value | None, tokens: Extent, known: dict[ir.Value, bool]) -> bool:
    """Whether a value is one number, or a function of row less column alone."""
    shape = extents(value)
    if value is None or shape is None:
        return False
    if value not in known:
        known[value] = all(extent == 1 for extent in shape) or (
            shape[-2:] == (tokens, tokens) and _is_difference_or_made_of_such(value, tokens, known)
        )
    return known[value]


def _is_difference_or_made_of_such(value: ir.Value, tokens: Extent, known: dict[ir.Value, bool]) -> bool:
    maker = value.producer()
    if maker is None:
        return False
    if maker.op_type in _SAME_ORDER:
        return _of_distance(maker.inputs[0], tokens, known)
    if maker.op_type == "Sub" and (_counts(maker.inputs[0], 1), _counts(maker.inputs[1], 0)) == (tokens, tokens):
        return True
    return maker.op_type in _OF_EACH_NUMBER and all(
        _of_distance(operand, tokens, known) for operand in maker.inputs if operand is not None
    )


def _counts(value: ir.Value | None, axis: int) -> Extent:
    """How many numbers a value counts, 0, 1, ..., where it is a column (axis 1) or a row (axis 0) of them."""
    maker = value.producer() if value is not None else None
    while axis == 0 and maker is not None and maker.op_type in ("Expand", "Tile"):  # the row repeated, below itself
        repeated, row = extents(maker.outputs[0]), extents(maker.inputs[0])
        if repeated is None or row is None or len(row) != 2 or row[0] != 1 or row[1] != repeated[-1]:
            return None
        maker = maker.inputs[0].producer() if maker.inputs[0] is not None else None
    if maker is None or maker.inputs[0] is None:
        return None
    shape, unit = extents(maker.inputs[0]), extents(maker.outputs[0])
    as_row = maker.op_type == "Reshape" and axis == 0 and shape is not None and unit == (1, *shape)
    if not as_row and (maker.op_type != "Unsqueeze" or integers(maker.inputs[1]) not in ((axis,), (axis - 2,))):
        return None
    numbers = maker.inputs[0].producer()
    if numbers is None or numbers.op_type != "Range":
        return None
    start, step = (constant(numbers.inputs[place]) for place in (0, 2))
    if start is None or step is None or int(start) != 0 or int(step) != 1:
        return None
    return (extents(maker.inputs[0]) or (None,))[0]


def sums_by_distance(
    edit: Editor, node: ir.Node, places: ir.Value, values: ir.Value, numbers: ir.Value, rows: Extent
) -> ir.Value:
    """(.., n, P): for each row of values (.., n, n) the sum of the entries whose place is p.

    `places`: (1, .., n, n), a function of row less column, the same for all examples. `numbers`: 0, ..., P - 1.
    """
    shape = extents(values) or ()
    front = shape[:-2]
    integer, kind = ir.DataType.INT64, places.dtype
    whole = lambda op, inputs, extent, **given: edit.add(node, op, inputs, [extent], given, integer)
    length = whole("Shape", [values], 1, start=-1)
    no, end = edit.constant([0]), edit.constant([-1])
    long = whole("Add", [whole("Add", [length, length], 1), edit.constant([1])], 1)

    padded = edit.add(
        node, "Pad", [values, whole("Concat", [no, length], 2, axis=0), None, end], [*front, shape[-2], None]
    )
    ahead = whole("Shape", [values], len(front), end=len(front)) if front else None
    given = [ahead] if ahead is not None else []
    joined = edit.add(node, "Reshape", [padded, whole("Concat", [*given, end], len(front) + 1, axis=0)], [*front, None])
    moved = edit.add(node, "Pad", [joined, whole("Concat", [length, no], 2, axis=0), None, end], [*front, None])
    target = whole("Concat", [*given, length, long], len(front) + 2, axis=0)
    shifted = edit.add(node, "Reshape", [moved, target], [*front, shape[-2], None])

    # The last row has the distances n - 1 ... 0, the rest of the first one -1 ... 1 - n; zeros stand at both ends.
    flat = lambda value: edit.add(node, "Reshape", [value, end], [None], dtype=kind)
    cut = lambda start, stop, axis, value, extent: edit.add(
        node, "Slice", [value, edit.constant([start]), edit.constant([stop]), edit.constant([axis])], extent, dtype=kind
    )
    most = np.iinfo(np.int64).max
    last = flat(cut(-1, most, -2, places, None))
    first = cut(1, most, 0, flat(cut(0, 1, -2, places, None)), [None])
    none = edit.constant([-1], kind.numpy().type if kind is not None else np.int64)
    each = edit.add(node, "Concat", [none, last, first, none], [None], {"axis": 0}, kind)
    column = edit.add(node, "Unsqueeze", [each, end], [None, 1], dtype=kind)
    equal = edit.add(node, "Equal", [column, numbers], [None, rows], dtype=ir.DataType.BOOL)
    ones = edit.add(node, "Cast", [equal], [None, rows], {"to": ir.DataType.FLOAT})
    return edit.add(node, "MatMul", [shifted, ones], [*front, shape[-2], rows])
