"""Bit-serial reads: 8 input bits one after another over 4 slices, against the float32 products they consist of."""

import numpy as np
from edge_adapt import load_chip
from edge_adapt.simulator import program
from edge_adapt.simulator.counting import input_cycles
from measure import interleaved, publish

LIMIT = (
    "per vector of N inputs and M outputs, D input digits, S slices and arrays of R rows: 2DSNM flops in DS products "
    "for each stack of arrays, which is converted on its own, and as many again for the variance of the read noise; "
    "DSMN/R conversions, with one normal number each when there is noise"
)
CODING = {"array.slices": "4", "conductance.levels": "4", "array.input_bits": "8"}
AT_ONCE = 256  # rows of a product of the peer: what suits the processor's caches


def run(quick: bool) -> None:
    """Milliseconds of a call, and its ratio to numpy doing nothing but the products."""
    size = 128 if quick else 512
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(size, size)).astype(np.float32)
    rows = []
    for noisy in (False, True):
        chip = load_chip("reram", CODING if noisy else CODING | {"read.noise": "null"})
        model = program(chip, {"w": weight}, np.random.default_rng(1), fidelity="bitserial")
        cells, digits = model.matrix("w").pairs, input_cycles(chip)
        for batch in (64, 1024):
            x = rng.normal(size=(batch, size)).astype(np.float32)
            drives = np.sign(rng.normal(size=(digits * batch, size))).astype(np.float32)
            calls = {"read": lambda model=model, x=x: model.matvec("w", x)}
            calls["products"] = lambda drives=drives, cells=cells, array=chip.array: products(drives, cells, array.rows)
            calls["whole"] = lambda drives=drives, cells=cells: [drives @ one for one in cells]
            times = interleaved(calls, 0.2 if quick else 10.0, turn=0.01 if quick else 1.0)
            must = times["products"] * (2 if noisy else 1)
            conversions = batch * size * digits * len(cells) * -(-size // chip.array.rows)
            rows.append(
                {
                    "weights": f"{size}x{size}",
                    "batch": batch,
                    "read_noise": noisy,
                    "milliseconds": 1e3 * times["read"],
                    "products_milliseconds": 1e3 * must,
                    "ratio": times["read"] / must,
                    "ratio_to_whole_products": times["read"] / times["whole"],
                    "conversions": conversions,
                    "nanoseconds_per_conversion": 1e9 * (times["read"] - must) / conversions,
                }
            )
    publish("bitserial", LIMIT, rows, quick)


def products(drives: np.ndarray, cells: np.ndarray, height: int) -> None:
    """The products of drives (vectors, in) with every stack of arrays of cells (slices, in, out), and no more."""
    out = np.empty((AT_ONCE, cells.shape[2]), np.float32)
    for first in range(0, len(drives), AT_ONCE):
        some = drives[first : first + AT_ONCE]
        for one in cells:
            for top in range(0, one.shape[0], height):
                np.matmul(some[:, top : top + height], one[top : top + height], out=out[: len(some)])
