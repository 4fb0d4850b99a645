"""Numbers kept in half of the memory: the upper 16 bits of a float32, rounded to 8 bits of precision."""

import numpy as np


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """The bits (uint16) of the bfloat16 numbers nearest to float32 values; half of an 8-bit step up for ties."""
    return ((np.ascontiguousarray(values, np.float32).view(np.uint32) + np.uint32(0x8000)) >> np.uint32(16)).astype(
        np.uint16
    )


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """The float32 values of bfloat16 bits (uint16)."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
