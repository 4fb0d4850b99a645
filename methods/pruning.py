"""Weights that are zero before a chip is programmed: how many a density leaves, and which. torch is imported late.

A method says which matrices it prunes, and to what density (`plan.Part.pruned`). All else follows: what it builds on
(`attaching.Site.encoder`) has the pruned weights, a chip is programmed with them (`studies.trial`), and a count knows
what their cells take.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .base import BackboneLike


def require_density(density: float, method: str) -> None:
    """Raise `UsageError` for an option `density` of a method that is no share of weights that are kept."""
    if not 0 < density <= 1:
        raise UsageError(f"density of {method} must be above 0, and 1 at most; got {density}")


def kept_numbers(density: float, numbers: int) -> int:
    """How many of a matrix's `numbers` a density keeps: the nearest whole number, and one at least."""
    return max(1, round(density * numbers))


def kept_places(weight: "Tensor", kept: int) -> "Tensor":
    """The places (kept,) of the largest magnitudes of W (out, in), flat and in order; of equal ones the first."""
    order = weight.detach().abs().flatten().sort(descending=True, stable=True).indices
    return order[:kept].sort().values


def pruned(weight: "Tensor", kept: int) -> "Tensor":
    """W (out, in) with zeros in all but its `kept` largest places; the caller's own."""
    flat, at = weight.detach().flatten(), kept_places(weight, kept)
    return flat.new_zeros(flat.shape).index_copy(0, at, flat[at]).view_as(weight)


def pruned_linear(linear: "nn.Linear", kept: int) -> "nn.Linear":
    """A linear with pruned weights of its own and the bias of another."""
    from torch import nn

    twin = nn.Linear(linear.in_features, linear.out_features, bias=False, device="meta")
    twin.weight = nn.Parameter(pruned(linear.weight, kept), requires_grad=False)
    twin.bias = linear.bias
    return twin


def pruned_weights(backbone: "BackboneLike", kept: Mapping[str, int]) -> dict[str, "Tensor"]:
    """The pruned matrices (out, in) of a backbone by name, with so many numbers kept of each."""
    return {name: pruned(backbone.module.get_parameter(f"{name}.weight"), number) for name, number in kept.items()}
