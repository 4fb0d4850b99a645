"""The pool without any training: its modules fused evenly, and class means as the head.

This is LoRAFusion (`lorafusion`) before its first step, with the same coefficients and magnitudes, which stay as they
are. The distance from here to LoRAFusion is what training gains; the distance from `frozen` to here is what the pool
itself gives.
"""

from dataclasses import dataclass

from ...workloads.shapes import ModelShape
from ..base import BackwardNeed, ParameterCount, Recipe, register
from .lorafusion import LoRAFusion


@dataclass(frozen=True)
class UntrainedPool(LoRAFusion):
    """Options as those of `lorafusion`, which hold here too unless others are given."""

    name = "pool"
    summary = "no training: the pool's modules fused evenly, class means as the head"
    source = "the start of Guo et al., LoRAFusion, GLSVLSI 2025, doi:10.1145/3716368.3735213"
    backward_need = BackwardNeed.NONE
    start = ""
    untrained = "lorafusion"

    def count(self, shape: ModelShape, *, rank: int = 16, pool_size: int = 6) -> ParameterCount:
        return ParameterCount({}, cells_frozen=super().count(shape, rank=rank, pool_size=pool_size).cells_frozen)


register(UntrainedPool(recipe=Recipe(learning_rates={}, epochs=0)))
