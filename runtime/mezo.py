"""Training with forward passes only: simultaneous perturbation (Spall, IEEE TAC 1992), kept as (seed, scalar) pairs as
MeZO does (Malladi et al., arXiv:2305.17333).

Update t draws a sign z_i for every trained number from a seed, measures how much the loss rises along z, and moves all
numbers against it: p <- p - float32(rate * s_t) * z. The start and the pairs are therefore the whole adaptation: who
has them gets the same bits again. Signs instead of normal numbers, and splitmix64 instead of a library's generator,
make that true in any language.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from .optim import Arrays

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def splitmix64(seed: int, count: int) -> np.ndarray:
    """The first `count` outputs of splitmix64 (Steele, Lea and Flood, OOPSLA 2014) from a 64-bit seed, as uint64."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def directions(seed: int, shapes: Mapping[str, tuple[int, ...]]) -> Arrays:
    """A sign, +1 or -1 as float32, for every number of the tensors, which are laid end to end in the given order.

    Number i takes bit i % 64 (the least significant is 0) of output i // 64 of splitmix64: +1 where it is set.
    """
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    words = splitmix64(seed, -(-sum(sizes) // 64))
    bits = np.unpackbits(words.astype("<u8").view(np.uint8), bitorder="little")[: sum(sizes)]
    signs = bits.astype(np.float32) * 2 - 1
    parts = np.split(signs, np.cumsum(sizes)[:-1])
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def moved(values: Arrays, along: Arrays, rates: Mapping[str, float], scalar: float) -> Arrays:
    """The trained values after one step of `-rate * scalar` along the directions."""
    return {name: values[name] - np.float32(rates[name] * scalar) * z for name, z in along.items()}


def replay(
    start: Arrays, pairs: Iterable[tuple[int, float]], rates: Mapping[str, float], names: Iterable[str]
) -> Arrays:
    """The state after the updates given by (seed, scalar) pairs, bit for bit as training left it.

    `names` are the trained tensors in the manifest's order, `rates` their rates by name.
    """
    values = dict(start)
    shapes = {name: start[name].shape for name in names}
    for seed, scalar in pairs:
        values.update(moved(values, directions(int(seed), shapes), rates, float(scalar)))
    return values


def pair_seed(run_seed: int, update: int) -> int:
    """The 64-bit seed of an update (0, 1, ...) of a run: output `update` of splitmix64 from output 0 of the run's."""
    first = int(splitmix64(run_seed & _MASK, 1)[0])
    return int(splitmix64((first + update * _GOLDEN) & _MASK, 1)[0])
