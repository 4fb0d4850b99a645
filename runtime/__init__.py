"""What runs on the device: numpy, onnxruntime, safetensors, tokenizers. Nothing of the workstation is imported here.

`Session` trains and predicts from a bundle; `docs/bundle.md` specifies the bundle for clients in other languages.
"""

import os
from typing import TYPE_CHECKING, Any

# Newer onnxruntimes keep a data base of events in the home folder and send it to their maker unless this is set before
# they are imported. A device does neither behind its user's back; whoever wants it sets 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from .session import Session

__all__ = ["Session"]


def __getattr__(name: str) -> Any:
    if name == "Session":
        from .session import Session

        return Session
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
