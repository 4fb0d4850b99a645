"""AHWA-LoRA: a LoRA held digitally, trained away from the chip under noise like its own, and then used on it.

Li et al., "Efficient transformer adaptation for analog in-memory computing via low-rank adapters", Neuromorphic
Computing and Engineering 2026, arXiv:2411.17367. In every forward pass of the training, every matrix of the backbone
gets new noise, relative to the largest weight of each of its outputs:

    W' = W + noise max_i |W_oi| N(0, 1)        y = W' x + bias + (alpha / rank) B A x        trained: A, B, as of `lora`

The gradient passes the same W'. An answer reads the real chip, which training never saw: the update has to suit any
chip. `lora` with DIGITAL matrices is trained on the chip that it is used on, and learns its errors.

The authors' code adds 0.067 of the largest weight, which is the default here; besides, it adds noise to what arrays put
out, rounds what enters and leaves them to 8 bits, and adapts every linear (rank 8, alpha 32): `targets` chooses those.

Nothing is read from cells while training. It is charged as work of a digital unit with its own copy of the weights, in
both directions; the copy itself is not in the memory of training.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import UsageError
from ...workloads.shapes import ModelShape
from ..placement import Placement
from ..plan import Part, Size
from ..recipes import Recipe
from ..spec import register
from .lora import LoRA

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ..attaching import Built, Site
    from ..layers import Reader


def noisy_reader(rng: "np.random.Generator", noise: float) -> "Reader":
    """Exact products with weights that get new noise in every read."""
    import torch
    from torch.nn.functional import linear

    from ..base import torch_generator

    generator = torch_generator(rng)

    def read(_name: str, x: "Tensor", weight: "Tensor") -> "Tensor":
        if not noise:
            return linear(x, weight)
        drawn = torch.empty_like(weight).normal_(generator=generator)
        return linear(x, torch.addcmul(weight, drawn, weight.abs().amax(1, keepdim=True), value=noise))

    return read


@dataclass(frozen=True)
class AhwaLoRA(LoRA):
    """`noise`: standard deviation of a weight in training, over the largest weight of its output; 0 for exact weights.
    `rank`, `alpha`, `targets` as of `lora`.
    """

    name = "ahwa-lora"
    title = "AHWA-LoRA"
    summary = "a digital LoRA that is trained away from the chip under weight noise, and then used on it"
    source = "Li et al., Neuromorphic Computing and Engineering 2026, arXiv:2411.17367"
    placements = (Placement.DIGITAL,)  # type: ignore[assignment]
    rivals = ("lora",)
    is_lora = False  # no bundle holds its state
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"noise": 0.02},
        {"rate.matrices": 6e-4, "rate.head": 1e-3},
        {"recipe.epochs": 16},
        {"rank": 8, "alpha": 32.0, "targets": "query,key,value,attention_output,ffn_up,ffn_down"},
    )

    noise: float = 0.067

    def __post_init__(self) -> None:
        """Raise `UsageError` as `lora` does, and for noise that cannot be."""
        super().__post_init__()
        if not 0 <= self.noise < float("inf"):
            raise UsageError(f"noise of ahwa-lora must be 0 or more; got {self.noise}")

    @property
    def no_bundle(self) -> str:
        return "is trained away from the device, under noise that a bundle does not draw"

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        return replace(super().part(shape, placement, size), off_chip=True)

    def build(self, site: "Site") -> "Built":
        built = super().build(site)
        built.training_reader = lambda rng: noisy_reader(rng, self.noise)
        return built


# Rates and head are those of `lora`, which were searched; its own recipe has not been.
register(
    AhwaLoRA(
        recipe=Recipe(
            learning_rates={"matrices": 0.002, "head": 0.003}, head_margin=1.0, weight_decay=0.01, new_head_again=False
        )
    )
)
