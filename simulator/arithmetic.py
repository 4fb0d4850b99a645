"""How torch multiplies what a chip holds: as whole numbers of 8 bits, or in float32.

Products of whole numbers are exact, so that they are the same on every processor, and several times faster than float32
where the processor has instructions for them. Some libraries lose sums on processors that have not: two products of 8
bits no longer fit into 16. So the product is measured, once in a process; no name of a processor or library tells.
"""

import functools
import os
from enum import Enum

import torch

from ..errors import UsageError

VARIABLE = "EDGE_ADAPT_PRODUCTS"  # float32: takes the place of the measurement
# Vectors, inputs and columns of the products that are measured: few and many, with blocks that are not full.
SHAPES = ((5, 3, 2), (32, 64, 32), (33, 300, 70), (64, 256, 256), (256, 128, 97))
LARGEST = 127


class Arithmetic(Enum):
    """The arithmetic of the products of reads; the value is what a report says."""

    WHOLE = "8-bit whole numbers"
    FLOAT32 = "float32"


def product_arithmetic() -> str:
    """How products of reads are computed here, in words for a report. UsageError as `arithmetic` raises it."""
    return arithmetic().value


def arithmetic() -> Arithmetic:
    """What the processor does, or what `VARIABLE` asks for; UsageError where it asks for something else."""
    asked = os.environ.get(VARIABLE, "")
    if asked not in ("", "float32"):
        raise UsageError(f"{VARIABLE}={asked} is not known; allowed: float32, or unset it")
    return Arithmetic.FLOAT32 if asked else measure()


@functools.cache
def measure() -> Arithmetic:
    """WHOLE where torch has products of whole numbers and every measured one is exact, and FLOAT32 otherwise.

    What decides is the numbers, never the time they took: the same processor always gives the same answer.
    """
    return Arithmetic.WHOLE if all(_exact(*shape) for shape in SHAPES) else Arithmetic.FLOAT32


def _exact(vectors: int, inputs: int, columns: int) -> bool:
    draw = torch.Generator().manual_seed(vectors + inputs + columns)
    left = torch.randint(-LARGEST, LARGEST + 1, (vectors, inputs), generator=draw, dtype=torch.int8)
    right = torch.randint(-LARGEST, LARGEST + 1, (inputs, columns), generator=draw, dtype=torch.int8)
    full = torch.full_like(left, LARGEST), torch.full_like(right, LARGEST)
    pairs = ((left, right), full, (-full[0], full[1]), (left, full[1]), (full[0], right))
    try:
        return all(torch.equal(torch._int_mm(a, b).double(), a.double() @ b.double()) for a, b in pairs)
    except (AttributeError, RuntimeError):  # a torch without them, or for another kind of processor
        return False
