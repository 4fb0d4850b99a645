"""Describes a device of your own in YAML and reads a matrix through it.

`my-cell.yaml` and `my-chip.yaml` lie beside this script. Prints what programming a random 96 x 192 matrix cost on
the own chip and on the shipped one, and how far a read is from the exact product. The whole job runs on it too:

    edge-adapt simulate --device examples/own_device/my-chip.yaml
"""

from pathlib import Path

import numpy as np
from edge_adapt import load_chip
from edge_adapt.simulator import CostTable, program

CHIPS = {"my-chip": Path(__file__).with_name("my-chip.yaml"), "reram": "reram"}


def main() -> None:
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(96, 192)).astype(np.float32)
    x = rng.normal(size=(256, 192)).astype(np.float32)
    exact = x @ weight.T
    print(f"{'chip':<8}  {'cells':>6}  {'pulses/cell':>11}  {'write':>9}  {'read':>9}  {'error of a read':>15}")
    for name, path in CHIPS.items():
        chip = load_chip(path)
        model = program(chip, {"w": weight}, np.random.default_rng(2))
        y = model.matvec("w", x)
        read_joules = CostTable.of(chip).cost(model.counts).total_joules / len(x)
        error = np.linalg.norm(y - exact) / np.linalg.norm(exact)
        log = model.write_log
        print(
            f"{name:<8}  {log.pulses.size:>6}  {log.pulses.mean():>11.2f}  {log.energy_joules * 1e6:>6.2f} uJ  "
            f"{read_joules * 1e9:>6.2f} nJ  {error:>15.2%}"
        )


if __name__ == "__main__":
    main()
