"""Adaptation methods: what is trained and where it lives. One file per method in `library/`, found by itself.

The names below are looked up when they are first used: `methods.costs` and `methods.footprints` work without torch.
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import METHODS, Adaptation, Method, ParameterCount, Recipe, get_method, register
    from .costs import DigitalMacs
    from .layers import Reader, exact_reader
    from .placement import BackwardNeed, Placement

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
    "register",
]
_HOMES = {"Reader": "layers", "exact_reader": "layers", "DigitalMacs": "costs"} | dict.fromkeys(
    ("BackwardNeed", "Placement"), "placement"
)


def __getattr__(name: str) -> Any:
    """A public name; the first one to need the methods imports, and so registers, all of them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES.get(name, "base")
    if home == "base":
        library = importlib.import_module(".library", __name__)
        for module in pkgutil.iter_modules(library.__path__):
            importlib.import_module(f".{module.name}", library.__name__)
    return getattr(importlib.import_module(f".{home}", __name__), name)
