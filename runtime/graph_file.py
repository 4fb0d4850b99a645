"""What a graph's file holds, looked at before ONNX Runtime opens it: its operators, and the sizes that constants give.

A graph without loops ends: each of its operators runs once. Three operators run a part of the graph as often as a
number says, and functions that call one another twice each grow beyond all bounds when they are written out. No bundle
that is exported here has any of them, nor operators of other makers.

An ONNX file is a protocol buffer. Only the fields that lead to operators are followed (onnx.proto of ONNX 1.17); all
others are passed over by their length.
"""

import mmap
import os
from pathlib import Path

from ..inputs import open_file
from .graph_sizes import MOST_NUMBERS, Constants, constants, numbers_made
from .protobuf import Bytes, Reader, text

REPEATING = ("Loop", "Scan", "SequenceMap")
"""Operators that run a part of the graph many times."""
STANDARD = ("", "ai.onnx")
"""Names of ONNX's own set of operators."""
MOST_FIELDS = 1_000_000
"""So many fields of a graph's file are looked at, some of them twice; ours take four thousand for a block."""
DEEPEST = 16
"""Graphs inside operators (If) are at most so deep in one another."""

_MODEL_GRAPH, _MODEL_FUNCTION = 7, 25
_GRAPH_NODE, _NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 1, 4, 5, 7
_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS = 6, 11


def require_straight(path: Path, most_bytes: int) -> None:
    """Raise `ValueError` for a graph that repeats a part of itself, has functions or operators that are not ONNX's own,
    makes too many numbers because its constants say so, or is no graph at all; errors of reading as `open_file` has
    them.
    """
    with open_file(path, most_bytes) as file:
        if not os.fstat(file.fileno()).st_size:
            raise ValueError("it is empty")
        # Given back with the last part of it: errors hold parts for a while, and closing would fail.
        _require_straight(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))


def _require_straight(content: Bytes) -> None:
    read, graphs = Reader(MOST_FIELDS), 0
    for number, part in read.fields(content):
        if number == _MODEL_FUNCTION:
            raise ValueError("it defines functions of its own")
        if number == _MODEL_GRAPH and isinstance(part, memoryview):
            graphs += 1
            if graphs == 1:
                made = _numbers_of_graph(read, part, {}, DEEPEST)
    if graphs != 1:
        raise ValueError("it is no ONNX model")
    if made > MOST_NUMBERS:
        raise ValueError(
            f"its constants ask for {made:,} numbers in memory, and at most {MOST_NUMBERS:,} are made for a graph"
        )


def _numbers_of_graph(read: Reader, graph: Bytes, outer: Constants, depth: int) -> int:
    """How many numbers a graph makes by its constants. Raises `ValueError` unless it is straight."""
    if depth == 0:
        raise ValueError(f"it has graphs in one another, more than {DEEPEST} deep")
    known = constants(read, graph, outer)
    return sum(_numbers_of_node(read, node, known, depth) for _, node in read.messages(graph, _GRAPH_NODE))


def _numbers_of_node(read: Reader, node: Bytes, known: Constants, depth: int) -> int:
    names = {_NODE_OPERATOR: "", _NODE_DOMAIN: ""}
    inner = []
    for number, part in read.messages(node, *names, _NODE_ATTRIBUTE):
        if number in names:
            names[number] = text(part)
        else:
            inner += [graph for _, graph in read.messages(part, _ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS)]
    operator, domain = names[_NODE_OPERATOR], names[_NODE_DOMAIN]
    if domain not in STANDARD:
        raise ValueError(f"its operator {operator!r} is not ONNX's own but of {domain!r}")
    if operator in REPEATING:
        raise ValueError(f"its operator {operator!r} repeats a part of the graph, which may never end")
    made = numbers_made(read, operator, node, known)
    return made + sum(_numbers_of_graph(read, graph, known, depth - 1) for graph in inner)
