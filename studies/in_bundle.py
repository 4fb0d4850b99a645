"""Training the way a device does it: export a bundle, train it with onnxruntime and numpy alone, ask it for answers."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..exporters.bundle import fill, trace
from ..exporters.config import ExportConfig, require_single_texts
from ..methods import Adaptation
from ..runtime import Session
from ..runtime.model import Labelled
from ..runtime.options import TrainOptions
from ..runtime.state import CURRENT
from ..runtime.training import TrainingRun
from ..workloads.images import Images
from .encoding import Encoded
from .variants import Variant
from .workbench import Workbench


def answers_of_bundle(
    bench: Workbench, variant: Variant, adaptation: Adaptation, data: Encoded, seed: int, asked: Mapping[str, Encoded]
) -> dict[str, np.ndarray]:
    """Train a bundle of `adaptation` on `data`; its answers then, a class for each example of each set of `asked`.

    Initial values are the adaptation's; the order of the examples is drawn by the runtime.

    Raises:
        UsageError: pairs of texts or tagged words: a bundle takes one text, or one image, at a time.
        EdgeAdaptError: the exported graphs do not compute what torch computes.
    """
    require_single_texts(bench.task)
    inputs = {name: _inputs(given) for name, given in asked.items()}
    examples = Labelled(_inputs(data), np.array(data.labels, np.int64))
    config = ExportConfig(
        variant.method, bench.config.model, bench.config.task, bench.config.pool, max_tokens=bench.max_tokens
    )
    with tempfile.TemporaryDirectory(prefix="edge-adapt-") as scratch:
        folder = Path(scratch)
        fill(folder, config, adaptation, bench.backbone, bench.task, trace(adaptation))
        with Session(folder, threads=1, verify=False) as session:
            session.store.lock()
            TrainingRun(session.model, session.store, (), examples, TrainOptions(seed=seed)).go()
            state = session.store.read().part(CURRENT)
            return {name: session.model.outputs(state, given, "logits").argmax(1) for name, given in inputs.items()}


def _inputs(given: Encoded) -> list[Any]:
    """What the runtime's own encoder would make of the examples: token ids, or squares of pixels."""
    return list(given.ids.pixels) if isinstance(given.ids, Images) else given.ids
