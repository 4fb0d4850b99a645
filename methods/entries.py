"""The first projections of an encoder: what enters them comes from frozen embeddings, and needs no gradient."""

from collections.abc import Collection

from ..workloads.shapes import BlockShape, LinearShape, ModelShape


def entries(shape: ModelShape) -> list[LinearShape]:
    """The projections that the embeddings go into: no gradient is needed beyond them.

    The first query, key and value of the first block of every stack.
    """
    return [linear for block in shape.blocks for linear in _entries(block).values()]


def _entries(block: BlockShape) -> dict[str, LinearShape]:
    """Those of one block, by role."""
    found: dict[str, LinearShape] = {}
    if next((int(part) for part in block.name.split(".") if part.isdigit()), 0) == 0:
        for linear in block.linears:
            if linear.role in ("query", "key", "value"):
                found.setdefault(linear.role, linear)
    return found


def spared_outputs(shape: ModelShape, trained: Collection[LinearShape]) -> int:
    """How many numbers of a token's queries, keys and values come from the embeddings through frozen matrices alone."""
    firsts = [first for block in shape.blocks if "query" in (first := _entries(block))]
    return sum(first["query"].out_features * sum(x not in trained for x in first.values()) for first in firsts)
