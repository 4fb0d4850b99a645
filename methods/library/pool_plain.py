"""The pool without any training and without magnitudes: its modules fused evenly, and class means as the head.

This is LoraHub (`lorahub`) before its first look, with the same coefficients for all linears, which stay as they are.
`pool` has magnitudes besides, which keep the norms of the rows of the frozen weights.
"""

from dataclasses import dataclass

from ..recipes import Recipe
from ..spec import register
from .pool import UntrainedPool


@dataclass(frozen=True)
class PlainPool(UntrainedPool):
    """Options as those of `lorahub`, which hold here too unless others are given."""

    name = "pool-plain"
    title = "Pool, untrained, plain"
    summary = "no training: the pool's modules fused evenly without magnitudes, class means as the head"
    source = "the start of Huang et al., LoraHub, COLM 2024, arXiv:2307.13269, with an even sum"
    untrained = "lorahub"

    magnitude: bool = False


register(PlainPool(recipe=Recipe(learning_rates={}, epochs=0)))
