"""What runs on the device: numpy, onnxruntime, safetensors, tokenizers. Nothing of the workstation is imported here.

`Session` trains and predicts from a bundle; `docs/bundle.md` specifies the bundle for clients in other languages.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .session import Session

__all__ = ["Session"]


def __getattr__(name: str) -> Any:
    if name == "Session":
        from .session import Session

        return Session
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
