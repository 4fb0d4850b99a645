"""The one place where torch meets the simulator: a matrix read as an autograd function."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import EdgeAdaptError, nearest
from .arithmetic import Arithmetic, arithmetic
from .arrays import CrossbarMatrix
from .chip import ProgrammedModel
from .products import Products


class _CrossbarRead(torch.autograd.Function):
    """y = noisy, converted read of the cells for x (vectors, in); gradients are those of the exact product with what
    the cells hold (straight-through), or go through transposed reads as noisy (`array.backward`).

    `real` selects the vectors that are driven; the others read as zero and cost nothing. None: all are driven.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, reader: "ChipReader", name: str, real: "Real | None") -> Tensor:
        ctx.reader, ctx.name, ctx.real = reader, name, real
        driven = x if real is None else reader.driven(x, real)
        ctx.save_for_backward(driven if ctx.needs_input_grad[1] else None)
        y = torch.from_numpy(reader.chip_model.matvec(name, driven.numpy()))
        return y if real is None else real.spread(y)

    @staticmethod
    def backward(ctx, *gradients: Tensor):
        (gradient,) = gradients
        (driven,), real = ctx.saved_tensors, ctx.real
        if real is not None:
            gradient = gradient.index_select(0, real.rows)
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            ctx.reader.chip_model.count_transposed(ctx.name, len(gradient))
            grad_x = torch.from_numpy(ctx.reader.chip_model.transposed_product(ctx.name, gradient.numpy()))
            if real is not None:
                grad_x = real.spread(grad_x)
        if ctx.needs_input_grad[1]:
            grad_weight = ctx.reader.rounded(gradient).t() @ ctx.reader.rounded(driven)
        return grad_x, grad_weight, None, None, None


class Real(NamedTuple):
    """Which vectors of a batch are real, by number, and which are padding."""

    rows: Tensor
    padding: Tensor

    def spread(self, y: Tensor) -> Tensor:
        """The vectors y at the places of the real ones; those of the padding are zero."""
        total = len(self.rows) + len(self.padding)
        return y.new_empty(total, y.shape[1]).index_copy_(0, self.rows, y).index_fill_(0, self.padding, 0.0)


class Piece(NamedTuple):
    """Some ranks of a matrix, the rows (axis 0) or columns (axis 1) by number, and where they are in arrays of their
    own: `cells` names these, `places` are their rows or columns, of `size`. What else is there counts for nothing.
    """

    cells: str
    axis: int
    ranks: np.ndarray
    places: np.ndarray
    size: int


class TorchProducts(Products):
    """The products of a read by torch: of whole numbers where they are exact (`arithmetic` measures it), and else in
    float32, all full tiles of a slice at once, on as many threads as torch uses.
    """

    parts = False  # torch shares each product among its threads

    def __init__(self, how: Arithmetic | None = None) -> None:
        """`how`: None for what `arithmetic` says."""
        self.whole = (arithmetic() if how is None else how) is Arithmetic.WHOLE

    @torch.autocast("cpu", enabled=False)
    def multiply(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (torch.from_numpy(a) @ torch.from_numpy(b)).numpy()

    @torch.autocast("cpu", enabled=False)
    def sums(self, codes: np.ndarray, matrix: CrossbarMatrix, weights: np.ndarray, out: np.ndarray) -> None:
        tiles = [torch.from_numpy(digits) for digits in weights]
        self._tiled(torch.from_numpy(codes), tiles, matrix.layout.rows, torch.from_numpy(out))

    @torch.autocast("cpu", enabled=False)
    def variances(self, squares: np.ndarray, matrix: CrossbarMatrix, out: np.ndarray) -> None:
        noise = [variance.float() for variance in torch.from_numpy(matrix.noise_bits).view(torch.bfloat16)]
        self._tiled(torch.from_numpy(squares), noise, matrix.layout.rows, torch.from_numpy(out))

    def whole_sums(self, codes: np.ndarray, values: np.ndarray, rows: int, out: np.ndarray) -> None:
        x, weights, result = (torch.from_numpy(array) for array in (codes, values, out))
        tiles = -(-values.shape[1] // rows)
        for s in range(len(values)):
            for tile in range(tiles):
                where = slice(tile * rows, (tile + 1) * rows)
                torch._int_mm(x[:, where], weights[s, where], out=result[s * tiles + tile])

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
        self._real: Real | None = None

    @property
    def mask(self) -> Tensor | None:
        """Which tokens (batch, tokens) are real; None: all are."""
        return self._mask

    @mask.setter
    def mask(self, mask: Tensor | None) -> None:
        self._mask = mask
        self._real = None
        if mask is not None and not bool(mask.all()):
            flat = mask.flatten()
            self._real = Real(flat.nonzero().squeeze(1), flat.logical_not().nonzero().squeeze(1))

    def watch(self, encoder: torch.nn.Module) -> Callable[[], None]:
        """Take the mask from every call encoder(input_ids=..., attention_mask=...); returns the function that ends
        it.
        """

        def note(_module, _args, kwargs):
            mask = kwargs.get("attention_mask")
            self.mask = None if mask is None else mask.bool()

        return encoder.register_forward_pre_hook(note, with_kwargs=True).remove

    def real_rows(self, x: Tensor) -> Tensor | None:
        """Which vectors of x (..., in) are real, by number; None: all are."""
        real = self._flat(x)[1]
        return None if real is None else real.rows

    def real_vectors(self, x: Tensor) -> int:
        """How many vectors of x (..., in) are real."""
        rows = self.real_rows(x)
        return x.shape[:-1].numel() if rows is None else len(rows)

    def _flat(self, x: Tensor) -> tuple[Tensor, Real | None]:
        """x as vectors (n, in), and which of them are real (None: all)."""
        known = self._mask is not None and self._mask.shape == x.shape[:-1]
        return x.reshape(-1, x.shape[-1]), self._real if known else None


class ExactReader(PaddingReader):
    """Exact products, padding left out: reader(name, x (..., in), weight (out, in)) -> (..., out)."""

    def __call__(self, name: str, x: Tensor, weight: Tensor) -> Tensor:
        flat, real = self._flat(x)
        if real is None:
            return torch.nn.functional.linear(x, weight)
        y = torch.nn.functional.linear(flat.index_select(0, real.rows), weight)
        return y.new_zeros(len(flat), len(weight)).index_copy(0, real.rows, y).reshape(*x.shape[:-1], -1)


class ChipReader(PaddingReader):
    """Reads matrices through a programmed chip: reader(name, x (..., in), weight (out, in)) -> (..., out).

    Padding is never driven, and nothing is charged for it. `bypass` names the matrices that are held digitally at
    present, and read exactly: those that are trained before they are written. Whoever names them charges their work.
    `pieces` names the matrices of which only some ranks are in cells, and where; the others read as zero.

    A matrix that is neither on the chip nor in `bypass` raises `EdgeAdaptError`: no product is exact and free.
    """

    def __init__(self, chip_model: ProgrammedModel):
        super().__init__()
        self.chip_model = chip_model
        chip_model.products = TorchProducts()
        self.bypass: frozenset[str] = frozenset()
        self.pieces: dict[str, tuple[Piece, ...]] = {}
        self.dtype: torch.dtype | None = None
        self._last: tuple[Tensor, int, Real, Tensor] | None = None

    def rounded(self, x: Tensor) -> Tensor:
        """What the digital unit takes into a product: numbers of its format, where that is not fp32 (`dtype`)."""
        return x if self.dtype is None else x.to(self.dtype).float()

    def __call__(self, name: str, x: Tensor, weight: Tensor) -> Tensor:
        if name in self.bypass:
            return torch.nn.functional.linear(x, weight)
        if name in self.pieces:
            parts = [self._read_piece(piece, x, weight) for piece in self.pieces[name]]
            return sum(parts[1:], parts[0]) if parts else x.new_zeros(*x.shape[:-1], len(weight))
        if name not in self.chip_model:
            raise EdgeAdaptError(self._undeclared(name))
        return self._read(name, x, weight)

    def _read(self, name: str, x: Tensor, weight: Tensor) -> Tensor:
        flat, real = self._flat(x.float())
        return _CrossbarRead.apply(flat, weight, self, name, real).reshape(*x.shape[:-1], -1)

    def _read_piece(self, piece: Piece, x: Tensor, weight: Tensor) -> Tensor:
        """What some ranks of a matrix (out, in) give: zero for the other outputs, or of the other inputs nothing."""
        ranks, places = torch.from_numpy(piece.ranks), torch.from_numpy(piece.places)
        gathered = weight.index_select(piece.axis, ranks)
        if piece.size > len(ranks):  # beside them are ranks that no longer count
            extents = [piece.size, gathered.shape[1]] if piece.axis == 0 else [gathered.shape[0], piece.size]
            gathered = gathered.new_zeros(extents).index_copy(piece.axis, places, gathered)
        if piece.axis == 0:
            y = self._read(piece.cells, x, gathered).index_select(-1, places)
            return y.new_zeros(*y.shape[:-1], len(weight)).index_copy(-1, ranks, y)
        driven = x.index_select(-1, ranks)
        if piece.size > len(ranks):
            driven = driven.new_zeros(*x.shape[:-1], piece.size).index_copy(-1, places, driven)
        return self._read(piece.cells, driven, gathered)

    def _undeclared(self, name: str) -> str:
        return (
            f"the matrix {name!r} is read, and is neither in cells nor held digitally{nearest(name, self._known)} a "
            "method declares it in its plan: a TensorPlan of this name with a placement in cells, or one that is "
            "DIGITAL with its work in the plan, which is then multiplied without the reader"
        )

    @property
    def _known(self) -> list[str]:
        return sorted({*self.chip_model.names, *self.bypass, *self.pieces})

    def driven(self, x: Tensor, real: Real) -> Tensor:
        """The real ones of the vectors x. Matrices side by side (query, key, value) are driven by the same ones, which
        are then gathered once.
        """
        if x.is_inference():  # has no version that would tell of a change
            return x.index_select(0, real.rows)
        if self._last is not None:
            before, version, which, gathered = self._last
            same = before.data_ptr() == x.data_ptr() and before.shape == x.shape and before.stride() == x.stride()
            if same and version == x._version and which is real:
                return gathered
        gathered = x.index_select(0, real.rows)
        self._last = (x.detach(), x._version, real, gathered)  # x stays alive, so that nothing else gets its memory
        return gathered
