"""LoRA: a trained low-rank update beside the frozen query and value projections (Hu et al., arXiv 2106.09685).

y = W x + bias + (alpha / rank) B A x        trained: A (rank, in), B (out, rank); B starts at 0
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import UsageError
from ...workloads.pools import Pool
from ...workloads.shapes import ModelShape
from ..assemble import assemble
from ..base import (
    Adaptation,
    BackboneLike,
    BackwardNeed,
    Method,
    ParameterCount,
    Placement,
    Recipe,
    attention_targets,
    register,
    target_linears,
    torch_generator,
)
from ..blocks import entry_linears
from ..costs import DigitalWork, matrix_forward, matrix_gradient
from ..layers import AdaptedModel, CellLinear, clone_encoder, exact_reader


class LoraLinear(CellLinear):
    """y = W x + bias + scale B A x with trained A (rank, in) and B (out, rank).

    A starts uniform in +-1/sqrt(in) and B at zero, so that training starts from the frozen model.
    """

    def __init__(
        self, name: str, linear: nn.Linear, rank: int, scale: float, in_cells: bool, generator: torch.Generator
    ) -> None:
        super().__init__(name, linear)
        bound = 1.0 / math.sqrt(linear.in_features)
        a = torch.empty(rank, linear.in_features, dtype=linear.weight.dtype)
        self.lora_a = nn.Parameter(a.uniform_(-bound, bound, generator=generator))
        self.lora_b = nn.Parameter(torch.zeros(linear.out_features, rank, dtype=linear.weight.dtype))
        self.scale = scale
        self.in_cells = in_cells

    def forward(self, x: Tensor) -> Tensor:
        reader = self.reader if self.in_cells else exact_reader
        down = reader(f"{self.cell_name}.lora_a", x, self.lora_a)
        return super().forward(x) + self.scale * reader(f"{self.cell_name}.lora_b", down, self.lora_b)


@dataclass(frozen=True)
class LoRA(Method):
    """`alpha / rank` is the scale of the update."""

    name = "lora"
    summary = "rank-r update of query and value, trained in its own cells or beside them"
    source = "Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022, arXiv:2106.09685"
    placements = (Placement.NVM_STEP, Placement.NVM_TASK, Placement.DIGITAL)
    backward_need = BackwardNeed.THROUGH

    rank: int = 16
    alpha: float = 64.0

    def __post_init__(self) -> None:
        """Raise `UsageError` for a rank below 1 or an alpha that is not above 0."""
        if self.rank < 1:
            raise UsageError(f"rank of lora must be at least 1; got {self.rank}")
        if not 0 < self.alpha < float("inf"):
            raise UsageError(f"alpha of lora must be above 0; got {self.alpha}")

    def attach(
        self,
        backbone: BackboneLike,
        classes: int,
        rng: np.random.Generator,
        *,
        placement: Placement | None = None,
        pool: Pool | None = None,
    ) -> Adaptation:
        placement = self.choose_placement(placement)
        generator = torch_generator(rng)
        names = backbone.linear_names()
        targets = set(attention_targets(names))
        in_cells = placement is not Placement.DIGITAL

        def make(name: str, linear: nn.Linear) -> CellLinear:
            if name not in targets:
                return CellLinear(name, linear)
            return LoraLinear(name, linear, self.rank, self.alpha / self.rank, in_cells, generator)

        model = AdaptedModel(clone_encoder(backbone.module, names, make), backbone.hidden_size, classes)
        matrices: dict[str, nn.Parameter] = {}
        for module in model.modules():
            if isinstance(module, LoraLinear):
                matrices[f"{module.cell_name}.lora_a"] = module.lora_a
                matrices[f"{module.cell_name}.lora_b"] = module.lora_b
        weights = sum(matrix.numel() for matrix in matrices.values())
        first = {f"{name}.lora_a" for name in entry_linears(names)}
        passed = sum(matrix.numel() for name, matrix in matrices.items() if name not in first)
        digital = matrix_forward(weights)
        trained_in_cells = placement is Placement.NVM_STEP
        # Trained digitally, the gradient of A's and B's inputs is digital work too; in cells it is a transposed read.
        # What enters the first block needs none.
        backward = matrix_gradient(weights) + (DigitalWork() if trained_in_cells else matrix_forward(passed))
        return assemble(
            self,
            backbone,
            model,
            groups={"matrices": matrices},
            placements=dict.fromkeys(matrices, placement),
            extra_cells=matrices if in_cells else None,
            inference_work=DigitalWork() if in_cells else digital,
            training_work=DigitalWork() if trained_in_cells else digital,
            backward_work=backward,
            trained_linears=targets,
        )

    def count(self, shape: ModelShape, *, rank: int = 16, pool_size: int = 6) -> ParameterCount:
        weights = sum(rank * (linear.in_features + linear.out_features) for linear in target_linears(shape))
        return ParameterCount({"matrices": weights}, cells_trained=weights)


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
