"""What methods share that have gates between the two matrices of a LoRA: a vector (rank,) for each, held digitally.

y = W x + bias + (alpha / rank) B (gate * (A x))
"""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ...workloads.shapes import ModelShape
from ..costs import scale_backward, scale_forward
from ..placement import Placement
from ..plan import Part, Size, TensorPlan
from .lora import LoRA

if TYPE_CHECKING:
    from torch import Tensor

    from ...workloads.pools import Pool
    from ..layers import Change
    from ..lora_form import LoraForm, State


def _gated(linear: Any, x: "Tensor", scale: float, in_cells: bool) -> "Tensor":
    from ..layers import exact_reader

    reader = linear.reader if in_cells else exact_reader
    passed = linear.gate * reader(f"{linear.cell_name}.lora_a", x, linear.lora_a)
    return linear.plain(x) + scale * reader(f"{linear.cell_name}.lora_b", passed, linear.lora_b)


class Gated(LoRA):
    """A LoRA whose `started` gives a gate, too. A rank whose gate is zero is given up (`beside.LowRank`)."""

    groups: ClassVar[tuple[str, ...]] = ("matrices", "gates")

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        part = super().part(shape, placement, size)
        pairs = [replace(pair, gate=f"{pair.linear}.gate") for pair in part.low_rank]
        gates = [TensorPlan(pair.gate, (self.rank,), group="gates") for pair in pairs]
        numbers = sum(gate.numbers for gate in gates)
        assert part.training_work is not None
        return replace(
            part,
            tensors=(*part.tensors, *gates),
            low_rank=tuple(pairs),
            inference_work=part.inference_work + scale_forward(numbers),
            training_work=part.training_work + scale_forward(numbers),
            backward_work=part.backward_work + scale_backward(numbers),
        )

    def change(self, in_cells: bool) -> "Change":
        return partial(_gated, scale=self.alpha / self.rank, in_cells=in_cells)

    def lora_form(self, state: "State", pool: "Pool | None", shape: ModelShape | None) -> "LoraForm":
        """The kept ranks alone, their gates multiplied into B; of a linear that has kept none, one of zeros."""
        from ..lora_form import LoraForm

        a, b = {}, {}
        for name, gate in ((key.removesuffix(".gate"), gate) for key, gate in state.items() if key.endswith(".gate")):
            kept = np.flatnonzero(gate) if gate.any() else np.arange(1)
            a[name] = state[f"{name}.lora_a"][kept]
            b[name] = state[f"{name}.lora_b"][:, kept] * gate[kept]
        return LoraForm(a, b, self.alpha / self.rank)
