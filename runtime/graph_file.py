"""What a graph's file holds, looked at before ONNX Runtime opens it: the names of its operators.

A graph without loops ends: each of its operators runs once. Three operators run a part of the graph as often as a
number says, and functions that call one another twice each grow beyond all bounds when they are written out. No bundle
that is exported here has any of them, nor operators of other makers.

An ONNX file is a protocol buffer: a sequence of fields, each a number, a kind, and content. Only those that lead to
operators are followed (onnx.proto of ONNX 1.17); all others are
passed over by their length.
"""

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

from ..inputs import open_file

Bytes = memoryview

REPEATING = ("Loop", "Scan", "SequenceMap")
"""Operators that run a part of the graph many times."""
STANDARD = ("", "ai.onnx")
"""Names of ONNX's own set of operators."""
DEEPEST = 16
"""Graphs inside operators (If) are at most so deep in one another."""

_MODEL_GRAPH, _MODEL_FUNCTION = 7, 25
_GRAPH_NODE, _NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 1, 4, 5, 7
_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS = 6, 11
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


def require_straight(path: Path, most_bytes: int) -> None:
    """Raise `ValueError` for a graph that repeats a part of itself, has functions or operators that are not ONNX's own,
    or is no graph at all; errors of reading as `open_file` has them.
    """
    with open_file(path, most_bytes) as file:
        if not os.fstat(file.fileno()).st_size:
            raise ValueError("it is empty")
        # Given back with the last part of it: errors hold parts for a while, and closing would fail.
        _require_straight(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))


def _require_straight(content: Bytes) -> None:
    graphs = 0
    for number, part in _fields(content):
        if number == _MODEL_FUNCTION:
            raise ValueError("it defines functions of its own")
        if number == _MODEL_GRAPH and part is not None:
            graphs += 1
            _require_straight_graph(part, DEEPEST)
    if graphs != 1:
        raise ValueError("it is no ONNX model")


def _require_straight_graph(graph: Bytes, depth: int) -> None:
    if depth == 0:
        raise ValueError(f"it has graphs in one another, more than {DEEPEST} deep")
    for number, node in _fields(graph):
        if number == _GRAPH_NODE and node is not None:
            _require_straight_node(node, depth)


def _require_straight_node(node: Bytes, depth: int) -> None:
    names = {_NODE_OPERATOR: "", _NODE_DOMAIN: ""}
    inner = []
    for number, part in _fields(node):
        if part is not None and number in names:
            names[number] = bytes(part[:200]).decode("utf-8", "replace")
        elif part is not None and number == _NODE_ATTRIBUTE:
            inner += [graph for kind, graph in _fields(part) if kind in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS)]
    operator, domain = names[_NODE_OPERATOR], names[_NODE_DOMAIN]
    if domain not in STANDARD:
        raise ValueError(f"its operator {operator!r} is not ONNX's own but of {domain!r}")
    if operator in REPEATING:
        raise ValueError(f"its operator {operator!r} repeats a part of the graph, which may never end")
    for graph in inner:
        if graph is not None:
            _require_straight_graph(graph, depth - 1)


def _fields(content: Bytes) -> Iterator[tuple[int, Bytes | None]]:
    """Numbers and contents of the fields of a message; None for the content of plain numbers."""
    place, end = 0, len(content)
    while place < end:
        key, place = _varint(content, place)
        number, kind = key >> 3, key & 7
        if kind == _LENGTH:
            length, place = _varint(content, place)
            if length > end - place:
                raise ValueError("it is cut off, or no ONNX model")
            yield number, content[place : place + length]
            place += length
        elif kind == _VARINT:
            _, place = _varint(content, place)
            yield number, None
        elif kind in (_FIXED32, _FIXED64):
            place += 4 if kind == _FIXED32 else 8
            yield number, None
        else:
            raise ValueError("it is no ONNX model")
    if place > end:
        raise ValueError("it is cut off, or no ONNX model")


def _varint(content: Bytes, place: int) -> tuple[int, int]:
    """A whole number written in groups of seven bits, and the place behind it."""
    value = 0
    for shift in range(0, 64, 7):
        if place >= len(content):
            break
        byte = content[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("it is cut off, or no ONNX model")
