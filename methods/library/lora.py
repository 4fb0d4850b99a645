"""LoRA: a trained low-rank update beside the frozen query and value projections (Hu et al., arXiv 2106.09685).

y = W x + bias + (alpha / rank) B A x        trained: A (rank, in), B (out, rank); B starts at 0
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import UsageError
from ...workloads.shapes import ModelShape
from ..costs import DigitalWork, matrix_forward, matrix_gradient
from ..placement import Placement
from ..plan import DEFAULT_TARGETS, Beside, LowRank, Part, Size, TensorPlan, first_of
from ..recipes import Recipe
from ..spec import Method, Targeted, register

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ...workloads.pools import Pool
    from ..attaching import Built, Site
    from ..layers import Change
    from ..lora_form import LoraForm, State


def _updated(linear: Any, x: "Tensor", scale: float, in_cells: bool) -> "Tensor":
    from ..layers import exact_reader

    reader = linear.reader if in_cells else exact_reader
    down = reader(f"{linear.cell_name}.lora_a", x, linear.lora_a)
    return linear.plain(x) + scale * reader(f"{linear.cell_name}.lora_b", down, linear.lora_b)


@dataclass(frozen=True)
class LoRA(Targeted, Method):
    """`alpha / rank` is the scale of the update. `targets`: the linears that have one, by role, of query, key, value,
    attention_output, ffn_gate, ffn_up, ffn_down; a joint projection has one where a part of it is named.
    """

    name = "lora"
    title = "LoRA"
    family = "low-rank"
    summary = "rank-r update of query and value, trained in its own cells or beside them"
    source = "Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022, arXiv:2106.09685"
    placements = (Placement.NVM_STEP, Placement.NVM_TASK, Placement.DIGITAL)
    searched = "recipe_search.json"
    groups: ClassVar[tuple[str, ...]] = ("matrices",)
    is_lora = True
    for_images: ClassVar[Mapping[str, Any]] = {"learning_rates": {"matrices": 1e-3}, "epochs": 10}
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"rate.matrices": 6e-4},
        {"rate.matrices": 6e-4, "rank": 4, "alpha": 16.0},
        {"rate.matrices": 6e-4, "recipe.epochs": 16},
        {"rate.matrices": 6e-4, "rate.head": 1e-3},
    )

    rank: int = 16
    alpha: float = 64.0
    targets: str = ",".join(DEFAULT_TARGETS)

    def __post_init__(self) -> None:
        """Raise `UsageError` for a rank below 1, an alpha that is not above 0, or targets that are no roles."""
        if self.rank < 1:
            raise UsageError(f"rank of {self.name} must be at least 1; got {self.rank}")
        if not 0 < self.alpha < float("inf"):
            raise UsageError(f"alpha of {self.name} must be above 0; got {self.alpha}")
        _ = self.roles

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        linears, tensors, pairs = self.linears(shape), [], []
        for linear in linears:
            pair = Beside(linear.name, f"{linear.name}.lora_a", f"{linear.name}.lora_b")
            tensors += [
                TensorPlan(pair.first, (self.rank, linear.in_features), placement, "matrices"),
                TensorPlan(pair.second, (linear.out_features, self.rank), placement, "matrices"),
            ]
            pairs.append(pair)
        weights = sum(tensor.numbers for tensor in tensors)
        passed = weights - self.rank * sum(linear.in_features for linear in first_of(linears, shape))
        digital, in_cells = matrix_forward(weights), placement is not Placement.DIGITAL
        by_step = placement is Placement.NVM_STEP
        # Trained digitally, the gradient of A's and B's inputs is digital work too; in cells it is a transposed read.
        # What enters the first block needs none.
        return Part(
            tuple(tensors),
            beside=tuple(pairs) if in_cells else (),
            low_rank=tuple(LowRank(pair.linear, pair.first, pair.second) for pair in pairs),
            trained_linears=linears,
            inference_work=DigitalWork() if in_cells else digital,
            training_work=DigitalWork() if by_step else digital,
            backward_work=matrix_gradient(weights) + (DigitalWork() if by_step else matrix_forward(passed)),
        )

    def lora_form(self, state: "State", pool: "Pool | None", shape: ModelShape | None) -> "LoraForm":
        from ..lora_form import trained_pair

        return trained_pair(state, self.alpha / self.rank)

    def started(self, linear: Any, generator: "torch.Generator", dtype: "torch.dtype") -> "dict[str, Tensor]":
        """What the two matrices of a linear start at, as lora_a and lora_b."""
        import torch

        bound = 1.0 / math.sqrt(linear.in_features)
        a = torch.empty(self.rank, linear.in_features, dtype=dtype).uniform_(-bound, bound, generator=generator)
        return {"lora_a": a, "lora_b": torch.zeros(linear.out_features, self.rank, dtype=dtype)}

    def change(self, in_cells: bool) -> "Change":
        """What a linear with the two beside it puts out."""
        return partial(_updated, scale=self.alpha / self.rank, in_cells=in_cells)

    def build(self, site: "Site") -> "Built":
        from torch import nn

        from ..attaching import Built
        from ..layers import CellLinear, ChangedLinear, tensors_of

        generator, in_cells = site.generator(), site.placement is not Placement.DIGITAL
        chosen = {linear.name for linear in self.linears(site.shape)}
        change = self.change(in_cells)

        def make(name: str, linear: nn.Linear) -> CellLinear:
            if name not in chosen:
                return CellLinear(name, linear)
            own = {key: nn.Parameter(value) for key, value in self.started(linear, generator, site.dtype).items()}
            return ChangedLinear(name, linear, change, own)

        encoder = site.encoder(make)
        down, up = tensors_of(encoder, "lora_a"), tensors_of(encoder, "lora_b")
        matrices = {name: tensor for pair in zip(down.items(), up.items(), strict=True) for name, tensor in pair}
        return Built(site.model(encoder), matrices | tensors_of(encoder, "gate"), matrices if in_cells else {})


# Best of 12 configurations drawn at random (benchmarks/results/recipe_search_first.json), then compared with five
# others, of other ranks and epochs, too (benchmarks/recipe_search.py, benchmarks/results/recipe_search.json). Tasks
# disagree: a head rate of 3e-4 from a margin of 0.5 and matrices at 6e-4 is 2 points worse there (4 draws of examples)
# and better on `movie` (benchmarks/results/movie.json), which must not choose.
register(
    LoRA(
        recipe=Recipe(
            learning_rates={"matrices": 0.002, "head": 0.003}, head_margin=1.0, weight_decay=0.01, new_head_again=False
        )
    )
)
