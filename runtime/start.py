"""Which state a state was trained from: a digest that slots and state files carry.

The change that a device made is its state less the one that its training started from. Whoever counts that change
elsewhere has to know that it is counted from the same state.
"""

import hashlib
import re
import struct
from collections.abc import Mapping

import numpy as np

NOT_KNOWN = ""
"""The start of a state that was trained before states named it."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


def state_digest(tensors: Mapping[str, np.ndarray]) -> str:
    """The SHA-256, in hex digits, of a state: its tensors by name, float32.

    Of each tensor, in the order of the bytes of the names: the length of the name in bytes, the name in UTF-8, the
    number of extents, the extents, the numbers. Lengths and extents are unsigned 64 bit, all is little-endian.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors, key=str.encode):
        value = np.asarray(tensors[name], "<f4", order="C")
        written = name.encode()
        digest.update(struct.pack("<Q", len(written)) + written)
        digest.update(struct.pack(f"<{1 + value.ndim}Q", value.ndim, *value.shape))
        digest.update(value.tobytes())
    return digest.hexdigest()


def is_digest(text: str) -> bool:
    """Whether a text is what `state_digest` gives."""
    return _DIGEST.fullmatch(text) is not None


def brief(digest: str) -> str:
    """The first twelve digits, for people."""
    return digest[:12] or "not known"
