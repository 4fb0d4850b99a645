"""A safetensors file whose bytes depend on its contents alone: the library writes metadata in any order."""

import json
import struct
from collections.abc import Mapping

import numpy as np
from safetensors.numpy import save


def tensor_file(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """The bytes of the file, its metadata sorted by key."""
    content = save(dict(tensors), dict(metadata))
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(metadata.items()))
    ordered = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    ordered += b" " * (-len(ordered) % 8)  # tensors begin at a multiple of 8
    return struct.pack("<Q", len(ordered)) + ordered + content[8 + length :]
