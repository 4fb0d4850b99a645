"""Frozen weights in 4 bits: codes -8..7 with scales for groups of numbers, in arithmetic of float32.

A matrix of a linear layer has one scale for each tile of 16 x 16 numbers, and a factor for each row and each column
that makes the tiles alike: weight[i, j] = rows[i] * tiles[i // 16, j // 16] * codes[i, j] * columns[j]. A tile is
square because a training graph multiplies with a matrix and with its transpose: runtimes that multiply with 4-bit codes
as they are ask for one scale for some 16 numbers or more that are summed up, and in a square tile the same codes and
scales serve both products. The factors are multiplied to what goes into a product and to what comes out.

Rows of an embedding are looked up, never summed up: they have one scale for each 32 numbers of a row.

A scale is the one of a few that leaves the least error. It may be negative: codes reach further down than up.

As with int8, torch has the rounded model, so the graphs are held against it as closely as those of float32.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import UsageError
from ..workloads.models import Backbone

LOWEST, HIGHEST = -8, 7
TILE = 16
"""Side of a tile of a matrix."""
GROUP = 32
"""Numbers of an embedding's row that share a scale."""
SMALLEST = 4096
"""Numbers in a matrix or a table below which codes would save nothing."""

SESSION = {"session.qdq_matmulnbits_accuracy_level": "1"}
"""Session configuration for graphs with codes of 4 bits. onnxruntime makes one product of DequantizeLinear and MatMul,
which keeps the codes; left to itself it rounds the other operand to eight bits there. 1 is float32.
"""

_BALANCING = 6
"""Rounds in which rows and columns are made alike; further ones change nothing that matters."""
_SHARES = np.linspace(0.6, 1.05, 19)
"""Scales that are tried, as shares of the one that puts the largest magnitude at code -8."""


@dataclass(frozen=True)
class Matrix:
    """Codes (out, in) int8, tiles (out / 16, in / 16), rows (out,) and columns (in,), float32."""

    codes: np.ndarray
    tiles: np.ndarray
    rows: np.ndarray
    columns: np.ndarray

    def decoded(self) -> np.ndarray:
        """The matrix that they stand for, float32."""
        tiled = _tiled(self.codes) * self.tiles[:, :, None, None]
        return self.rows[:, None] * _flat(tiled) * self.columns


@dataclass(frozen=True)
class Table:
    """Codes (rows, width) int8, scales (rows, width / 32) float32."""

    codes: np.ndarray
    scales: np.ndarray

    def decoded(self) -> np.ndarray:
        """The table that they stand for, float32."""
        groups = self.codes.reshape(*self.scales.shape, GROUP)
        return (groups * self.scales[..., None]).reshape(self.codes.shape)

    def nibbles(self) -> np.ndarray:
        """Codes + 8, two in a byte (rows, width / 2) uint8: of the first half of a row the low four bits, of the second
        half the high ones.
        """
        first, second = np.split((self.codes - LOWEST).astype(np.uint8), 2, axis=1)
        return first | second << 4


Codes = dict[str, Matrix | Table]
"""Codes by the `digest` of the weight that they stand for."""


def encode_matrix(array: np.ndarray) -> Matrix | None:
    """Codes of a matrix (out, in), None where it is small or its widths are no multiples of 16."""
    if array.ndim != 2 or array.size < SMALLEST or array.shape[0] % TILE or array.shape[1] % TILE:
        return None
    exact = array.astype(np.float64)
    rows, columns = np.ones((len(exact), 1)), np.ones((1, exact.shape[1]))
    for _ in range(_BALANCING):
        rows *= _deviation(exact / rows / columns, 1)
        columns *= _deviation(exact / rows / columns, 0)
    rows, columns = rows.astype(np.float32), columns.astype(np.float32)
    tiled = _tiled(exact / rows / columns)
    codes, tiles = _search(tiled.reshape(*tiled.shape[:2], TILE * TILE))
    return Matrix(_flat(codes.reshape(tiled.shape)), tiles, rows[:, 0], columns[0])


def encode_table(array: np.ndarray) -> Table | None:
    """Codes of a table (rows, width), None where it is small or its width is no multiple of 32."""
    if array.ndim != 2 or array.size < SMALLEST or array.shape[1] % GROUP:
        return None
    parts = np.array_split(array, max(1, array.size // (1 << 20)))  # of a large vocabulary not all at once
    found = [_search(part.astype(np.float64).reshape(len(part), -1, GROUP)) for part in parts]
    codes, scales = (np.concatenate(kind) for kind in zip(*found, strict=True))
    return Table(codes.reshape(array.shape), scales)


def _deviation(array: np.ndarray, axis: int) -> np.ndarray:
    """Root of the mean square along an axis, 1 where all are zero."""
    found = np.sqrt(np.square(array).mean(axis=axis, keepdims=True))
    return np.where(found > 0, found, 1.0)


def _search(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes (..., n) int8 and scales (...,) float32 for groups (..., n): the best of the scales that are tried."""
    places = np.abs(groups).argmax(axis=-1)[..., None]
    largest = np.take_along_axis(groups, places, -1)
    best = np.full(largest.shape, np.inf)
    scales, codes = np.ones(largest.shape), np.zeros(groups.shape)
    for share in _SHARES:
        scale = (share * largest / LOWEST).astype(np.float32).astype(np.float64)
        usable = scale != 0
        tried = np.clip(np.rint(groups / np.where(usable, scale, 1.0)), LOWEST, HIGHEST)
        error = np.square(tried * scale - groups).sum(axis=-1, keepdims=True)
        better = usable & (error < best)
        best, scales = np.where(better, error, best), np.where(better, scale, scales)
        codes = np.where(better, tried, codes)
    return codes.astype(np.int8), scales[..., 0].astype(np.float32)


def _tiled(array: np.ndarray) -> np.ndarray:
    """(out, in) as tiles (out / 16, in / 16, 16, 16)."""
    rows, columns = array.shape
    return array.reshape(rows // TILE, TILE, columns // TILE, TILE).transpose(0, 2, 1, 3)


def _flat(tiled: np.ndarray) -> np.ndarray:
    """Tiles put together."""
    rows, columns, side, _ = tiled.shape
    return np.ascontiguousarray(tiled.transpose(0, 2, 1, 3)).reshape(rows * side, columns * side)


# --- the model
# ----------------------------------------------------------------------------------------------------------------


def require_fitting(backbone: Backbone) -> None:
    """Raise `UsageError` for a model of which no linear layer can have codes of 4 bits."""
    layers = [module for module in backbone.module.modules() if isinstance(module, nn.Linear)]
    fits = lambda width: width % TILE == 0
    if any(m.weight.numel() >= SMALLEST and fits(m.in_features) and fits(m.out_features) for m in layers):
        return
    widths = sorted({width for m in layers for width in (m.in_features, m.out_features)})
    raise UsageError(
        f"no linear layer of {backbone.name!r} can be stored in 4 bits: its widths are {', '.join(map(str, widths))}; "
        f"both must be multiples of {TILE}, and a matrix must have {SMALLEST} numbers or more; use --weights int8"
    )


@torch.no_grad()
def round_backbone(backbone: Backbone) -> Codes:
    """Round all linear layers and embeddings of a backbone that fit, in place; returns their codes."""
    found: Codes = {}
    for module in backbone.module.modules():
        if not isinstance(module, nn.Linear | nn.Embedding):
            continue
        exact = module.weight.detach().numpy()
        codes = None
        if digest(exact) not in found:  # layers may share a weight
            codes = encode_table(exact) if isinstance(module, nn.Embedding) else encode_matrix(exact)
        if codes is not None:
            rounded = codes.decoded()
            found[digest(rounded)] = codes
            module.weight.copy_(torch.as_tensor(rounded))
    return found


def digest(array: np.ndarray) -> str:
    """Tells arrays apart by shape and content."""
    return f"{array.shape}{hashlib.sha256(array.tobytes()).hexdigest()}"


def described() -> dict[str, Any]:
    """For the manifest."""
    return {
        "scheme": f"int4 codes -8..7; matrices with one float32 scale per {TILE} x {TILE} tile and float32 factors per "
        f"row and column, embeddings with one float32 scale per {GROUP} numbers of a row"
    }
