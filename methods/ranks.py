"""Which ranks of a low-rank pair of matrices training has kept: the state itself says it."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from torch import Tensor

from .beside import LowRank


class Kept(NamedTuple):
    """The ranks of a matrix that count, by number: of its rows (axis 0) or its columns (axis 1)."""

    axis: int
    ranks: np.ndarray


def kept(pairs: Iterable[LowRank], tensors: Mapping[str, Tensor], gated: bool) -> dict[str, Kept]:
    """The kept ranks of both matrices of each pair, by their names.

    A rank is given up where its row of the first matrix and its column of the second are zero: it adds nothing, and no
    gradient reaches it any more. `gated`: also where its gate is zero; it adds nothing then, but may come back.
    """
    found: dict[str, Kept] = {}
    for pair in pairs:
        first, second = tensors[pair.first].detach(), tensors[pair.second].detach()
        alive = (first != 0).any(1) | (second != 0).any(0)
        if gated and pair.gate:
            alive &= tensors[pair.gate].detach().flatten() != 0
        ranks = np.flatnonzero(alive.numpy())
        found |= {pair.first: Kept(0, ranks), pair.second: Kept(1, ranks)}
    return found
