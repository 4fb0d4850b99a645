"""AdaLoRA: an update in the form of a singular value decomposition, whose least important ranks are given up.

Zhang et al., "AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning", ICLR 2023, arXiv:2303.10512.

y = W x + bias + (alpha / rank) P (lam * (Q x))        trained: Q (rank, in), P (out, rank), lam (rank); lam starts at 0

The hook `rank-budget` sets the lam of all but the most important ranks to 0, over the whole model. The loss gets
`orthogonality` times the mean over all matrices of ||P^T P - I|| and ||Q Q^T - I|| (Frobenius). The paper squares these
norms; its authors' code and peft do not, and this is theirs.

P and Q start at normal numbers of deviation 0.02, as in peft; there lam does, too, here it is the paper's 0: the model
starts as it was. In the state the two matrices have the names of those of `lora` (Q is lora_a, P lora_b), and lam is
the gate. It is held digitally. Under NVM_STEP the cells of a rank whose lam is 0 are not rewritten; under NVM_TASK they
are not programmed at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import UsageError
from ...workloads.shapes import ModelShape
from ..costs import DigitalWork
from ..placement import Placement
from ..plan import Part, Size
from ..recipes import Recipe
from ..regularisers import Orthogonality, Regulariser
from ..spec import register
from ..training.hooks.rank_budget import RankBudget
from ._gated import Gated

if TYPE_CHECKING:
    import torch
    from torch import Tensor

DEVIATION = 0.02


@dataclass(frozen=True)
class AdaLoRA(Gated):
    """`rank` is that at the start, of every matrix; how many are kept, and when, are options of the recipe's hook
    `rank-budget`. `orthogonality`: weight of the regulariser. `alpha / rank` and `targets` as of `lora`.
    """

    name = "adalora"
    title = "AdaLoRA"
    family = "low-rank"
    summary = "an update in the form of a singular value decomposition; its least important ranks are given up"
    source = "Zhang et al., AdaLoRA: Adaptive Budget Allocation for PEFT, ICLR 2023, arXiv:2303.10512"
    for_images: ClassVar[Mapping[str, Any]] = {"learning_rates": {"matrices": 1e-3}, "epochs": 10}
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"rate.gates": 6e-3},
        {"rate.gates": 6e-2},
        {"rate.matrices": 6e-4, "rate.head": 1e-3},
        {"recipe.epochs": 16},
    )

    rank: int = 12
    orthogonality: float = 0.5

    def __post_init__(self) -> None:
        """Raise `UsageError` for what `lora` refuses, or a weight below 0."""
        super().__post_init__()
        if not 0 <= self.orthogonality < float("inf"):
            raise UsageError(f"orthogonality of {self.name} must be 0 or more; got {self.orthogonality}")

    @property
    def no_bundle(self) -> str:
        return "gives up ranks while it trains, which the graph of a bundle does not"

    @property
    def regularisers(self) -> tuple[Regulariser, ...]:
        return (Orthogonality("matrices", self.orthogonality),)

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        """With the work of the regulariser: a product of each matrix with itself, and two of its gradient. A matrix is
        there once, even where blocks run again.
        """
        part = super().part(shape, placement, size)
        weights = sum(tensor.numbers for tensor in part.tensors if tensor.group == "matrices")
        macs = 3 * self.rank * weights if self.orthogonality else 0
        return replace(part, once_work=DigitalWork(per_pass=macs))

    def started(self, linear: Any, generator: "torch.Generator", dtype: "torch.dtype") -> "dict[str, Tensor]":
        import torch

        draw = lambda *extents: DEVIATION * torch.randn(*extents, generator=generator, dtype=dtype)
        q, p = draw(self.rank, linear.in_features), draw(linear.out_features, self.rank)
        return {"lora_a": q, "lora_b": p, "gate": torch.zeros(self.rank, dtype=dtype)}


# Rates of the matrices and of the head are those of `lora`; that of lam, which starts at 0 between small numbers, has
# not been searched.
register(
    AdaLoRA(
        recipe=Recipe(
            learning_rates={"matrices": 0.002, "gates": 0.02, "head": 0.003},
            head_margin=1.0,
            weight_decay=0.01,
            new_head_again=False,
            hooks=(RankBudget(),),
        )
    )
)
