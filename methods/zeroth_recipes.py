"""What differs from a method's own recipe when it trains by forward passes alone: found for some, the rest keep theirs.

A method that is not named here trains by `mezo` with the rates of its gradient steps.
"""

from collections.abc import Mapping
from typing import Any

ZEROTH_RECIPES: Mapping[str, Mapping[str, Any]] = {}
"""Fields of `zeroth.ZerothRecipe` by method."""
