"""The pool without any training: its modules fused evenly, and class means as the head.

This is LoRAFusion (`lorafusion`) before its first step, with the same coefficients and magnitudes, which stay as they
are. The distance from here to LoRAFusion is what training gains; the distance from `frozen` to here is what the pool
itself gives.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ...workloads.shapes import ModelShape
from ..costs import DigitalWork
from ..placement import BackwardNeed, Placement
from ..plan import Part, Size
from ..recipes import Recipe
from ..regularisers import Regulariser
from ..spec import register
from .lorafusion import LoRAFusion


@dataclass(frozen=True)
class UntrainedPool(LoRAFusion):
    """Options as those of `lorafusion`, which hold here too unless others are given."""

    name = "pool"
    title = "Pool, untrained"
    summary = "no training: the pool's modules fused evenly, class means as the head"
    source = "the start of Guo et al., LoRAFusion, GLSVLSI 2025, doi:10.1145/3716368.3735213"
    backward_need = BackwardNeed.NONE
    start = ""
    untrained = "lorafusion"
    groups = ()
    is_lora = False
    forward_only: ClassVar[Mapping[str, Any]] = {}

    @property
    def regularisers(self) -> tuple[Regulariser, ...]:
        return ()

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        fused = super().part(shape, placement, size)
        held = tuple(replace(tensor, group="") for tensor in fused.tensors)
        return replace(fused, tensors=held, backward_work=DigitalWork(), train_head=False)


register(UntrainedPool(recipe=Recipe(learning_rates={}, epochs=0)))
