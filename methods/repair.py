"""Repair what a drifted chip computes: without labels, without a gradient, and without writing a cell.

Every output j of a matrix in cells gets a magnitude and an offset, held digitally behind the converters:

    y_j  ->  m_j y_j + b_j

They are found from a few unlabelled inputs, whose outputs were remembered when the chip was fresh. In one pass over the
inputs the matrices are repaired in the order in which the model reads them, so that what a matrix is fed has passed
repaired matrices already. With g the outputs read now and w those remembered, (m_j, b_j) is the least-squares solution

    min  sum_n (m_j g_nj + b_j - w_nj)^2 + r G (m_j - m)^2

m is the best magnitude that all outputs of the matrix could share, G the mean over the outputs of the sum of squares of
the centred g, r = `SHRINKAGE`: an output that hardly varies takes the magnitude of its matrix.

After the calibration of magnitudes by matching features from about ten unlabelled samples (arXiv 2504.03763, of which
the abstract was read; there low-rank matrices are trained by gradient, too), and after vectors that are prepared for
each age before deployment (VeRA+, arXiv 2603.26016, abstract): `averaged`. The closed form is ours.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..simulator.autograd import ChipReader, ExactReader
from .base import Adaptation

SHRINKAGE = 0.05
VECTORS = 256  # of a matrix, the most that are remembered
NUMBER_BYTES = 2  # of a remembered output: 16 bits


class Correction(NamedTuple):
    """Magnitude and offset of each output of a matrix, (out,) float32."""

    magnitude: Tensor
    offset: Tensor


Corrections = Mapping[str, Correction]
"""By the name of the matrix."""
Inner = ChipReader | ExactReader


@dataclass(frozen=True)
class Memory:
    """What a device remembers of a few inputs: outputs (vectors, out) float16 of each matrix, the first time that a
    pass reads it.
    """

    outputs: Mapping[str, Tensor]

    @property
    def nbytes(self) -> int:
        """Bytes of it."""
        return NUMBER_BYTES * sum(outputs.numel() for outputs in self.outputs.values())


@dataclass
class CorrectedReader:
    """Reads by `inner` and corrects what comes out. `corrected_outputs` counts the outputs that were corrected: each
    takes one multiplication, which the scale of the converters' results has in it already, and one addition.
    """

    inner: Inner
    corrections: dict[str, Correction] = field(default_factory=dict)
    corrected_outputs: int = 0

    def __call__(self, name: str, x: Tensor, weight: Tensor) -> Tensor:
        y = self.inner(name, x, weight)
        found = self.corrections.get(name)
        if found is None:
            return y
        self.corrected_outputs += self.inner.real_vectors(x) * y.shape[-1]
        return y * found.magnitude + found.offset


class _Remembering:
    """Reads by `inner` and keeps what comes out of each matrix the first time."""

    def __init__(self, inner: Inner) -> None:
        self.inner = inner
        self.kept: dict[str, Tensor] = {}

    def __call__(self, name: str, x: Tensor, weight: Tensor) -> Tensor:
        y = self.inner(name, x, weight)
        if name not in self.kept:
            self.kept[name] = _some(y, self.inner, x)
        return y


class _Fitting(CorrectedReader):
    """Finds the correction of each matrix when it is first read, and corrects from then on."""

    memory: Memory

    def __call__(self, name: str, x: Tensor, weight: Tensor) -> Tensor:
        if name in self.memory.outputs and name not in self.corrections:
            y = self.inner(name, x, weight)
            self.corrections[name] = fitted(_some(y, self.inner, x), self.memory.outputs[name].float())
            found = self.corrections[name]
            return y * found.magnitude + found.offset
        return super().__call__(name, x, weight)


def fitted(now: Tensor, wanted: Tensor) -> Correction:
    """The correction that brings outputs `now` (vectors, out) nearest to those `wanted`: see above.

    An output without any variation keeps the matrix's magnitude; a matrix of which nothing varies, or of which what
    comes out has nothing to do with what is wanted, a magnitude of 1.
    """
    now, wanted = now.double(), wanted.double()
    mean_now, mean_wanted = now.mean(0), wanted.mean(0)
    g, w = now - mean_now, wanted - mean_wanted
    products, squares = (g * w).sum(0), (g * g).sum(0)
    whole = products.sum() / squares.sum() if squares.sum() > 0 and products.sum() > 0 else products.new_tensor(1.0)
    pull = SHRINKAGE * squares.mean()
    magnitude = (products + pull * whole) / (squares + pull) if pull > 0 else whole.expand(now.shape[1])
    return Correction(magnitude.float(), (mean_wanted - magnitude * mean_now).float())


def averaged(of_chips: Sequence[Corrections]) -> dict[str, Correction]:
    """The mean of the corrections of several chips: what can be known of an age before a chip is there."""
    first = of_chips[0]
    return {
        name: Correction(*(torch.stack(parts).mean(0) for parts in zip(*(c[name] for c in of_chips), strict=True)))
        for name in first
    }


def remember(adaptation: Adaptation, reader: Inner, one_pass: Callable[[], object], passes: int = 1) -> Memory:
    """Outputs of every matrix in cells that `one_pass` reads through `reader`, the mean of so many passes."""
    sums: dict[str, Tensor] = {}
    for _ in range(passes):
        watching = _Remembering(reader)
        with adaptation.read_by(watching), torch.no_grad():
            one_pass()
        sums = {name: kept + sums.get(name, 0.0) for name, kept in watching.kept.items()}
    return Memory({name: (total / passes).half() for name, total in sums.items()})


def repair(
    adaptation: Adaptation, reader: Inner, one_pass: Callable[[], object], memory: Memory
) -> dict[str, Correction]:
    """The corrections of every matrix that is remembered, found in `one_pass` over the same inputs."""
    fitting = _Fitting(reader)
    fitting.memory = memory
    with adaptation.read_by(fitting), torch.no_grad():
        one_pass()
    return fitting.corrections


def numbers(corrections: Corrections) -> int:
    """How many numbers the corrections are."""
    return sum(c.magnitude.numel() + c.offset.numel() for c in corrections.values())


def _some(y: Tensor, reader: Inner, x: Tensor) -> Tensor:
    """Outputs (vectors, out) of at most `VECTORS` real vectors, evenly spread over all."""
    flat, real = y.detach().reshape(-1, y.shape[-1]), reader.real_rows(x)
    rows = torch.arange(len(flat)) if real is None else real
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(VECTORS, len(rows))).round().astype(np.int64))
    return flat.index_select(0, rows[torch.from_numpy(chosen)])
