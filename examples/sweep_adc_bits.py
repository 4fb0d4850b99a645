"""Sweeps the bits of the ADC and shows what they buy and what they cost.

Programs one matrix on the `reram` chip and reads it with converters of 4 to 10 bits. Prints the relative error of a
read against the product with the weights as the cells hold them (so without the error of programming), and the energy
of a read.
"""

import numpy as np
from edge_adapt import load_chip
from edge_adapt.simulator import CostTable, program


def main() -> None:
    rng = np.random.default_rng(3)
    weight = rng.normal(size=(128, 384)).astype(np.float32)
    x = rng.normal(size=(512, 384)).astype(np.float32)
    print("ADC bits  error of a read  energy of a read  of it in the ADCs")
    for bits in range(4, 11):
        chip = load_chip("reram", {"adc.bits": str(bits)})
        model = program(chip, {"w": weight}, np.random.default_rng(4))
        held = x @ model.effective_weight("w").T
        error = np.linalg.norm(model.matvec("w", x) - held) / np.linalg.norm(held)
        cost = CostTable.of(chip).cost(model.counts)
        nanojoules, share = cost.total_joules / len(x) * 1e9, cost.joules["adc"] / cost.total_joules
        print(f"{bits:>8}  {error:>15.2%}  {nanojoules:>13.2f} nJ  {share:>17.0%}")


if __name__ == "__main__":
    main()
