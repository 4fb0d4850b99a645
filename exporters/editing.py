"""What the graph passes share: reading shapes and constants, adding nodes, replacing values."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

Extent = int | str | None
"""A static extent, the name of a free one, or unknown."""

_COUNT = "edge_adapt.names"


def extents(value: ir.Value | None) -> tuple[Extent, ...] | None:
    """The shape as plain numbers and names; None when not even the rank is known."""
    if value is None or value.shape is None:
        return None
    return tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape)


def constant(value: ir.Value | None) -> np.ndarray | None:
    """The number or array behind an initialiser, None for anything else (inputs with defaults are not constant)."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return value.const_value.numpy()


def integers(value: ir.Value | None) -> tuple[int, ...] | None:
    """A constant list of whole numbers."""
    array = constant(value)
    return None if array is None else tuple(int(item) for item in array.reshape(-1))


def attribute(node: ir.Node, name: str, default: Any = None) -> Any:
    """The value of a node's attribute."""
    found = node.attributes.get(name)
    return default if found is None else found.value


def permutation(node: ir.Node | None) -> tuple[int, ...] | None:
    """The permutation of a Transpose, None for other nodes."""
    if node is None or node.op_type != "Transpose":
        return None
    return tuple(attribute(node, "perm"))


class Editor:
    """Adds nodes to a graph in front of a place, and initialisers by content."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self._constants: dict[tuple[Any, ...], ir.Value] = {}

    def name(self, stem: str) -> str:
        """A name that no value of the graph has."""
        number = self.graph.meta[_COUNT] = self.graph.meta.get(_COUNT, 0) + 1
        return f"{stem}.{number}"

    def constant(self, content: Any, dtype: type = np.int64) -> ir.Value:
        """An initialiser with this content, the same one for the same content."""
        array: np.ndarray = np.asarray(content, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            value = ir.Value(name=self.name("constant"), const_value=ir.tensor(array))
            value.shape, value.dtype = ir.Shape(array.shape), ir.DataType.from_numpy(array.dtype)
            self.graph.initializers.add(value)
            self._constants[key] = value
        return self._constants[key]

    def add(
        self,
        before: ir.Node,
        op: str,
        inputs: Sequence[ir.Value | None],
        shape: Sequence[Extent] | None,
        attributes: Mapping[str, Any] | None = None,
        dtype: ir.DataType | None = ir.DataType.FLOAT,
    ) -> ir.Value:
        """A node in front of `before`; returns its output."""
        return self.add_many(before, op, inputs, [shape], attributes, dtype)[0]

    def add_many(
        self,
        before: ir.Node,
        op: str,
        inputs: Sequence[ir.Value | None],
        shapes: Sequence[Sequence[Extent] | None],
        attributes: Mapping[str, Any] | None = None,
        dtype: ir.DataType | None = ir.DataType.FLOAT,
    ) -> list[ir.Value]:
        """A node with one output for each of `shapes`."""
        node = ir.node(op, inputs, attributes or {}, num_outputs=len(shapes))
        for output, shape in zip(node.outputs, shapes, strict=True):
            output.name = self.name(op.lower())
            if dtype is not None:
                output.dtype = dtype
            if shape is not None:
                output.shape = ir.Shape(shape)
        self.graph.insert_before(before, node)
        return list(node.outputs)


def replace(old: ir.Value, new: ir.Value) -> None:
    """Let every consumer of `old`, and the graph's outputs, use `new`."""
    if old.is_graph_output():
        new.name, old.name = old.name, f"{old.name}.before"
    old.replace_all_uses_with(new, replace_graph_outputs=True)


def dependents(graph: ir.Graph, sources: Iterable[ir.Value]) -> set[ir.Value]:
    """All values that are computed from any of `sources`."""
    found = set(sources)
    for node in graph:
        if any(value in found for value in node.inputs if value is not None):
            found.update(node.outputs)
    return found
