"""edge-adapt: adapt a frozen Transformer whose weights live in non-volatile crossbars, and know what it costs.

`simulate`, `compare` and `count` are the jobs of the command line as functions; `load_report` opens what they wrote;
`Session` trains and predicts on the device; `load_chip` reads a chip's file. docs/library.md is a page about them.

Importing the package is cheap: nothing heavy (torch, onnx, numba, transformers, matplotlib) is imported until the room
that needs it is entered.
"""

import importlib
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .devices import Chip, load_chip
    from .errors import EdgeAdaptError, UsageError
    from .library import compare, count, simulate
    from .reports.loaded import Report, load_report
    from .runtime import Session

#: public name -> the module that it is taken from when it is first asked for
_HOMES = {
    "Chip": "devices",
    "EdgeAdaptError": "errors",
    "Report": "reports.loaded",
    "Session": "runtime",
    "UsageError": "errors",
    "compare": "library",
    "count": "library",
    "load_chip": "devices",
    "load_report": "reports.loaded",
    "simulate": "library",
}

__all__ = [
    "Chip",
    "EdgeAdaptError",
    "Report",
    "Session",
    "UsageError",
    "__version__",
    "compare",
    "count",
    "load_chip",
    "load_report",
    "simulate",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
