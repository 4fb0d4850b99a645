"""How torch multiplies what a chip holds: in float32, or with factors rounded to bfloat16.

The product is measured, once in a process, because no name of a processor or library tells: torch calls bfloat16
"supported" where its products do not round.
"""

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

import torch
from torch import Tensor

from ..errors import UsageError

VARIABLE = "EDGE_ADAPT_PRODUCTS"  # takes the place of the measurement: float32 or bfloat16
# Vectors, inputs and outputs of the products that are measured: few and many, with tiles that are not full.
SHAPES = ((32, 64, 32), (32, 300, 70), (64, 256, 256), (256, 128, 96))


class Arithmetic(Enum):
    """The arithmetic of the products in which rounding is allowed; the value is what a report says.

    Wherever factors are rounded, it is to the nearest of bfloat16's 8 bits, and sums are float32. Emulated means that
    the factors are rounded beforehand: slower, and the same numbers but for the order of the sums.
    """

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16 (matrix unit)"
    EMULATED = "bfloat16 (emulated)"

    @property
    def rounds(self) -> bool:
        """Whether factors are rounded."""
        return self is not Arithmetic.FLOAT32


def product_arithmetic() -> str:
    """How products with noisy cells are computed here, in words for a report. UsageError as `arithmetic` raises it."""
    return arithmetic().value


def arithmetic() -> Arithmetic:
    """What the processor does, or what `VARIABLE` asks for; UsageError where it asks for something else."""
    asked = os.environ.get(VARIABLE, "")
    if asked not in ("", "float32", "bfloat16"):
        raise UsageError(f"{VARIABLE}={asked} is not known; allowed: float32, bfloat16, or unset it")
    if asked == "float32":
        return Arithmetic.FLOAT32
    measured = measure()
    return Arithmetic.EMULATED if asked and not measured.rounds else measured


@functools.cache
def measure() -> Arithmetic:
    """BFLOAT16 where every measured product, alone and in a stack, is that of rounded factors added up in float32, and
    FLOAT32 otherwise.

    What decides is the numbers, never the time they took: the same processor always gives the same answer. Torch's
    library rounds float32 factors only where the processor multiplies bfloat16 at several times the speed.
    """
    return Arithmetic.BFLOAT16 if all(_rounds(*shape) for shape in SHAPES) else Arithmetic.FLOAT32


def _rounds(vectors: int, inputs: int, outputs: int) -> bool:
    draw = torch.Generator().manual_seed(vectors + inputs + outputs)
    left = torch.randn(2, vectors, inputs, generator=draw)
    right = torch.randn(2, inputs, outputs, generator=draw)
    with in_bfloat16():
        found = torch.stack([*(left[i] @ right[i] for i in range(2)), *torch.bmm(left, right)])
    a, b = (rounded(x).double() for x in (left, right))
    wanted = (a @ b).repeat(2, 1, 1)
    # Float32 sums of n terms are off by n · 2⁻²⁴ of the sum of their sizes at most. Rounding changes nearly all more.
    allowed = inputs * 2.0**-24 * (a.abs() @ b.abs()).repeat(2, 1, 1)
    return bool(((found - wanted).abs() <= allowed).all())


@contextmanager
def in_bfloat16() -> Iterator[None]:
    """Inside, torch may round the factors of products of float32 matrices to bfloat16."""
    settings = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = settings.fp32_precision
    settings.fp32_precision = "bf16"
    try:
        yield
    finally:
        settings.fp32_precision = before


def rounded(x: Tensor) -> Tensor:
    """x as float32 numbers of bfloat16's 8 bits, the nearest ones, ties to even."""
    return x.bfloat16().float()
