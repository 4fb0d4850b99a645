"""Adaptation methods: what is trained and where it lives. One file per method in `library/`, found by itself.

The names below are looked up when they are first used; those of the register, and plans, work without torch.
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import Adaptation
    from .costs import DigitalMacs
    from .layers import Reader, exact_reader
    from .placement import BackwardNeed, Placement
    from .recipes import Recipe
    from .spec import METHODS, Method, ParameterCount, get_method, methods_for, register

__all__ = [
    "METHODS",
    "Adaptation",
    "BackwardNeed",
    "DigitalMacs",
    "Method",
    "ParameterCount",
    "Placement",
    "Reader",
    "Recipe",
    "exact_reader",
    "get_method",
    "methods_for",
    "register",
]
_HOMES = {
    "Adaptation": "base", "BackwardNeed": "placement", "DigitalMacs": "costs", "Placement": "placement",
    "Reader": "layers", "Recipe": "recipes", "exact_reader": "layers",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """A public name; the first one to need the register imports, and so registers, all methods."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES.get(name, "spec")
    if home == "spec":
        library = importlib.import_module(".library", __name__)
        for module in pkgutil.iter_modules(library.__path__):
            importlib.import_module(f".{module.name}", library.__name__)
        importlib.import_module(".spec", __name__).in_order()
    return getattr(importlib.import_module(f".{home}", __name__), name)
