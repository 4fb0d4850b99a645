"""Adaptation methods: what is trained and where it lives. One file per method, found by itself and registered there."""

import importlib
import pkgutil

from .base import (
    METHODS,
    Adaptation,
    BackwardNeed,
    Method,
    ParameterCount,
    Placement,
    Recipe,
    get_method,
    register,
)
from .cells import Reader, exact_reader
from .costs import DigitalMacs

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f".{_module.name}", __name__)

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
