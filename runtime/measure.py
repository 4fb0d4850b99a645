"""`python -m edge_adapt.runtime.measure BUNDLE BATCH TOKENS THREADS`: the peak memory of a training process, measured.

Prints one JSON object: `base_bytes` resident once the libraries are loaded, `peak_bytes` the most that was resident
while a bundle was verified, read forward and trained on for three steps. The bundle is left as it is.

Embeddings are mapped from the file, and only rows that a text has become resident: texts are drawn as words are
frequent, new ones for every step. Rows that later texts touch come on top. The system takes them away again when memory
is short.
"""

import json
import sys
from pathlib import Path

import numpy as np

from ..errors import EdgeAdaptError


def resident(key: str) -> int:
    """Bytes of "VmRSS" (resident now) or "VmHWM" (the most ever) of this process, from /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return 1024 * int(value.split()[0])
    raise EdgeAdaptError(f"/proc/self/status has no {key}")


def measure(folder: Path, batch: int, tokens: int, threads: int) -> dict[str, int]:
    """Open the bundle and take three steps on `batch` texts of `tokens` tokens, or images, in memory only."""
    import onnxruntime  # noqa: F401

    from .session import Session

    base = resident("VmRSS")
    session = Session(folder, threads=threads)
    model, values = session.model, session.state
    rng = np.random.default_rng(0)
    draw = lambda: model.encoder.draw(rng, batch, tokens)
    model.evaluation_batch = min(model.evaluation_batch, batch)
    model.outputs(values, draw(), "features")
    if not model.head_only:
        model.engine.close("infer")
        for _ in range(3):
            model.engine.loss_and_gradients(values, model.batch(draw(), np.zeros(batch, np.int64)))
    return {"base_bytes": base, "peak_bytes": resident("VmHWM")}


if __name__ == "__main__":
    folder, *numbers = sys.argv[1:]
    print(json.dumps(measure(Path(folder), *map(int, numbers))))
