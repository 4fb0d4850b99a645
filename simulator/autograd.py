"""The one place where torch meets the simulator: a matrix read as an autograd function."""

from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor

from .arithmetic import Arithmetic, arithmetic, in_bfloat16, rounded
from .arrays import CrossbarMatrix
from .chip import ProgrammedModel
from .products import Products

ROUGH_FROM = 0.01  # read noise, as a share of the conductance, from which products may round to bfloat16


class _CrossbarRead(torch.autograd.Function):
    """y = noisy, converted read of the cells for x (vectors, in); gradients are those of the exact product with what
    the cells hold (straight-through).

    `rows` selects the vectors that are driven; the others read as zero and cost nothing. None: all are driven.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, reader: "ChipReader", name: str, rows: Tensor | None) -> Tensor:
        ctx.reader, ctx.name = reader, name
        driven = x if rows is None else x.index_select(0, rows)
        ctx.save_for_backward(driven if ctx.needs_input_grad[1] else None, rows)
        y = torch.from_numpy(reader.chip_model.matvec(name, driven.numpy()))
        return y if rows is None else _spread(y, rows, len(x))

    @staticmethod
    def backward(ctx, *gradients: Tensor):
        (gradient,) = gradients
        driven, rows = ctx.saved_tensors
        total = len(gradient)
        if rows is not None:
            gradient = gradient.index_select(0, rows)
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            ctx.reader.chip_model.count_transposed(ctx.name, len(gradient))
            grad_x = torch.from_numpy(ctx.reader.chip_model.transposed_product(ctx.name, gradient.numpy()))
            if rows is not None:
                grad_x = _spread(grad_x, rows, total)
        if ctx.needs_input_grad[1]:
            grad_weight = gradient.t() @ driven
        return grad_x, grad_weight, None, None, None


def _spread(y: Tensor, rows: Tensor, total: int) -> Tensor:
    """`total` vectors, zero but for those of y, which go to `rows`."""
    others = torch.ones(total, dtype=torch.bool).index_fill_(0, rows, False).nonzero().squeeze(1)
    return y.new_empty(total, y.shape[1]).index_copy_(0, rows, y).index_fill_(0, others, 0.0)


class TorchProducts(Products):
    """The products of a read by torch: all full tiles of a slice at once, on as many threads as torch uses.

    Where the processor multiplies bfloat16 several times faster (`arithmetic` measures it), numbers are rounded to 8
    bits:

    - for the variance of the read noise. All its terms are positive: it comes out within 1 %, and its square root, the
      scale of the noise, within 0.5 %;
    - for the sums themselves and the products of a backward pass, where the cells have read noise of `ROUGH_FROM` of
      their conductance or more. Rounding both factors moves the share of a cell in a sum by 0.8 % at most and 0.24 %
      rms, against 1 % rms or more that its noise moves it. Chips with less noise are read in float32.
    """

    parts = False  # torch has its own threads
    # The bfloat16 unit is programmed anew, and for good, for each number of vectors it meets: let them be few.
    vectors_step = 32

    def __init__(self, how: Arithmetic | None = None) -> None:
        """`how`: None for what `arithmetic` says."""
        self.how = arithmetic() if how is None else how
        self.variance_type = np.uint16 if self.how.rounds else np.float32

    def multiply(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (torch.from_numpy(a) @ torch.from_numpy(b)).numpy()

    def multiply_backward(self, matrix: CrossbarMatrix, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        if not self._rough(matrix):
            return self.multiply(a, b)
        if self.how is Arithmetic.EMULATED:
            return (rounded(torch.from_numpy(a)) @ rounded(torch.from_numpy(b))).numpy()
        padded = np.zeros((-(-len(a) // self.vectors_step) * self.vectors_step, a.shape[1]), np.float32)
        padded[: len(a)] = a
        with in_bfloat16():
            return self.multiply(padded, b)[: len(a)]

    def sums(self, codes: np.ndarray, matrix: CrossbarMatrix, weights: np.ndarray, out: np.ndarray) -> None:
        x, tiles = torch.from_numpy(codes), [torch.from_numpy(digits) for digits in weights]
        rough = self._rough(matrix)
        if rough and self.how is Arithmetic.EMULATED:
            x, tiles = rounded(x), [rounded(digits) for digits in tiles]
        with in_bfloat16() if rough and self.how is Arithmetic.BFLOAT16 else nullcontext():
            self._tiled(x, tiles, matrix.layout.rows, torch.from_numpy(out))

    def variances(self, squares: np.ndarray, matrix: CrossbarMatrix, out: np.ndarray) -> None:
        x, result, rows = torch.from_numpy(squares), torch.from_numpy(out), matrix.layout.rows
        noise = list(torch.from_numpy(matrix.noise_bits).view(torch.bfloat16))
        if self.how is Arithmetic.BFLOAT16:
            self._tiled(x.bfloat16(), noise, rows, result.view(torch.bfloat16))
        elif self.how is Arithmetic.EMULATED:
            exact = torch.empty(result.shape)
            self._tiled(rounded(x), [variance.float() for variance in noise], rows, exact)
            result.view(torch.bfloat16).copy_(exact)
        else:
            self._tiled(x, [variance.float() for variance in noise], rows, result)

    def _rough(self, matrix: CrossbarMatrix) -> bool:
        return self.how.rounds and (matrix.chip.cell.read_noise_relative or 0.0) >= ROUGH_FROM

    @staticmethod
    def _tiled(x: Tensor, slices: list[Tensor], rows: int, out: Tensor) -> None:
        """out (slices * row_tiles, vectors, sensed): x (vectors, in) times each tile of each slice (in, sensed)."""
        inputs = x.shape[1]
        tiles, full = -(-inputs // rows), inputs // rows
        for s, weights in enumerate(slices):
            first = s * tiles
            if full:
                left = x[:, : full * rows].unflatten(1, (full, rows)).transpose(0, 1)
                right = weights[: full * rows].unflatten(0, (full, rows))
                torch.bmm(left, right, out=out[first : first + full])
            if full < tiles:
                torch.mm(x[:, full * rows :], weights[full * rows :], out=out[first + full])


class PaddingReader:
    """A reader that leaves padding out: `mask` (batch, tokens), set by `watch`, selects the real tokens of a (batch,
    tokens, in) input; the others get zeros.
    """

    def __init__(self) -> None:
        self._mask: Tensor | None = None
        self._rows: Tensor | None = None

    @property
    def mask(self) -> Tensor | None:
        """Which tokens (batch, tokens) are real; None: all are."""
        return self._mask

    @mask.setter
    def mask(self, mask: Tensor | None) -> None:
        self._mask = mask
        self._rows = None if mask is None or bool(mask.all()) else mask.flatten().nonzero().squeeze(1)

    def watch(self, encoder: torch.nn.Module) -> Callable[[], None]:
        """Take the mask from every call encoder(input_ids=..., attention_mask=...); returns the function that ends
        it.
        """

        def note(_module, _args, kwargs):
            mask = kwargs.get("attention_mask")
            self.mask = None if mask is None else mask.bool()

        return encoder.register_forward_pre_hook(note, with_kwargs=True).remove

    def _flat(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """x as vectors (n, in), and the numbers of those that are real (None: all)."""
        known = self._mask is not None and self._mask.shape == x.shape[:-1]
        return x.reshape(-1, x.shape[-1]), self._rows if known else None


class ExactReader(PaddingReader):
    """Exact products, padding left out: reader(name, x (..., in), weight (out, in)) -> (..., out)."""

    def __call__(self, name: str, x: Tensor, weight: Tensor) -> Tensor:
        flat, rows = self._flat(x)
        if rows is None:
            return torch.nn.functional.linear(x, weight)
        y = torch.nn.functional.linear(flat.index_select(0, rows), weight)
        return y.new_zeros(len(flat), len(weight)).index_copy(0, rows, y).reshape(*x.shape[:-1], -1)


class ChipReader(PaddingReader):
    """Reads matrices through a programmed chip: reader(name, x (..., in), weight (out, in)) -> (..., out).

    Matrices that are not on the chip are read exactly. Padding is never driven, and nothing is charged for it.
    `bypass` names matrices that are read exactly although they are on the chip: those trained digitally before they
    are written.
    """

    def __init__(self, chip_model: ProgrammedModel):
        super().__init__()
        self.chip_model = chip_model
        chip_model.products = TorchProducts()
        self.bypass: frozenset[str] = frozenset()

    def __call__(self, name: str, x: Tensor, weight: Tensor) -> Tensor:
        if name in self.bypass or name not in self.chip_model:
            return torch.nn.functional.linear(x, weight)
        flat, rows = self._flat(x)
        return _CrossbarRead.apply(flat, weight, self, name, rows).reshape(*x.shape[:-1], -1)
