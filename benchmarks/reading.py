"""Reading a crossbar: 512 x 512 weights on 128 x 128 arrays, against a float32 matrix product of the same shape, both
on one thread and both on two.
"""

import dataclasses

import numba
import numpy as np
from edge_adapt import load_chip
from edge_adapt.simulator import program
from measure import interleaved, publish
from threadpoolctl import threadpool_limits

LIMIT = (
    "per vector of N inputs and M outputs, and arrays of R rows: 2NM flops, as many again for the variance of the read "
    "noise; MN/R partial sums to convert, with one normal number each when there is noise; 4NM bytes of weights (twice "
    "with noise) a call"
)


def run(quick: bool) -> None:
    """Milliseconds of a call for three batch sizes, with and without read noise, and the ratio to numpy's product."""
    size = 128 if quick else 512
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(size, size)).astype(np.float32)
    noisy = load_chip("reram")
    silent = dataclasses.replace(noisy, cell=dataclasses.replace(noisy.cell, read_noise_relative=None))
    models = {
        name: program(chip, {"w": weight}, np.random.default_rng(1))
        for name, chip in (("noisy", noisy), ("silent", silent))
    }
    transposed = np.ascontiguousarray(weight.T)
    rows = []
    most = numba.get_num_threads()
    for threads, batch in ((t, b) for t in range(1, min(2, most) + 1) for b in (1, 64, 1024)):
        numba.set_num_threads(threads)
        x = rng.normal(size=(batch, size)).astype(np.float32)
        calls = {name: lambda model=model, x=x: model.matvec("w", x) for name, model in models.items()}
        calls["product"] = lambda x=x: x @ transposed
        with threadpool_limits(threads, user_api="blas"):
            times = interleaved(calls, 0.2 if quick else 5.0, turn=0.01 if quick else 0.3)
        draws = batch * size * -(-size // noisy.array.rows)
        for name in models:
            rows.append(
                {
                    "weights": f"{size}x{size}",
                    "batch": batch,
                    "threads": threads,
                    "read_noise": name == "noisy",
                    "milliseconds": 1e3 * times[name],
                    "product_milliseconds": 1e3 * times["product"],
                    "ratio": times[name] / times["product"],
                    "gigaflops": 2e-9 * batch * size * size * (2 if name == "noisy" else 1) / times[name],
                    "conversions": draws,
                    "nanoseconds_per_conversion": 1e9 * (times[name] - times["product"]) / draws,
                }
            )
    numba.set_num_threads(most)
    publish("reading", LIMIT, rows, quick)
