"""edge-adapt: adapt a frozen Transformer whose weights live in non-volatile crossbars, and know what it costs.

Importing the package is cheap: nothing heavy (torch, onnx, numba, transformers, matplotlib) is imported until the room
that needs it is entered.
"""

from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .devices import Chip, load_chip

__all__ = ["Chip", "__version__", "load_chip"]


def __getattr__(name: str) -> Any:
    if name in ("Chip", "load_chip"):
        from . import devices

        return getattr(devices, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
