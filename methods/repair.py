"""Repair what a drifted chip computes: without labels, without a gradient, and without writing a cell.

Every output j of a matrix in cells gets a magnitude and an offset, held digitally behind the converters:

    y_j  ->  m_j y_j + b_j

They are found from a few unlabelled inputs. When the chip is fresh, it notes the mean w_j and the variance W_j of each
output over the tokens of these inputs: two numbers an output. Later it reads the same inputs in one pass and repairs
the matrices in the order in which the model reads them, so that what a matrix is fed has passed repaired matrices
already. With g_j and G_j the mean and the variance that it finds now,

    m_j = sqrt((W_j + r m^2 G) / (G_j + r G)),    b_j = w_j - m_j g_j

m^2 is the sum of all W_j over that of all G_j, G the mean of G_j, r = `SHRINKAGE`: an output that hardly varies takes
the magnitude of its matrix. Least squares between the outputs of then and now were tried: they shrink every output by
the noise that is in it, and left more error in the features (docs/repair.md).

After the calibration of magnitudes by matching features from about ten unlabelled samples (arXiv 2504.03763, of which
the abstract was read; there low-rank matrices are trained by gradient, too), and after vectors that are prepared for
each age before deployment (VeRA+, arXiv 2603.26016, abstract): `averaged`. The closed form is ours.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from ..simulator.autograd import ChipReader, ExactReader
from .base import Adaptation

SHRINKAGE = 0.05
NUMBER_BYTES = 4  # of a mean, a variance, a magnitude or an offset: float32


class Moments(NamedTuple):
    """Mean and variance of each output of a matrix, (out,) float32."""

    mean: Tensor
    variance: Tensor


class Correction(NamedTuple):
    """Magnitude and offset of each output of a matrix, (out,) float32."""

    magnitude: Tensor
    offset: Tensor


Memory = Mapping[str, Moments]
"""What a device notes on its first day, by the name of the matrix: of the first time that a pass reads it."""
Corrections = Mapping[str, Correction]
"""By the name of the matrix."""
Inner = ChipReader | ExactReader


def nbytes(kept: Memory | Corrections) -> int:
    """Bytes of what is kept."""
    return NUMBER_BYTES * sum(numbers.numel() for pair in kept.values() for numbers in pair)


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
    """Reads by `inner` and notes what comes out of each matrix the first time."""

    def __init__(self, inner: Inner) -> None:
        self.inner = inner
        self.kept: dict[str, Moments] = {}

    def __call__(self, name: str, x: Tensor, weight: Tensor) -> Tensor:
        y = self.inner(name, x, weight)
        if name not in self.kept:
            self.kept[name] = moments(_real(y, self.inner, x))
        return y


class _Fitting(CorrectedReader):
    """Finds the correction of each matrix when it is first read, and corrects from then on."""

    def __init__(self, inner: Inner, memory: Memory) -> None:
        super().__init__(inner)
        self.memory = memory

    def __call__(self, name: str, x: Tensor, weight: Tensor) -> Tensor:
        if name not in self.memory or name in self.corrections:
            return super().__call__(name, x, weight)
        y = self.inner(name, x, weight)
        found = self.corrections[name] = fitted(moments(_real(y, self.inner, x)), self.memory[name])
        return y * found.magnitude + found.offset


def moments(outputs: Tensor) -> Moments:
    """Mean and variance of each output over the vectors (vectors, out); one vector alone has no variance."""
    exact = outputs.double()
    return Moments(exact.mean(0).float(), exact.var(0, correction=0).float())


def fitted(now: Moments, wanted: Moments) -> Correction:
    """The correction that gives outputs with the moments `now` those `wanted`: see above.

    A matrix of which nothing varies, now or then, keeps a magnitude of 1.
    """
    varies_now, varied = now.variance.double(), wanted.variance.double()
    if varies_now.sum() <= 0 or varied.sum() <= 0:
        magnitude = torch.ones_like(varies_now)
    else:
        pull = SHRINKAGE * varies_now.mean()
        magnitude = ((varied + pull * varied.sum() / varies_now.sum()) / (varies_now + pull)).sqrt()
    return Correction(magnitude.float(), (wanted.mean.double() - magnitude * now.mean.double()).float())


def averaged(of_chips: Sequence[Corrections]) -> dict[str, Correction]:
    """The mean of the corrections of several chips: what can be known of an age before a chip is there."""
    return {
        name: Correction(*(torch.stack(parts).mean(0) for parts in zip(*(c[name] for c in of_chips), strict=True)))
        for name in of_chips[0]
    }


def remember(adaptation: Adaptation, reader: Inner, one_pass: Callable[[], object]) -> dict[str, Moments]:
    """The moments of every matrix in cells that `one_pass` reads through `reader`."""
    watching = _Remembering(reader)
    with adaptation.read_by(watching), torch.no_grad():
        one_pass()
    return watching.kept


def repair(
    adaptation: Adaptation, reader: Inner, one_pass: Callable[[], object], memory: Memory
) -> dict[str, Correction]:
    """The corrections of every matrix that is remembered, found in `one_pass` over the same inputs."""
    fitting = _Fitting(reader, memory)
    with adaptation.read_by(fitting), torch.no_grad():
        one_pass()
    return fitting.corrections


def _real(y: Tensor, reader: Inner, x: Tensor) -> Tensor:
    """The outputs (vectors, out) of the real vectors of x."""
    flat, rows = y.detach().reshape(-1, y.shape[-1]), reader.real_rows(x)
    return flat if rows is None else flat.index_select(0, rows)
