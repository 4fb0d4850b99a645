"""The matrix products of a read, in numpy; `autograd.TorchProducts` does the same faster where torch is at hand."""

from collections.abc import Iterator

import numpy as np

from . import read_kernels
from .arrays import CrossbarMatrix

FEW = 4  # vectors up to which a plain loop is faster than a product


class Products:
    """What a read multiplies. `codes` and `squares` are (vectors, in) float32; results go to `out` (slices *
    row_tiles, vectors, sensed), one product for each stack of arrays that is converted on its own. `parts`: whether
    large reads are done in parts on several threads, and not each product. `whole`: whether products of whole numbers
    (`whole_sums`) are to be had, and faster.
    """

    parts = True
    whole = False

    def multiply(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """a (m, k) times b (k, n)."""
        return a @ b

    def sums(self, codes: np.ndarray, matrix: CrossbarMatrix, weights: np.ndarray, out: np.ndarray) -> None:
        """Bit-line sums of the drive `codes` over `weights` (slices, in, sensed), float32."""
        if len(codes) <= FEW:
            read_kernels.sum_few(codes, weights, matrix.layout.rows, out)
            return
        for c, (s, rows) in enumerate(chunks(matrix)):
            np.matmul(codes[:, rows], weights[s, rows], out=out[c])

    def variances(self, squares: np.ndarray, matrix: CrossbarMatrix, out: np.ndarray) -> None:
        """Variance of the read noise on the sums, float32; `squares` are the squared codes."""
        bits = matrix.noise_bits
        if len(squares) <= FEW:
            read_kernels.sum_few_bits(squares, bits, matrix.layout.rows, out)
            return
        wide = np.empty((min(matrix.layout.rows, matrix.layout.inputs), bits.shape[2]), np.float32)
        for c, (s, rows) in enumerate(chunks(matrix)):
            noise = wide[: rows.stop - rows.start]
            read_kernels.widen(bits[s, rows], noise)
            np.matmul(squares[:, rows], noise, out=out[c])

    def whole_sums(self, codes: np.ndarray, values: np.ndarray, rows: int, out: np.ndarray) -> None:
        """The same of whole numbers: codes (vectors, in) and values (slices, in, columns) int8, out (slices *
        row_tiles, vectors, columns) int32, in arrays of so many rows.
        """
        tiles = -(-values.shape[1] // rows)
        for s in range(len(values)):
            for tile in range(tiles):
                where = slice(tile * rows, (tile + 1) * rows)
                np.matmul(codes[:, where], values[s, where], out=out[s * tiles + tile], dtype=np.int32)


def chunks(matrix: CrossbarMatrix) -> Iterator[tuple[int, slice]]:
    """(slice, word lines) of every array stack that is converted on its own, in the order of the partial sums."""
    rows, layout = matrix.layout.rows, matrix.layout
    for s in range(layout.slices):
        for tile in range(layout.row_tiles):
            yield s, slice(tile * rows, min((tile + 1) * rows, layout.inputs))
