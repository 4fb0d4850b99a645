"""Calls every kernel that a study of a chip calls: the child of `compiling`, which compiles them.

`python -m edge_adapt.simulator.exercise` takes a chip and a fidelity, pickled, on its standard input.
"""

import pickle
import sys

import numpy as np

from ..devices import Chip
from ..errors import EdgeAdaptError, require
from .chip import program


def exercise(chip: Chip, fidelity: str) -> None:
    """Call every kernel that a study of this chip calls: write, read few and many vectors, age, rewrite, read back."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(5, chip.array.rows + 3)).astype(np.float32)
    inputs = rng.normal(size=(40, weight.shape[1])).astype(np.float32)
    models = [program(chip, {"w": weight}, rng, fidelity)]
    try:
        require("torch")
    except EdgeAdaptError:
        pass
    else:
        from .autograd import ChipReader

        models.append(models[0].fork(rng, own=("w",)))
        ChipReader(models[1])
    for model in models:
        for seconds in (model.clock_seconds, model.clock_seconds + 3600.0):
            model.set_time(seconds)
            for vectors in (inputs[0], inputs[:3], inputs):
                model.matvec("w", vectors)
            model.transposed_product("w", inputs[:, :5])
            model.effective_weight("w")
        if model is not models[0] or len(models) == 1:
            model.rewrite("w", weight[::-1].copy())
            model.rewrite("w", weight, refresh=True)
            model.matvec("w", inputs)


def main() -> None:
    """Chip and fidelity come on the standard input."""
    chip, fidelity = pickle.load(sys.stdin.buffer)
    exercise(chip, fidelity)


if __name__ == "__main__":
    main()
