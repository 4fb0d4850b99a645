"""Products with matrices of which few numbers are not zero, held digitally as values and places."""

from typing import Any

import torch
from torch import Tensor, nn

from .layers import ChangedLinear, exact_reader

LAST_SHARE = 0.999
"""A place as a share of an extent is at most this one, as in the authors' code of LoCA."""


def product(x: Tensor, values: Tensor, rows: Tensor, columns: Tensor, outputs: int) -> Tensor:
    """S x for S (outputs, in) that holds `values` (n,) at (rows, columns); equal places add up.

    x (..., in) -> (..., outputs).
    """
    terms = x[..., columns] * values
    return terms.new_zeros(*x.shape[:-1], outputs).index_add(-1, rows, terms)


def places(locations: Tensor, extents: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Rows and columns (n,) from shares of the extents, locations (2, n)."""
    largest = torch.tensor([[extent - 1] for extent in extents], dtype=locations.dtype)
    rows, columns = (locations.clamp(0.0, LAST_SHARE) * largest).round().long()
    return rows, columns


class Movable(torch.autograd.Function):
    """`product` whose places have a gradient, too: Movable.apply(x (..., in), values (n,), locations (2, n), outputs).

    With K = dL/dS, which is dense and known place by place, a place moves by a central difference: the gradient of row
    r of value a is a (K[r + 1, c] - K[r - 1, c]) / 2, between -1 and 1; at a border the place itself stands in for its
    neighbour. It is one in places, not in shares of the extent (Du et al., LoCA, and the authors' code).
    """

    @staticmethod
    def forward(x: Tensor, values: Tensor, locations: Tensor, outputs: int) -> Tensor:
        return product(x, values, *places(locations, (outputs, x.shape[-1])), outputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, int], output: Tensor) -> None:
        *tensors, ctx.outputs = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, values, locations = ctx.saved_tensors
        inputs, (gradient,) = x.shape[-1], gradients
        rows, columns = places(locations, (ctx.outputs, inputs))
        x_wanted, values_wanted, places_wanted, _ = ctx.needs_input_grad
        found: list[Tensor | None] = [None, None, None, None]
        if x_wanted:
            found[0] = product(gradient, values, columns, rows, inputs)
        flat, driven = gradient.reshape(-1, ctx.outputs), x.reshape(-1, inputs)
        across, along = flat[:, rows], driven[:, columns]
        if values_wanted:
            found[1] = (across * along).sum(0)
        if places_wanted:
            below, above = flat[:, (rows + 1).clamp(max=ctx.outputs - 1)], flat[:, (rows - 1).clamp(min=0)]
            right, left = driven[:, (columns + 1).clamp(max=inputs - 1)], driven[:, (columns - 1).clamp(min=0)]
            slopes = torch.stack([((below - above) * along).sum(0), (across * (right - left)).sum(0)])
            found[2] = (values * slopes / 2.0).clamp(-1.0, 1.0)
        return tuple(found)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        """Along x and values; places are whole numbers, and a small move changes nothing."""
        x, values, locations = ctx.saved_tensors
        rows, columns = places(locations, (ctx.outputs, x.shape[-1]))
        moved = x.new_zeros(*x.shape[:-1], ctx.outputs)
        if tangents[0] is not None:
            moved = moved + product(tangents[0], values, rows, columns, ctx.outputs)
        if tangents[1] is not None:
            moved = moved + product(x, tangents[1], rows, columns, ctx.outputs)
        return moved


class SparseLinear(ChangedLinear):
    """A linear whose weights change in a few places: W + S, with the numbers `sparse` (n,) of S at (rows, columns).

    `written`: those of the numbers that its cells hold; `present`: what these hold where that is no longer W. `picks`
    (n, in) and `puts` (out, n) are of zeros and ones, for products with S: no index is looked up then, which a bundle's
    runtime would add up in any order.
    """

    sparse: Tensor
    written: Tensor
    rows: Tensor
    columns: Tensor
    picks: Tensor
    puts: Tensor
    present: Tensor | None = None

    def merged(self, scale: float) -> Tensor:
        """W + scale S, (out, in)."""
        return self.weight.index_put((self.rows, self.columns), scale * self.sparse, accumulate=True)

    def unwritten(self, x: Tensor) -> Tensor:
        """The product of S, but for what cells hold of it, and x (..., in)."""
        values = self.sparse if self.present is None else self.sparse - self.written
        return exact_reader("", values * exact_reader("", x, self.picks), self.puts)

    @torch.no_grad()
    def wrote(self, scale: float) -> None:
        """Note that its cells hold W + scale S from now on."""
        self.written.copy_(self.sparse)
        self.present = self.merged(scale)


class FilledLinear(ChangedLinear):
    """A linear of which only the numbers `kept` (n,) at the places `at` (n,), flat, are not zero."""

    kept: Tensor
    at: Tensor

    def filled(self) -> Tensor:
        """Its matrix (out, in)."""
        empty = self.kept.new_zeros(self.weight.numel())
        return empty.index_copy(0, self.at, self.kept).view_as(self.weight)


def sparse_tensors(at: tuple[Tensor, Tensor], linear: nn.Linear, multiplied: bool) -> dict[str, Tensor]:
    """The tensors of a `SparseLinear` whose numbers are zero; `multiplied`: those for products with S, too."""
    (rows, columns), dtype = at, linear.weight.dtype
    numbers = torch.zeros(len(rows), dtype=dtype)
    found = {"sparse": nn.Parameter(numbers), "written": numbers.clone(), "rows": rows, "columns": columns}
    if multiplied:
        found["picks"] = nn.functional.one_hot(columns, linear.in_features).to(dtype)
        found["puts"] = nn.functional.one_hot(rows, linear.out_features).T.to(dtype).contiguous()
    return found
