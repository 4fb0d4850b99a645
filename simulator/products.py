"""The matrix products of a read, in numpy; `autograd.TorchProducts` does the same faster where torch is at hand."""

from collections.abc import Iterator

import numpy as np

from .arrays import CrossbarMatrix


class Products:
    """What a read multiplies. `codes` and `squares` are (vectors, in) float32; results go to `out` (slices *
    row_tiles, vectors, outputs), one product for each stack of arrays that is converted on its own.
    """

    def multiply(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """a (m, k) times b (k, n)."""
        return a @ b

    def sums(self, codes: np.ndarray, matrix: CrossbarMatrix, out: np.ndarray) -> None:
        """Bit-line sums of the drive `codes`, in units of full drive times (g_max - g_min)."""
        for c, (s, rows) in enumerate(chunks(matrix)):
            np.matmul(codes[:, rows], matrix.pairs[s, rows], out=out[c])

    def variances(self, squares: np.ndarray, matrix: CrossbarMatrix, out: np.ndarray) -> None:
        """Variance of the read noise on the sums; `squares` are the squared codes."""
        noise = matrix.noise
        for c, (s, rows) in enumerate(chunks(matrix)):
            np.matmul(squares[:, rows], noise[s, rows], out=out[c])


def chunks(matrix: CrossbarMatrix) -> Iterator[tuple[int, slice]]:
    """(slice, word lines) of every array stack that is converted on its own, in the order of the partial sums."""
    rows, layout = matrix.layout.rows, matrix.layout
    for s in range(layout.slices):
        for tile in range(layout.row_tiles):
            yield s, slice(tile * rows, min((tile + 1) * rows, layout.inputs))
