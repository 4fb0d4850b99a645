"""SoRA: a LoRA with a gate for each rank, which training sets to exactly zero where the rank is not worth its place.

Ding et al., "Sparse Low-rank Adaptation of Pre-trained Language Models", EMNLP 2023, arXiv:2311.11696, section 3.
With gates g (rank,) between the two matrices,

    y = W x + bias + (alpha / rank) B (g * (A x))        trained: A (rank, in), B (out, rank), g; B starts at 0

the gates are trained by proximal gradient steps: the optimiser `proximal` moves them, and then brings each nearer to 0
by its rate times lambda, and no further than to 0. A gate that is 0 may come back while training goes on; what is 0 at
the end is pruned, and a smaller LoRA is left. The l1 term of the paper's loss is the proximal step; the authors' code
has it in the loss besides, as the mean of |g|, which is `recipe.l1` here and 0 unless set.

The authors' code lets gates between lambda and 2 lambda become 0 as well, since its three assignments follow one
another, and does not multiply lambda by the rate. The step here is the paper's.

Gates are held digitally: a step of theirs writes no cell. Cells of a rank whose gate is 0 are not rewritten (NVM_STEP);
pruned ranks are not programmed at all (NVM_TASK), and not read afterwards.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..recipes import Recipe
from ..regularisers import L1, Regulariser
from ..spec import register
from ..training.optimisers.proximal import Proximal
from ._gated import Gated

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class SoRA(Gated):
    """`rank` is that before pruning; `alpha / rank` and `targets` as of `lora`. Gates start at normally distributed
    numbers, as in the authors' code.
    """

    name = "sora"
    title = "SoRA"
    family = "low-rank"
    summary = "a LoRA whose ranks have gates that training sets to zero; only the kept ranks are written"
    source = "Ding et al., Sparse Low-rank Adaptation of Pre-trained Language Models, EMNLP 2023, arXiv:2311.11696"
    for_images: ClassVar[Mapping[str, Any]] = {"learning_rates": {"matrices": 1e-3}, "epochs": 10}
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"recipe.soft_threshold": 0.2},
        {"recipe.soft_threshold": 0.7},
        {"rate.matrices": 6e-4, "rate.head": 1e-3},
        {"rate.gates": 5e-3},
    )

    @property
    def regularisers(self) -> tuple[Regulariser, ...]:
        """The mean absolute gate, weighed by the recipe's `l1`."""
        return (L1("gates"),)

    def started(self, linear: Any, generator: "torch.Generator", dtype: "torch.dtype") -> "dict[str, Tensor]":
        import torch

        pair = super().started(linear, generator, dtype)
        return pair | {"gate": torch.empty(self.rank, dtype=dtype).normal_(generator=generator)}


# Rates of the matrices and of the head are those of `lora`, whose matrices start alike. Lambda is that of the authors'
# script over its rate (3e-4 / 8e-4); the rate of the gates is such that a hundred steps can close one. Neither has been
# searched.
register(
    SoRA(
        recipe=Recipe(
            learning_rates={"matrices": 0.002, "gates": 0.02, "head": 0.003},
            head_margin=1.0,
            weight_decay=0.01,
            new_head_again=False,
            optimiser=Proximal(),
        )
    )
)
