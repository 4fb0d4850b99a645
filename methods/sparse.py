"""Products with matrices of which few numbers are not zero, held digitally as values and places."""

from typing import Any

import torch
from torch import Tensor

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
