"""What the schedule of overlapping layers predicts of AHWA-LoRA's hybrid hardware, beside what was published: a LoRA
held digitally beside analog tiles takes 4 % more time a layer (abstract of arXiv 2411.17367). Nothing is fitted.

    python benchmarks/published_overlap.py

The paper's section on it could not be read. What is known of the case: MobileBERT, 320 tokens, rank 8 on every linear
(read in the authors' scripts, chenlicodebank/lora_on_analog_hardware, lora_training/). In the place of the paper's own
times stand published ones of the same kind of hardware: a tile of 133 ns (64 tiles of 256 x 256 reach 63.1 TOPS, Le
Gallo 2023), and a matrix unit in a cluster of RISC-V cores, 31.6 multiply-adds a cycle at 666 MHz (RedMulE, Tortorella
2022, abstract). How many tokens are handed over together is not known: it is varied.
"""

from typing import NamedTuple

from edge_adapt.simulator.schedule import Block, Line, Rates, Segment, last_of

PUBLISHED = 0.04
TOKENS, RANK = 320, 8
TILE_SECONDS = 64 * 2 * 256 * 256 / 63.1e12
MACS_PER_SECOND = 31.6 * 666e6
LAYERS = {"128 x 128": (128, 128), "512 to 128": (512, 128)}
TOGETHER = (1, 8, 16, 32, 320)
"""Tokens that the digital unit hands over together; with all of them nothing overlaps."""


class Overhead(NamedTuple):
    """What the LoRA adds to a layer's time, as a part of it."""

    layer: str
    tile_seconds: float
    together: int
    digital_share: float
    overhead: float


def overhead(layer: str, tile_seconds: float, together: int) -> Overhead:
    """One layer with its LoRA against the layer alone."""
    inputs, outputs = LAYERS[layer]
    macs, groups = RANK * (inputs + outputs), TOKENS // together
    rates = Rates(together * tile_seconds, 1.0 / MACS_PER_SECOND)
    line = Line((Segment(1),))
    alone, beside = (
        last_of(line, [[Block(groups, work * TOKENS)]], rates).seconds for work in (0.0, float(macs))
    )  # fmt: skip
    return Overhead(layer, tile_seconds, together, macs / MACS_PER_SECOND / tile_seconds, beside / alone - 1.0)


def predictions() -> list[Overhead]:
    """Both kinds of layers, with the tile as it is and read for twice as long."""
    times = (TILE_SECONDS, 2 * TILE_SECONDS)
    return [overhead(layer, seconds, n) for layer in LAYERS for seconds in times for n in TOGETHER]


def main() -> None:
    """Print the table of docs/energy.md."""
    print(f"published: {PUBLISHED:.0%} a layer, where tile and LoRA are balanced\n")
    print("layer        tile     digital / tile   tokens together   predicted")
    for row in predictions():
        print(
            f"{row.layer:<11}  {row.tile_seconds * 1e9:3.0f} ns  {row.digital_share:>14.2f}   {row.together:>15}   "
            f"{row.overhead:>9.1%}"
        )


if __name__ == "__main__":
    main()
