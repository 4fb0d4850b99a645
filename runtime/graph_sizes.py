"""How many numbers the operators of a graph make because constants of the graph say so.

A file of a hundred bytes can ask for any amount of memory: a tensor filled with zeros has its extents in a constant.
Sizes that are computed when the graph runs are not known here.
"""

import math
import struct
from collections import ChainMap
from collections.abc import Iterator, Mapping, MutableMapping

from .protobuf import Bytes, Reader, text

MOST_NUMBERS = 1 << 27
"""No graph may make more numbers so, over all of its operators: no state of a bundle has more either."""

SIZED = {
    "ConstantOfShape": (0,), "Expand": (1,), "Tile": (1,), "OneHot": (1,), "Range": (0, 1, 2), "Pad": (1,),
    "Resize": (2, 3),
}  # fmt: skip
"""Operators whose results are as large as one of these inputs says (of Range: all three; of Resize: either)."""

UNBOUNDED = (
    "AffineGrid", "Bernoulli", "BlackmanWindow", "CenterCropPad", "Col2Im", "ConvTranspose", "DFT", "HammingWindow",
    "HannWindow", "MaxRoiAlign", "MaxUnpool", "MelWeightMatrix", "Multinomial", "RandomNormal", "RandomUniform",
    "RoiAlign", "STFT", "Upsample",
)  # fmt: skip
"""Others that make results of any size, and that no bundle needs."""

Values = tuple[float, ...]
Constants = MutableMapping[bytes, Values | None]
"""Values of the constants of a graph by name; None for one that cannot be the size of anything, such as a weight."""

_INT32, _INT64, _FLOAT, _DOUBLE = 6, 7, 1, 11
_FORMATS = {_INT32: "i", _INT64: "q", _FLOAT: "f", _DOUBLE: "d"}
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_TENSOR, _ATTRIBUTE_INTS, _ATTRIBUTE_SPARSE = 1, 3, 5, 8, 22
_DIMS, _TYPE, _FLOATS, _INT32S, _INT64S, _NAME, _RAW, _DOUBLES, _ELSEWHERE = 1, 2, 4, 5, 7, 8, 9, 10, 13
_MOST_VALUES = 64
"""No tensor has more extents by far."""


def constants(read: Reader, graph: Bytes, outer: Constants) -> Constants:
    """The constants of a graph, beside those of the graphs around it. Raises `ValueError` for sparse ones."""
    found: Constants = {}
    for number, part in read.messages(graph, _GRAPH_INITIALIZER, _GRAPH_NODE, _GRAPH_SPARSE):
        if number == _GRAPH_SPARSE:
            raise ValueError("it holds sparse constants, which may be of any size when they are written out")
        if number == _GRAPH_INITIALIZER:
            name, values = _tensor(read, part)
            found[name] = values
        elif (constant := _of_node(read, part)) is not None:
            found[constant[0]] = constant[1]
    return ChainMap(found, outer)


def numbers_made(read: Reader, operator: str, node: Bytes, known: Mapping[bytes, Values | None]) -> int:
    """How many numbers an operator makes at least, as far as constants say it. Raises `ValueError` for an operator that
    no bundle needs.
    """
    if operator in UNBOUNDED:
        raise ValueError(f"its operator {operator!r} makes results of any size")
    if operator == "Conv":
        return _padded(list(_ints(read, node, "pads")))
    if operator not in SIZED:
        return 0
    names = [bytes(part) for _, part in read.messages(node, _NODE_INPUT)]
    asked = [known.get(names[place], ()) if place < len(names) else () for place in SIZED[operator]]
    if any(values is None for values in asked):
        raise ValueError(f"the size of a result of its operator {operator!r} is no size")
    given = [values for values in asked if values]
    if operator == "Range":
        return _steps(*(values[0] for values in given)) if len(given) == len(asked) else 0
    if operator == "Pad":
        return max((_padded(values) for values in given), default=0)
    return max((_product(values) for values in given), default=0)


def _steps(start: float, limit: float, delta: float) -> int:
    return _finite((limit - start) / delta) if delta else 0


def _padded(pads: "list[int] | Values") -> int:
    """Numbers that a tensor has at least with so many more before and behind them, in each extent."""
    half = len(pads) // 2
    return _product(tuple(1 + max(0, pads[k]) + max(0, pads[half + k]) for k in range(half))) if half else 0


def _product(extents: Values) -> int:
    return _finite(math.prod(abs(float(extent)) for extent in extents))


def _finite(count: float) -> int:
    """The count, or more than is allowed where it is no number."""
    return int(min(max(count, 0.0), 1e18)) if math.isfinite(count) else MOST_NUMBERS + 1


def _of_node(read: Reader, node: Bytes) -> tuple[bytes, Values | None] | None:
    """Name and values of what an operator `Constant` gives; None for others."""
    operator, output, values = "", b"", None
    attributes = []
    for number, part in read.messages(node, _NODE_OPERATOR, _NODE_OUTPUT, _NODE_ATTRIBUTE):
        if number == _NODE_OPERATOR:
            operator = text(part)
        elif number == _NODE_OUTPUT:
            output = bytes(part)
        else:
            attributes.append(part)
    if operator != "Constant":
        return None
    for attribute in attributes:
        values = _of_attribute(read, attribute)
    return output, values


def _of_attribute(read: Reader, attribute: Bytes) -> Values | None:
    numbers: list[float] = []
    for number, part in read.fields(attribute):
        if number == _ATTRIBUTE_SPARSE:
            raise ValueError("it holds sparse constants, which may be of any size when they are written out")
        if number == _ATTRIBUTE_TENSOR and isinstance(part, memoryview):
            return _tensor(read, part)[1]
        if number in (_ATTRIBUTE_INT, _ATTRIBUTE_INTS) and part is not None and len(numbers) <= _MOST_VALUES:
            numbers += read.whole_numbers(part)
    return tuple(numbers) if len(numbers) <= _MOST_VALUES else None


def _tensor(read: Reader, tensor: Bytes) -> tuple[bytes, Values | None]:
    """Name and values of a tensor; None for values that are many, elsewhere, or of another type."""
    name, kind, raw, small = b"", 0, None, True
    numbers: list[float] = []
    for number, part in read.fields(tensor):
        if number == _NAME and isinstance(part, memoryview):
            name = bytes(part)
        elif number == _TYPE and isinstance(part, int):
            kind = part
        elif number == _ELSEWHERE:
            small = False
        elif number == _RAW and isinstance(part, memoryview):
            raw = part
        elif number in (_FLOATS, _DOUBLES, _INT32S, _INT64S):
            small = small and (not isinstance(part, memoryview) or len(part) <= 10 * _MOST_VALUES)
            if small and number in (_INT32S, _INT64S):
                numbers += read.whole_numbers(part)
            elif small and isinstance(part, memoryview):
                numbers += _unpacked("f" if number == _FLOATS else "d", part)
    if not small or kind not in _FORMATS or len(numbers) > _MOST_VALUES:
        return name, None
    if raw is not None:
        return name, _unpacked(_FORMATS[kind], raw) if len(raw) <= 8 * _MOST_VALUES else None
    return name, tuple(numbers)


def _unpacked(kind: str, content: Bytes) -> Values:
    size = struct.calcsize(kind)
    return struct.unpack(f"<{len(content) // size}{kind}", content[: len(content) // size * size])


def _ints(read: Reader, node: Bytes, wanted: str) -> Iterator[int]:
    """The whole numbers of an attribute."""
    for _, attribute in read.messages(node, _NODE_ATTRIBUTE):
        name = next((text(part) for _, part in read.messages(attribute, _ATTRIBUTE_NAME)), "")
        if name == wanted:
            for number, part in read.fields(attribute):
                if number == _ATTRIBUTE_INTS:
                    yield from read.whole_numbers(part)
