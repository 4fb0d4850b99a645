"""Frozen weights as int8: codes of one byte with a scale for each output channel (each row of an embedding).

The weights are rounded first, in torch, and what is exported is the rounded model: torch and onnxruntime agree as
closely as they do in float32. Scales are rounded up to 16 significant bits, so that code times scale is exact in
float32 in whatever order it is computed, and rounding twice changes nothing. That is why the second step needs no list
of what was rounded: a constant of a graph that *is* codes times scales, along one of its axes, is stored that way.

Activations stay float32: the codes are multiplied out by DequantizeLinear, and all other arithmetic is the same.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import nn

from ..methods import Adaptation, Placement
from ..workloads.models import Backbone
from ..workloads.pools import Pool
from .editing import Editor, attribute, constant, extents
from .editing import replace as put_in_place

LARGEST_CODE = 127
SCALE_BITS = 16
"""Significant bits of a scale. With the 7 of a code they fit the 24 of a float32."""

SESSION = {"session.disable_quant_qdq": "1"}
"""Session configuration for graphs with codes. Left to itself, onnxruntime takes DequantizeLinear before a product for
an integer product of its own and rounds activations to eight bits as well: gradients are then wrong by some 1e-3. With
this it multiplies the codes out once, when it opens the graph, and the arithmetic is that of float32.
"""

NARROWEST = 8
"""Numbers in a channel below which its scale would take half of what the codes save."""

SMALLEST = 1024
"""Numbers in a constant below which codes would save nothing."""


def round_scale(largest: np.ndarray) -> np.ndarray:
    """Scales (float32) that put the largest magnitudes at code 127; 1 for channels of zeros."""
    mantissa, exponent = np.frexp(largest.astype(np.float64) / LARGEST_CODE)
    scale = np.ldexp(np.ceil(np.ldexp(mantissa, SCALE_BITS)), exponent - SCALE_BITS)
    return np.where(scale > 0, scale, 1.0).astype(np.float32)


def encode(array: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes (int8, the shape of `array`) and scales (float32, one for each index along `axis`), nearest rounding."""
    others = tuple(number for number in range(array.ndim) if number != axis)
    scale = round_scale(np.abs(array).max(axis=others, initial=0.0))
    codes = np.rint(array / np.expand_dims(scale, others)).astype(np.int8)
    return codes, scale


def decode(codes: np.ndarray, scale: np.ndarray, axis: int) -> np.ndarray:
    """What the codes stand for, float32."""
    others = tuple(number for number in range(codes.ndim) if number != axis)
    return codes * np.expand_dims(scale, others)


def round_rows(array: np.ndarray) -> np.ndarray:
    """The nearest array (out, ...) with one scale for each row."""
    return decode(*encode(array, 0), 0) if array.size else array


# --- the model
# ----------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def round_backbone(backbone: Backbone) -> None:
    """Round all linear layers and embeddings of a backbone, in place."""
    for module in backbone.module.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            module.weight.copy_(torch.as_tensor(round_rows(module.weight.numpy())))


def round_pool(pool: Pool) -> Pool:
    """A pool whose matrices are rounded."""
    rounded = lambda part: {name: round_rows(matrix) for name, matrix in part.items()}
    modules = (replace(module, a=rounded(module.a), b=rounded(module.b)) for module in pool.modules)
    return replace(pool, modules=tuple(modules))


@torch.no_grad()
def round_beside(adaptation: Adaptation) -> None:
    """Round what a method keeps frozen beside the backbone and its pool, which are rounded already."""
    for name, tensor in adaptation.cell_tensors.items():
        planned = adaptation.plan.tensors[name]
        if planned.placement is Placement.NVM_FROZEN and not planned.of_pool:
            tensor.data = torch.as_tensor(round_rows(tensor.detach().numpy()))


# --- the graphs
# ----------------------------------------------------------------------------------------------------------------


def store_codes(model: ir.Model) -> int:
    """Store every large constant that is codes times scales as such, in place; returns how many.

    Rows of an embedding are looked up as codes and multiplied out afterwards; other constants are multiplied out by
    DequantizeLinear, which the session is to do once, when it opens the graph (`SESSION`).
    """
    graph = model.graph
    edit = Editor(graph)
    stored = 0
    for value in list(graph.initializers.values()):
        array = constant(value)
        if array is None or array.dtype != np.float32 or array.size < SMALLEST or array.ndim < 2:
            continue
        found = _on_grid(array)
        if found is not None and not value.is_graph_output():
            _Stored(edit, value, found).replace_uses()
            stored += 1
    return stored


def _on_grid(array: np.ndarray) -> "_Grid | None":
    """How an array is codes times scales, None where it is not.

    Rounded matrices of a pool are joined, stacked and reshaped on their way into a graph; their channels are then rows
    of a width that divides the last extent.
    """
    for axis in range(array.ndim):
        if (found := _exact(array, axis)) is not None:
            return found
    last = array.shape[-1]
    for width in (width for width in range(last, NARROWEST - 1, -1) if last % width == 0):
        if (found := _exact(array.reshape(-1, width), 0)) is not None:
            return found
    return None


def _exact(array: np.ndarray, axis: int) -> "_Grid | None":
    codes, scale = encode(array, axis)
    return _Grid(codes, scale, axis) if np.array_equal(decode(codes, scale, axis), array) else None


@dataclass(frozen=True)
class _Grid:
    """Codes and scales of an array, perhaps in another shape."""

    codes: np.ndarray
    scale: np.ndarray
    axis: int


class _Stored:
    """One constant as codes and scales."""

    def __init__(self, edit: Editor, value: ir.Value, grid: _Grid) -> None:
        self.edit, self.value, self.grid = edit, value, grid
        self.codes = self._initializer("codes", grid.codes)
        self.table = grid.axis == 0 and extents(self.codes) == extents(value)

    def replace_uses(self) -> None:
        number: ir.Value | None = None
        order = {node: place for place, node in enumerate(self.edit.graph)}
        for use in sorted(self.value.uses(), key=lambda use: order[use.node]):
            node, place = use.node, use.idx
            if node.op_type == "Gather" and place == 0 and self.table and attribute(node, "axis", 0) == 0:
                self._look_up(node)
                continue
            number = number or self._multiplied_out(node)
            node.replace_input_with(place, number)
        self.edit.graph.initializers.pop(str(self.value.name))

    def _multiplied_out(self, node: ir.Node) -> ir.Value:
        inputs = [self.codes, self._initializer("scale", self.grid.scale)]
        shape, stored = extents(self.value), extents(self.codes)
        number = self.edit.add(node, "DequantizeLinear", inputs, stored, {"axis": self.grid.axis})
        if shape == stored:
            return number
        return self.edit.add(node, "Reshape", [number, self.edit.constant(list(shape or ()))], shape)

    def _look_up(self, node: ir.Node) -> None:
        """Rows of a table: their codes, their scales, the product."""
        rows = node.inputs[1]
        shape = extents(node.outputs[0])
        ones = (1,) * (len(extents(self.codes) or ()) - 1)
        column = self._initializer("scale_of_row", self.grid.scale.reshape(-1, *ones))
        codes = self.edit.add(node, "Gather", [self.codes, rows], shape, {"axis": 0}, ir.DataType.INT8)
        scale = self.edit.add(node, "Gather", [column, rows], None, {"axis": 0})
        number = self.edit.add(node, "Cast", [codes], shape, {"to": ir.DataType.FLOAT})
        put_in_place(node.outputs[0], self.edit.add(node, "Mul", [number, scale], shape))
        self.edit.graph.remove(node, safe=True)

    def _initializer(self, kind: str, array: np.ndarray) -> ir.Value:
        value = ir.Value(name=f"{self.value.name}.{kind}", const_value=ir.tensor(np.ascontiguousarray(array)))
        value.shape, value.dtype = ir.Shape(array.shape), ir.DataType.from_numpy(array.dtype)
        self.edit.graph.initializers.add(value)
        return value


def described() -> dict[str, Any]:
    """For the manifest."""
    return {"scheme": "int8 codes, one float32 scale per output channel (per row of an embedding), symmetric"}
