"""The two graphs of a bundle in onnxruntime, opened when first needed, and what is asked of them."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from ..errors import EdgeAdaptError, UsageError
from .graph_file import require_straight
from .manifest import BundleError, Graph, Manifest, link_outside
from .optim import Arrays
from .tokens import Batch

GRAPH_BYTES = 128 << 20
"""No graph is longer: weights lie in a file of their own."""
FATAL = 4
"""onnxruntime's log level for what ends the process: below it, it remarks on every state tensor that a feed replaces,
and prints, in colours, the errors that it raises as well.
"""


class Engine:
    """Runs `infer` (logits, features) and `train` (loss, gradients) on a state."""

    def __init__(self, folder: Path, manifest: Manifest, threads: int = 0) -> None:
        """`threads` for each operation; 0 leaves the number to onnxruntime."""
        if threads < 0:
            raise UsageError(f"threads must be 0 (all cores) or more; got {threads}")
        self.folder, self.manifest, self.threads = folder, manifest, threads
        self._open: dict[str, onnxruntime.InferenceSession] = {}

    def infer(self, values: Arrays, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        """The named outputs of the inference graph ("logits" (n, classes), "features" (n, hidden))."""
        return self._run("infer", outputs, {**inputs, **values})

    def loss_and_gradients(self, values: Arrays, batch: Batch) -> tuple[float, Arrays]:
        """Mean cross entropy of the batch, and its gradient by each trained tensor."""
        outputs = ["loss", *(f"grad/{tensor.name}" for tensor in self.manifest.trained)]
        loss, *gradients = self._run("train", outputs, {**batch.inputs, "labels": batch.labels, **values})
        names = (tensor.name for tensor in self.manifest.trained)
        return float(loss), dict(zip(names, gradients, strict=True))

    def loss(self, values: Arrays, batch: Batch) -> float:
        """Mean cross entropy of the batch, from the training graph."""
        return float(self._run("train", ["loss"], {**batch.inputs, "labels": batch.labels, **values})[0])

    def close(self, name: str) -> None:
        """Give back the memory of a graph; it is opened again when needed."""
        self._open.pop(name, None)

    def _run(self, name: str, outputs: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        if name not in self._open:
            self._open[name] = open_graph(self.folder, self.manifest.graphs[name], self.threads)
        try:
            return self._open[name].run(outputs, feeds)
        except Exception as error:  # onnxruntime raises classes of its C++ binding that share no other base
            raise EdgeAdaptError(f"{self.manifest.graphs[name].file} failed: {_first_line(error)}") from error


def open_graph(folder: Path, graph: Graph, threads: int) -> onnxruntime.InferenceSession:
    """An onnxruntime session on the CPU with the settings that the manifest gives the graph."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = FATAL
    options.enable_cpu_mem_arena = graph.session.arena
    options.enable_mem_pattern = graph.session.memory_pattern
    for key, value in graph.session.config.items():
        options.add_session_config_entry(key, value)
    try:
        require_straight(folder / graph.file, GRAPH_BYTES)
        return onnxruntime.InferenceSession(str(folder / graph.file), options, providers=["CPUExecutionProvider"])
    except ValueError as error:
        raise BundleError(f"{folder / graph.file} is no graph of a bundle: {error}") from error
    except Exception as error:
        raise BundleError(
            f"onnxruntime {onnxruntime.__version__} cannot open {folder / graph.file}: "
            f"{link_outside(folder) or _first_line(error)}"
        ) from error


def _first_line(error: Exception) -> str:
    """What a library says, in one line, without the codes that onnxruntime puts in front."""
    said = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error).strip())
    return (said.splitlines() or [type(error).__name__])[0][:300]
