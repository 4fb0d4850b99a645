"""Rows of the real tokens to the heads of attention and back, each in one pass over memory.

What comes from `rows` gathers the rows into (batch, tokens) and then moves them to (batch, heads, tokens, features),
and the other way round. A head's part of a row lies together in memory, so one lookup that takes such parts instead of
rows does both.
"""

from collections.abc import Callable, Sequence

import onnx_ir as ir

from .editing import Editor, Extent, attribute, constant, extents, permutation, replace

_BY_HEADS = (0, 2, 1, 3)


def gather_heads(model: ir.Model) -> None:
    """Rewrite the way into attention and out of it, in place."""
    mask = next((value for value in model.graph.inputs if value.name == "attention_mask"), None)
    if mask is None:
        return
    heads = _Heads(model.graph, mask)
    for node in list(model.graph):
        heads.into(node)
    for node in list(model.graph):
        heads.out_of(node)


class _Heads:
    def __init__(self, graph: ir.Graph, mask: ir.Value) -> None:
        self.edit, self.mask, self.sizes = Editor(graph), mask, extents(mask) or ()
        self._places: dict[tuple[object, ...], ir.Value] = {}

    def into(self, node: ir.Node) -> None:
        """Gather, perhaps times the mask, then a reshape and a transpose: (rows, heads x features) to heads."""
        shape = extents(node.outputs[0])
        view = _maker(node.inputs[0], "Reshape") if permutation(node) == _BY_HEADS else None
        if view is None or shape is None or (shape[0], shape[2]) != self.sizes:
            return
        masked = _maker(view.inputs[0], "Mul")
        gathered = _maker(masked.inputs[0] if masked is not None else view.inputs[0], "Gather")
        column = masked.inputs[1] if masked is not None else None
        if gathered is None or not _by_rows(gathered) or (masked is not None and not self._is_column(column)):
            return
        rows, slots = gathered.inputs
        heads, features = shape[1], shape[3]
        width = (extents(rows) or (None,))[-1]
        if not isinstance(heads, int) or not isinstance(features, int) or width != heads * features:
            return
        parts = self.edit.add(node, "Reshape", [rows, self.edit.constant([-1, features])], [f"rows*{heads}", features])
        result = self.edit.add(node, "Gather", [parts, self._slots(gathered, slots, heads)], shape, {"axis": 0})
        if column is not None:
            result = self.edit.add(node, "Mul", [result, self._column(masked, column)], shape)
        replace(node.outputs[0], result)

    def out_of(self, node: ir.Node) -> None:
        """A transpose and a reshape, then Gather: heads to (rows, heads x features)."""
        view = _maker(node.inputs[0], "Reshape") if node.op_type == "Gather" and _by_rows(node) else None
        moved = _maker(view.inputs[0], "Transpose") if view is not None else None
        shape = extents(moved.inputs[0]) if moved is not None else None
        if moved is None or shape is None or permutation(moved) != _BY_HEADS or (shape[0], shape[2]) != self.sizes:
            return
        if not _are_places(node.inputs[1]):
            return
        heads, features, result = shape[1], shape[3], node.outputs[0]
        width = (extents(result) or (None,))[-1]
        if not isinstance(heads, int) or not isinstance(features, int) or width != heads * features:
            return
        target = self.edit.constant([-1, features])
        parts = self.edit.add(node, "Reshape", [moved.inputs[0], target], [None, features])
        places = self._numbers(node, node.inputs[1], heads)
        found = self.edit.add(node, "Gather", [parts, places], ["rows", heads, features], {"axis": 0})
        replace(result, self.edit.add(node, "Reshape", [found, self.edit.constant([-1, width])], extents(result)))

    def _slots(self, before: ir.Node, slots: ir.Value | None, heads: int) -> ir.Value:
        """(batch, heads, tokens) numbers of the rows' parts, from the (batch x tokens) numbers of the rows."""
        key = ("slots", slots, heads)
        if key not in self._places:
            add, number = self._integers(before), self.edit.constant
            batch, tokens = self.sizes
            table = add("Reshape", [slots, add("Shape", [self.mask], [2])], [batch, tokens])
            first = add("Mul", [add("Unsqueeze", [table, number([1])], [batch, 1, tokens]), number(heads)],
                        [batch, 1, tokens])  # fmt: skip
            each = number([[[head] for head in range(heads)]])
            self._places[key] = add("Add", [first, each], [batch, heads, tokens])
        return self._places[key]

    def _numbers(self, before: ir.Node, places: ir.Value | None, heads: int) -> ir.Value:
        """(rows, heads) numbers of the parts, which lie by (batch, heads, tokens), from the rows' places.

        A row at place p = b T + t of (batch, tokens) has its part of head h at (b H + h) T + t = p + (b (H - 1) + h) T.
        """
        key = ("places", places, heads)
        if key not in self._places:
            add, number = self._integers(before), self.edit.constant
            width = self.edit.add(before, "Shape", [self.mask], [1], {"start": 1, "end": 2}, ir.DataType.INT64)
            example = add("Div", [places, width], ["rows"])
            skipped = add("Mul", [add("Mul", [example, number(heads - 1)], ["rows"]), width], ["rows"])
            first = add("Unsqueeze", [add("Add", [places, skipped], ["rows"]), number([1])], ["rows", 1])
            each = add("Mul", [number(list(range(heads))), width], [heads])
            self._places[key] = add("Add", [first, each], ["rows", heads])
        return self._places[key]

    def _column(self, before: ir.Node | None, column: ir.Value | None) -> ir.Value:
        """The mask as (batch, 1, tokens, 1)."""
        key = ("column", column)
        if key not in self._places:
            assert before is not None
            batch, tokens = self.sizes
            sizes = self.edit.add(before, "Shape", [self.mask], [2], dtype=ir.DataType.INT64)
            table = self.edit.add(before, "Reshape", [column, sizes], [batch, tokens])
            self._places[key] = self.edit.add(
                before, "Unsqueeze", [table, self.edit.constant([1, 3])], [batch, 1, tokens, 1]
            )
        return self._places[key]

    def _is_column(self, value: ir.Value | None) -> bool:
        return extents(value) == (f"{self.sizes[0]}*{self.sizes[1]}", 1)

    def _integers(self, before: ir.Node) -> Callable[[str, Sequence[ir.Value | None], Sequence[Extent]], ir.Value]:
        """Adds a node of whole numbers in front of a place: operation, inputs, shape."""
        return lambda op, inputs, shape: self.edit.add(before, op, inputs, shape, dtype=ir.DataType.INT64)


def _maker(value: ir.Value | None, op: str) -> ir.Node | None:
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == op else None


def _by_rows(node: ir.Node) -> bool:
    """Whether a lookup takes whole rows of a matrix by a list of their numbers, which are not constant."""
    matrix, numbers = node.inputs
    return (
        attribute(node, "axis", 0) == 0
        and matrix is not None
        and numbers is not None
        and (matrix.dtype, numbers.dtype) == (ir.DataType.FLOAT, ir.DataType.INT64)
        and len(extents(matrix) or ()) == 2
        and len(extents(numbers) or ()) == 1
        and constant(numbers) is None
    )


def _are_places(value: ir.Value | None) -> bool:
    """Whether numbers count from the front: those of the real tokens, as `rows` finds them."""
    while (node := _maker(value, "Reshape")) is not None:
        value = node.inputs[0]
    return _maker(value, "NonZero") is not None
