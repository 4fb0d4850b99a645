"""Leave padding out: whatever works on each token by itself works on the real tokens only, one row each.

A traced graph computes on (batch, tokens, features), padding included: half of the work in batches of short texts.
Here every row-wise operation (linear layers, normalisation, activations, and their gradients) is moved to a matrix with
one row for each real token, in the order of the mask. Only attention, which mixes tokens, still sees (batch, tokens):
rows are gathered into it and out of it again.

What stands at padding does not reach the loss: attention gives padded keys the weight 0, and the mean over tokens
multiplies with the mask first. So any row may stand there where attention looks on; but what was multiplied with the
mask, and every gradient, must be 0 there, as it was. For the same reason a sum of gradients over all tokens is the sum
over the real ones. Gradients are the values that depend on the labels.
"""

import onnx_ir as ir

from .editing import Editor, Extent, attribute, constant, dependents, extents, integers, permutation, replace

_ELEMENTWISE = {
    "Abs", "Add", "Cast", "Clip", "Cos", "Div", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu",
    "Log", "Max", "Min", "Mish", "Mul", "Neg", "Pow", "Reciprocal", "Relu", "Sigmoid", "Sign", "Sin", "Softplus",
    "Sqrt", "Sub", "Tanh", "Where",
}  # fmt: skip


def pack_rows(model: ir.Model) -> None:
    """Move the row-wise operations of a graph with inputs (batch, tokens) to the real tokens, in place.

    Images have no padding. Of their graphs only the products with matrices become those of rows, which costs nothing.
    """
    if any(value.name == "attention_mask" for value in model.graph.inputs):
        _Packer(model.graph).run()
    else:
        flatten_products(model.graph)


def flatten_products(graph: ir.Graph) -> None:
    """(batch, tokens, in) times a constant matrix as a product of (batch x tokens) rows, in place."""
    edit = Editor(graph)
    for node in list(graph):
        left, matrix = (extents(value) for value in node.inputs) if node.op_type == "MatMul" else (None, None)
        if left is None or matrix is None or len(left) != 3 or len(matrix) != 2 or not _is_frozen(node.inputs[1]):
            continue
        batch, tokens, features = left
        rows, target = f"{batch}*{tokens}", edit.constant([-1, features])
        flat = edit.add(node, "Reshape", [node.inputs[0], target], [rows, features])
        product = edit.add(node, "MatMul", [flat, node.inputs[1]], [rows, matrix[1]])
        back = edit.constant([-1, tokens, matrix[1]])
        replace(node.outputs[0], edit.add(node, "Reshape", [product, back], [batch, tokens, matrix[1]]))


def _is_frozen(value: ir.Value | None) -> bool:
    """Whether a value is a constant matrix or the transpose of one."""
    maker = value.producer() if value is not None else None
    return constant(maker.inputs[0] if maker is not None and permutation(maker) == (1, 0) else value) is not None


class _Packer:
    def __init__(self, graph: ir.Graph) -> None:
        self.graph, self.edit = graph, Editor(graph)
        inputs = {value.name: value for value in graph.inputs}
        self.mask = inputs["attention_mask"]
        shape = extents(self.mask)
        assert shape is not None and len(shape) == 2
        self.batch, self.tokens = shape
        gradients = dependents(graph, [inputs["labels"]] if "labels" in inputs else [])
        self.gradients = gradients
        self.zero_at_padding = dependents(graph, [*gradients, *self._masked()])
        self.rows: dict[ir.Value, ir.Value] = {}
        self._indices()

    def _masked(self) -> list[ir.Value]:
        """Products of a value for each token with one number for each token: those with the mask."""
        found = []
        for node in self.graph:
            if node.op_type == "Mul":
                features = [self.features(value) for value in node.inputs]
                if 1 in features and max(f or 0 for f in features) > 1 and None not in features:
                    found.append(node.outputs[0])
        return found

    def _indices(self) -> None:
        """The rows' places in the flattened batch; for every place its row (that of the last real token before it
        where it is padding); and the mask as a column.
        """
        edit, first, integer = self.edit, next(iter(self.graph)), ir.DataType.INT64
        every = f"{self.batch}*{self.tokens}"
        flat = edit.add(first, "Reshape", [self.mask, edit.constant([-1])], [every], dtype=integer)
        real = edit.add(first, "Cast", [flat], [every], {"to": ir.DataType.BOOL}, ir.DataType.BOOL)
        places = edit.add(first, "NonZero", [real], [1, "rows"], dtype=integer)
        self.places = edit.add(first, "Reshape", [places, edit.constant([-1])], ["rows"], dtype=integer)
        ones = edit.add(first, "Cast", [real], [every], {"to": integer}, integer)
        count = edit.add(first, "CumSum", [ones, edit.constant(0)], [every], dtype=integer)
        below = edit.add(first, "Sub", [count, edit.constant([1])], [every], dtype=integer)
        self.slots = edit.add(first, "Max", [below, edit.constant([0])], [every], dtype=integer)
        column = edit.add(first, "Cast", [real], [every], {"to": ir.DataType.FLOAT})
        self.column = edit.add(first, "Reshape", [column, edit.constant([-1, 1])], [every, 1])
        self.sizes = edit.add(first, "Shape", [self.mask], [2], dtype=integer)
        self.start = list(self.graph).index(first)

    def run(self) -> None:
        for node in list(self.graph)[self.start :]:
            if node.op_type == "Reshape":
                self._reshape(node)
            elif node.op_type in _ELEMENTWISE:
                self._elementwise(node)
            elif node.op_type == "LayerNormalization":
                self._normalisation(node)
            elif node.op_type in ("ReduceSum", "ReduceMean"):
                self._reduction(node)
            elif node.op_type == "MatMul":
                self._product(node)

    # --- what is a row
    # ------------------------------------------------------------------------------------------------------------

    def features(self, value: ir.Value | None) -> int | None:
        """Number of features of a value with one vector for each token, None for other values."""
        shape = extents(value)
        if shape is None or not shape or not isinstance(shape[-1], int):
            return None
        tokenwise = shape[:-1] == (self.batch, self.tokens)
        return shape[-1] if tokenwise or shape[:-1] == (self._every,) else None

    @property
    def _every(self) -> str:
        return f"{self.batch}*{self.tokens}"

    def _broadcast(self, value: ir.Value) -> bool:
        """Whether a value is the same for every token: a number or a vector of features."""
        shape = extents(value)
        return shape is not None and all(extent == 1 for extent in shape[:-1]) and isinstance((*shape, 1)[-1], int)

    # --- between the two forms
    # ------------------------------------------------------------------------------------------------------------

    def pack(self, value: ir.Value, before: ir.Node) -> ir.Value:
        """The rows of the real tokens of a tokenwise value."""
        if value not in self.rows:
            features = self.features(value)
            flat = value
            if len(extents(value) or ()) == 3:
                shape = self.edit.constant([-1, features])
                flat = self.edit.add(before, "Reshape", [value, shape], [self._every, features], dtype=value.dtype)
            self.rows[value] = self.edit.add(
                before, "Gather", [flat, self.places], ["rows", features], {"axis": 0}, value.dtype
            )
        return self.rows[value]

    def unpack(self, old: ir.Value, rows: ir.Value, before: ir.Node) -> None:
        """Put `rows` in the place of a tokenwise value; who needs it in its old form gathers it from them."""
        shape = extents(old)
        assert shape is not None
        features = shape[-1]
        value = self.edit.add(before, "Gather", [rows, self.slots], [self._every, features], {"axis": 0}, old.dtype)
        if old in self.zero_at_padding:
            value = self.edit.add(before, "Mul", [value, self.column], [self._every, features])
        if len(shape) == 3:
            parts = [self.sizes, self.edit.constant([features])]
            target = self.edit.add(before, "Concat", parts, [3], {"axis": 0}, ir.DataType.INT64)
            value = self.edit.add(before, "Reshape", [value, target], shape, dtype=old.dtype)
        for kind in (self.gradients, self.zero_at_padding):
            if old in kind:
                kind.add(value)
        self.rows[value] = self.rows[old] = rows
        replace(old, value)

    # --- operations
    # ------------------------------------------------------------------------------------------------------------

    def _reshape(self, node: ir.Node) -> None:
        source, result = node.inputs[0], node.outputs[0]
        features = self.features(result)
        if source in self.rows and features is not None and features == self.features(source):
            self.rows[result] = self.rows[source]

    def _elementwise(self, node: ir.Node) -> None:
        operands = [value for value in node.inputs if value is not None]
        tokenwise = [value for value in operands if self.features(value) is not None]
        others = [value for value in operands if value not in tokenwise]
        if not any(value in self.rows for value in tokenwise) or not all(map(self._broadcast, others)):
            return
        if self.features(node.outputs[0]) is None:
            return
        inputs = [None if v is None else self._operand(v, node) for v in node.inputs]
        self._emit(node, inputs)

    def _operand(self, value: ir.Value, before: ir.Node) -> ir.Value:
        if self.features(value) is not None:
            return self.pack(value, before)
        shape = extents(value)
        assert shape is not None
        if len(shape) <= 2:
            return value
        return self.edit.add(
            before, "Reshape", [value, self.edit.constant([shape[-1]])], [shape[-1]], dtype=value.dtype
        )

    def _emit(self, node: ir.Node, inputs: list[ir.Value | None], **changes: object) -> None:
        """The same operation on rows in the place of a node."""
        attributes = {name: item.value for name, item in node.attributes.items()} | changes
        shapes: list[list[Extent]] = [["rows", (extents(output) or (None,))[-1]] for output in node.outputs]
        results = self.edit.add_many(node, node.op_type, inputs, shapes, attributes)
        for old, new in zip(list(node.outputs), results, strict=True):
            if old.dtype is not None:
                new.dtype = old.dtype
            self.unpack(old, new, node)

    def _normalisation(self, node: ir.Node) -> None:
        source = node.inputs[0]
        if source is not None and self.features(source) is not None and attribute(node, "axis", -1) in (-1, 2):
            self._emit(node, [self.pack(source, node), *node.inputs[1:]], axis=-1)

    def _reduction(self, node: ir.Node) -> None:
        source, result = node.inputs[0], node.outputs[0]
        rank, axes = len(extents(source) or ()), integers(node.inputs[1]) if len(node.inputs) > 1 else None
        if source not in self.rows or not axes:
            return
        axes = tuple(axis % rank for axis in axes)
        if axes == (rank - 1,) and attribute(node, "keepdims", 1):
            self._emit(node, [self.pack(source, node), self.edit.constant([1])])
        elif axes == tuple(range(rank - 1)) and source in self.gradients and node.op_type == "ReduceSum":
            features, shape = self.features(source), extents(result)
            total = self.edit.add(
                node, "ReduceSum", [self.rows[source], self.edit.constant([0])], [features], {"keepdims": 0}
            )
            replace(result, self.edit.add(node, "Reshape", [total, self.edit.constant(list(shape or ()))], shape))

    def _product(self, node: ir.Node) -> None:
        left, right = node.inputs
        assert left is not None and right is not None
        shape = extents(right)
        fixed = shape is not None and len(shape) == 2 and all(isinstance(extent, int) for extent in shape)
        if self.features(left) is not None and fixed and self.features(node.outputs[0]) is not None:
            self._emit(node, [self.pack(left, node), right])
            return
        # The gradient of a matrix: a sum over tokens of outer products.
        turned = left.producer()
        if turned is None or permutation(turned) != (1, 0) or node.outputs[0] not in self.gradients:
            return
        source = turned.inputs[0]
        assert source is not None
        if self.features(source) is not None and self.features(right) is not None:
            rows = self.pack(source, node)
            columns = self.edit.add(node, "Transpose", [rows], [self.features(source), "rows"], {"perm": [1, 0]})
            product = self.edit.add(node, "MatMul", [columns, self.pack(right, node)], extents(node.outputs[0]))
            replace(node.outputs[0], product)
