"""What differs from a method's own recipe when it trains by forward passes alone: found for some, the rest keep theirs.

A method that is not named here trains by `mezo` with the rates of its gradient steps.
"""

from collections.abc import Mapping
from typing import Any

ZEROTH_RECIPES: Mapping[str, Mapping[str, Any]] = {
    # The variance of a difference of two losses grows with the numbers it is spread over, so only the coefficients
    # move. One of two recipes tried, on one draw of `amazon` and `nyt` with their own modules left out, from a poor
    # start (initial=0.5): not a search with the budget of the gradient recipes.
    "lorafusion": {
        "learning_rates": {"coefficients": 0.05, "magnitudes": 0.0, "head": 0.0}, "epochs": 16, "epsilon": 0.01,
    },
}  # fmt: skip
"""Fields of `zeroth.ZerothRecipe` by method."""
