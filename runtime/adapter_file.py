"""The state as an adapter file of ONNX Runtime (`.onnx_adapter`): any program on its API, in any language, can use it.

The tensors of the state are overridable initializers of `infer.onnx`; an active adapter takes their place. Predicting
with such a file needs no client for the slots.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from ..errors import EdgeAdaptError
from .files import write_durably


def write_adapter(path: Path, state: Mapping[str, np.ndarray], counter: int) -> None:
    """Write the state's tensors under their names; `counter`, which state it is, is the adapter's version.

    Raises:
        EdgeAdaptError: the file cannot be written, or this onnxruntime has no adapters (1.20 and later have).
    """
    if not hasattr(onnxruntime, "AdapterFormat"):
        raise EdgeAdaptError(f"onnxruntime {onnxruntime.__version__} has no adapter files; 1.20 and later have")
    adapter = onnxruntime.AdapterFormat()
    adapter.set_adapter_version(counter)
    adapter.set_model_version(1)
    adapter.set_parameters(
        {name: onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(value)) for name, value in state.items()}
    )
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "state.onnx_adapter"
        adapter.export_adapter(str(whole))
        write_durably(path, whole.read_bytes())
