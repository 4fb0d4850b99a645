"""`weights.data`: the frozen tensors of all graphs of a bundle, each once."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import onnx_ir as ir

FILE = "weights.data"

INLINE_BYTES = 1024
"""Smaller tensors stay inside the graphs: shapes, scalars, vectors."""

PAGE_BYTES = 4096
"""Tensors of a page and more start on a page, so that the file can be mapped instead of read."""

ALIGN_BYTES = 64

PIECE_BYTES = 1 << 16
"""Bytes written at a time. Linux keeps what is written in one go in pages of up to 2 MiB, and then makes all of such a
page resident where one row of an embedding is looked up.
"""


def write_weights(folder: Path, models: Iterable[ir.Model]) -> int:
    """Move the large initialisers of the models to `folder/weights.data`; returns the file's length in bytes.

    Tensors with the same contents share one place. Inputs with default values stay in their graph.
    """
    places: dict[str, int] = {}
    end = 0
    with (folder / FILE).open("wb") as file:
        for model in models:
            for name, value in model.graph.initializers.items():
                tensor = value.const_value
                if tensor is None or tensor.nbytes < INLINE_BYTES or value.is_graph_input():
                    continue
                content = tensor.tobytes()
                key = hashlib.sha256(content).hexdigest()
                if key not in places:
                    align = PAGE_BYTES if len(content) >= PAGE_BYTES else ALIGN_BYTES
                    file.write(b"\0" * (-end % align))
                    places[key] = file.tell()
                    for start in range(0, len(content), PIECE_BYTES):
                        file.write(content[start : start + PIECE_BYTES])
                    end = file.tell()
                shape = ir.Shape(tensor.numpy().shape)
                value.const_value = ir.ExternalTensor(
                    FILE, places[key], len(content), tensor.dtype, shape=shape, name=name, base_dir=folder
                )
    return end
