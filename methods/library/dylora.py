"""DyLoRA: a LoRA that is trained at all ranks at once, one rank a step, and deployed at any of them.

Valipour et al., "DyLoRA: Parameter-Efficient Tuning of Pretrained Models using Dynamic Search-free Low Rank
Adaptation", EACL 2023, arXiv:2210.07558, with its frozen update. Every step draws b from 0, ..., R - 1 and uses the
first b + 1 ranks:

    y = W x + bias + alpha / (b + 1) B[:, :b + 1] A[:b + 1] x        changed: row b of A (R, in), column b of B (out, R)

so that the first ranks learn to do without the later ones. The scale is that of the authors' code, where each factor is
multiplied by sqrt(R / (b + 1)) and their product by alpha / R. An answer uses the first `deploy_rank` ranks; with all
of them it is a LoRA of rank R.

In cells a step writes one row and one column: one R-th of what LoRA writes. The ranks that are not used are not driven;
nothing is rewritten to use more or fewer of them. Both arrays are read as a whole, whatever the rank, and so it is
counted; of the gradients of A and B only those of the row and the column are found. Where a chip rotates inputs, a
column of B is mixed into all others, and B is written as a whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import UsageError
from ...workloads.shapes import ModelShape
from ..beside import LowRank
from ..costs import matrix_gradient
from ..placement import Placement
from ..plan import Part, Size
from ..recipes import Recipe
from ..spec import register
from .lora import LoRA

if TYPE_CHECKING:
    from torch import Tensor

    from ..attaching import Built, Site
    from ..turns import Turns


def _nested(linear: Any, x: "Tensor", turns: "Turns", alpha: float, deployed: int, in_cells: bool) -> "Tensor":
    """The update by the first ranks: b + 1 of them in a step, of which the last is trained, else those deployed."""
    from torch.nn.functional import pad

    from ..layers import exact_reader

    reader, a, b, used = linear.reader if in_cells else exact_reader, linear.lora_a, linear.lora_b, deployed
    if turns.current is not None:
        a, b, used = _with_gradient(a, 0, turns.current), _with_gradient(b, 1, turns.current), turns.current + 1
    down = reader(f"{linear.cell_name}.lora_a", x, a)
    down = pad(down[..., :used], (0, down.shape[-1] - used))
    return linear.plain(x) + alpha / used * reader(f"{linear.cell_name}.lora_b", down, b)


def _with_gradient(matrix: "Tensor", axis: int, number: int) -> "Tensor":
    """The matrix, of which one row (axis 0) or column (axis 1) alone gets a gradient."""
    import torch

    chosen = (torch.arange(matrix.shape[axis]) == number).unsqueeze(1 - axis)
    return torch.where(chosen, matrix, matrix.detach())


@dataclass(frozen=True)
class DyLoRA(LoRA):
    """`rank`: the largest, R. `alpha` over the ranks that are used is the scale of the update. `targets` as of `lora`.
    `deploy_rank`: how many ranks an answer uses; 0 for all of them.
    """

    name = "dylora"
    title = "DyLoRA"
    summary = "a LoRA of which a step uses the first ranks and changes one; deployed at any rank without a rewrite"
    source = "Valipour et al., DyLoRA, EACL 2023, arXiv:2210.07558"
    is_lora = False  # no bundle holds its state
    for_images: ClassVar[Mapping[str, Any]] = {"learning_rates": {"matrices": 2e-3}, "epochs": 16}
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"rate.matrices": 1e-3},
        {"rate.matrices": 6e-3},
        {"recipe.epochs": 32},
        {"rate.head": 1e-3},
    )

    rank: int = 8
    alpha: float = 16.0
    deploy_rank: int = 0

    def __post_init__(self) -> None:
        """Raise `UsageError` as `lora` does, and for a rank to deploy that there is not."""
        super().__post_init__()
        if not 0 <= self.deploy_rank <= self.rank:
            raise UsageError(
                f"deploy_rank of dylora must be 1 to {self.rank}, its rank, or 0 for all; got {self.deploy_rank}"
            )

    @property
    def deployed(self) -> int:
        """How many ranks an answer uses."""
        return self.deploy_rank or self.rank

    @property
    def no_bundle(self) -> str:
        return "trains another rank in every step"

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        whole = super().part(shape, placement, size)
        axes = {"lora_a": 0, "lora_b": 1}
        tensors = tuple(replace(t, slice_axis=axes[t.name.rpartition(".")[2]]) for t in whole.tensors)
        weights = sum(tensor.numbers for tensor in tensors)
        spared = matrix_gradient(weights - weights // self.rank)
        names = [linear.name for linear in self.linears(shape)]
        return replace(
            whole,
            tensors=tensors,
            low_rank=tuple(LowRank(name, f"{name}.lora_a", f"{name}.lora_b") for name in names),
            backward_work=whole.backward_work + spared.times(-1),
        )

    def build(self, site: "Site") -> "Built":
        from ..layers import ChangedLinear
        from ..turns import Turns

        built, turns = super().build(site), Turns(self.rank)
        in_cells = site.placement is not Placement.DIGITAL
        for module in built.model.modules():
            if isinstance(module, ChangedLinear):
                module.change = partial(
                    _nested, turns=turns, alpha=self.alpha, deployed=self.deployed, in_cells=in_cells
                )
        built.model.turns = turns
        return built


# Where a rank starts and how LoRA moves are those of `lora`, whose rates were searched; each rank has its turn in one
# of R steps, so the epochs are twice as many. Its own recipe has not been searched.
register(
    DyLoRA(
        recipe=Recipe(
            learning_rates={"matrices": 0.002, "head": 0.003},
            epochs=16,
            head_margin=1.0,
            weight_decay=0.01,
            new_head_again=False,
        )
    )
)
