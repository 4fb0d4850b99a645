"""onnxscript's optimiser without its search through the whole graph at every node.

A pattern that ends in several nodes is looked for from each node of a graph as the first of them, and the matcher lists
all nodes of the graph before it looks whether that node is one at all: seconds times nodes. A node of another operator
is no first node of the pattern: here that is seen first. What is found stays the same.
"""

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def first_node_first() -> Iterator[None]:
    """While it lasts, patterns are looked for only where their first node can be. An onnxscript that is made otherwise
    is left as it is.
    """
    try:
        from onnxscript.rewriter._basics import MatchResult
        from onnxscript.rewriter._matcher import SimplePatternMatcher

        real = SimplePatternMatcher.match
    except (ImportError, AttributeError):
        yield
        return

    def match(self: Any, model: Any, graph: Any, node: Any, **options: Any) -> Any:
        ends: Any = getattr(self.pattern, "output_nodes", ())
        first = ends[0].op_identifier() if len(ends) > 1 else None
        if first is not None and first != node.op_identifier():
            return MatchResult().fail("another operator")
        return real(self, model, graph, node, **options)

    SimplePatternMatcher.match = match  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        SimplePatternMatcher.match = real  # type: ignore[method-assign]
