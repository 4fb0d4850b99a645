"""LoRAFusion: a frozen pool of LoRA modules, fused by trained coefficients, and a trained magnitude per output.

Guo, Ali, Yang and Fan, "LoRAFusion: A Crossbar-aware Multi-task Adaption Framework via Efficient Fusion of Pretrained
LoRA Modules", GLSVLSI 2025. For an adapted linear of block b, with pool modules A_k (r, in), B_k (out, r), scale s and
coefficients c_k of the block (shared by its adapted linears, and by A and B):

    A = sum_k c_k A_k        B = sum_k c_k B_k        n_i = || row i of W + s B A ||, a constant in the backward pass
    y = (m / n) * (W x + s B A x) + bias              m starts as the row norm of W

On the crossbar all A_k are stacked into one (K r, in) array and all B_k into one (out, K r) array. One read of the
first gives every u_k = A_k x; digitally z = sum_k c_k u_k; driving the second with [c_1 z; ...; c_K z] gives B A x,
cross terms included, without writing a cell. Without cross terms (`cross_terms=False`) the second array is driven with
[c_1 u_1; ...; c_K u_K], which gives sum_k c_k B_k A_k x at the same cost.

Gradients are autograd's, of exactly this forward pass.

Measured (exact weights, MiniLM, `movie`, 100 shots, 5 draws of examples, 1,000 new texts for each;
benchmarks/results/movie.json): LoRAFusion reaches 75.6 % untrained and 76.0 % trained (+0.3 ± 0.8 points); with the
head's former rate of 0.003 and margin of 1 it reaches 75.0 % (-0.6 ± 1.0). Untrained means modules fused evenly under
a head of class means. Where the pool fits that well, a head that moves far undoes it: trained alone on the fused
features it gains on `nyt` -1.0 ± 0.4 points at the former rate, -0.1 ± 0.4 at the present one
(benchmarks/results/head_rates.json). Where the pool fits less, training pays: benchmarks/results/recipe_search.json.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import UsageError
from ...workloads.pools import LoraModule, Pool
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
    block_of,
    register,
    target_linears,
    torch_generator,
)
from ..blocks import entry_linears
from ..costs import DigitalWork, fusion_backward, fusion_forward
from ..layers import AdaptedModel, CellLinear, clone_encoder, frozen
from ..rownorm import CrossTermNorm, SeparateNorm


class Handover:
    """Carries the coefficients (K, blocks) of one forward pass from the model, which owns them, to its linears.

    A parameter registered in every linear of a block could not be exported as one graph input.
    """

    def __init__(self) -> None:
        self.coefficients: Tensor | None = None


class FusedLinear(CellLinear):
    """A linear with the stacked modules of the pool beside it: the two extra reads, the fusion and the magnitude."""

    scales: Tensor
    spread: Tensor
    align: Tensor
    norm: CrossTermNorm | SeparateNorm
    """Only there with magnitudes."""

    def __init__(
        self,
        name: str,
        linear: nn.Linear,
        modules: tuple[LoraModule, ...],
        column: int,
        handover: Handover,
        cross_terms: bool,
        magnitude: bool,
    ) -> None:
        super().__init__(name, linear)
        dtype = linear.weight.dtype
        a = [torch.as_tensor(module.a[name], dtype=dtype) for module in modules]
        b = [torch.as_tensor(module.b[name], dtype=dtype) for module in modules]
        ranks = [matrix.shape[0] for matrix in a]
        self.column = column
        self.handover = handover
        self.cross_terms = cross_terms
        self.pool_a = frozen(torch.cat(a))
        self.pool_b = frozen(torch.cat(b, dim=1).contiguous())
        # Each row of the stack belongs to one module (spread, with its scale) and is one rank row of it (align).
        # Products with constant matrices instead of gathers: exact, and no scatter in an exported backward pass.
        # A scale belongs to the product B A; with cross terms each of the two factors gets its square root.
        scales = torch.tensor([module.scale for module in modules], dtype=dtype)
        owner = torch.repeat_interleave(torch.arange(len(modules)), torch.tensor(ranks))
        row = torch.cat([torch.arange(rank) for rank in ranks])
        self.register_buffer("scales", scales.sqrt() if cross_terms else scales)
        self.register_buffer("spread", torch.diag(self.scales)[owner])
        self.register_buffer("align", torch.eye(max(ranks), dtype=dtype)[row])
        self.magnitude: nn.Parameter | None = None
        if magnitude:
            padded_a = torch.stack([F.pad(m, (0, 0, 0, max(ranks) - m.shape[0])) for m in a])
            padded_b = torch.stack([F.pad(m, (0, max(ranks) - m.shape[1])) for m in b])
            self.norm = (CrossTermNorm if cross_terms else SeparateNorm)(linear.weight.detach(), padded_a, padded_b)
            self.magnitude = nn.Parameter(linear.weight.detach().norm(dim=1))

    def forward(self, x: Tensor) -> Tensor:
        if self.handover.coefficients is None:
            raise RuntimeError("a FusedLinear runs only inside its FusionModel, which hands the coefficients in")
        coefficients = self.handover.coefficients[:, self.column]
        factor = self.spread @ coefficients
        drive = factor * self.reader(f"{self.cell_name}.pool_a", x, self.pool_a)
        if self.cross_terms:
            drive = factor * (drive @ self.align @ self.align.T)
        y = self.read(x) + self.reader(f"{self.cell_name}.pool_b", drive, self.pool_b)
        if self.magnitude is not None:
            y = (self.magnitude / self.norm(self.scales * coefficients.detach())) * y
        return y if self.bias is None else y + self.bias

    def work(self, needs_input: bool) -> tuple[DigitalWork, DigitalWork]:
        """Digital work, (forward, backward): fusion of the stacked rows, and the magnitude.

        `needs_input`: whether what enters needs a gradient.
        """
        size = (self.pool_a.shape[0], self.weight.shape[0], self.cross_terms, self.magnitude is not None)
        return fusion_forward(*size), fusion_backward(*size, needs_input)


class FusionModel(AdaptedModel):
    """An `AdaptedModel` that owns the fusion coefficients (K, blocks) and hands them to its `FusedLinear`s."""

    def __init__(
        self, encoder: nn.Module, hidden_size: int, classes: int, coefficients: Tensor, handover: Handover
    ) -> None:
        super().__init__(encoder, hidden_size, classes)
        self.coefficients = nn.Parameter(coefficients)
        self.handover = handover

    def features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        self.handover.coefficients = self.coefficients
        try:
            return super().features(input_ids, attention_mask)
        finally:
            self.handover.coefficients = None


@dataclass(frozen=True)
class LoRAFusion(Method):
    """Options: `cross_terms` and `magnitude` as described above; the coefficients start uniform in
    `initial` +- `initial_spread`, both divided by the number of modules in the pool."""

    name = "lorafusion"
    summary = "fusion coefficients and magnitudes over a frozen pool of LoRA modules; no cell is written"
    source = "Guo et al., LoRAFusion, GLSVLSI 2025, doi:10.1145/3716368.3735213"
    placements = (Placement.DIGITAL,)
    backward_need = BackwardNeed.THROUGH
    needs_pool = True
    start = "pool"
    before_blocks: ClassVar[bool] = False
    """Whether something is trained in front of the first block, so that what enters it needs a gradient."""

    cross_terms: bool = True
    magnitude: bool = True
    initial: float = 1.5
    initial_spread: float = 0.0

    def attach(
        self,
        backbone: BackboneLike,
        classes: int,
        rng: np.random.Generator,
        *,
        placement: Placement | None = None,
        pool: Pool | None = None,
    ) -> Adaptation:
        self.choose_placement(placement)
        if pool is None or not pool.modules:
            raise UsageError(
                f"{self.name} needs a pool of LoRA modules: give one with --pool, or train one (pool train)"
            )
        names = backbone.linear_names()
        targets = list(pool.target_names)
        if strange := sorted(set(targets) - set(names)):
            raise UsageError(f"the pool {pool.path} adapts {strange[0]!r}, which this model does not have")
        columns = {block: column for column, block in enumerate(sorted({block_of(name) for name in targets}))}
        handover = Handover()
        modules = tuple(pool.modules)

        def make(name: str, linear: nn.Linear) -> CellLinear:
            if name not in targets:
                return CellLinear(name, linear)
            column = columns[block_of(name)]
            return FusedLinear(name, linear, modules, column, handover, self.cross_terms, self.magnitude)

        encoder = clone_encoder(backbone.module, names, make)
        dtype = next(encoder.parameters()).dtype
        draw = 2.0 * torch.rand(len(modules), len(columns), generator=torch_generator(rng), dtype=dtype) - 1.0
        coefficients = (self.initial + self.initial_spread * draw) / len(modules)
        model = FusionModel(encoder, backbone.hidden_size, classes, coefficients, handover)

        fused = [module for module in model.modules() if isinstance(module, FusedLinear)]
        magnitudes = {f"{m.cell_name}.magnitude": m.magnitude for m in fused if m.magnitude is not None}
        cells: dict[str, Tensor] = {f"{m.cell_name}.pool_a": m.pool_a for m in fused}
        cells |= {f"{m.cell_name}.pool_b": m.pool_b for m in fused}
        first = () if self.before_blocks else entry_linears(names)
        forward = backward = DigitalWork()
        for linear in fused:
            ahead, back = linear.work(linear.cell_name not in first)
            forward, backward = forward + ahead, backward + back
        norms = sum((m.norm.work for m in fused if m.magnitude is not None), DigitalWork())
        groups = {"coefficients": {"coefficients": model.coefficients}, "magnitudes": magnitudes}
        trains = bool(self.start)
        adaptation = assemble(
            self,
            backbone,
            model,
            groups=groups if trains else {},
            held={} if trains else {name: value for group in groups.values() for name, value in group.items()},
            train_head=trains,
            placements={},
            extra_cells=cells,
            inference_work=forward,
            training_work=forward + norms,
            backward_work=backward if trains else DigitalWork(),
            trained_linears=None if self.before_blocks else targets,
        )
        if trains:
            adaptation.l1_names = ("coefficients",)
        return adaptation

    def count(self, shape: ModelShape, *, rank: int = 16, pool_size: int = 6) -> ParameterCount:
        linears = target_linears(shape)
        blocks = sum(any(linear in linears for linear in block.linears) for block in shape.blocks)
        magnitudes = sum(linear.out_features for linear in linears) if self.magnitude else 0
        pool = pool_size * rank * sum(linear.in_features + linear.out_features for linear in linears)
        trained = {"coefficients": pool_size * blocks}
        if self.magnitude:
            trained["magnitudes"] = magnitudes
        return ParameterCount(trained, cells_frozen=pool)


# Chosen by benchmarks/recipe_search.py (near tasks with their own modules left out of the pool, the unseen task not
# touched). Where the pool fits, class means of the fused features are hard to improve on: a head that is trained alone
# from them at a rate of 0.003 loses on `nyt`, at 0.001 it loses nowhere (benchmarks/results/head_rates.json).
# With `initial` 1.5 to 2 the three related modules of six enter with half their strength together; at 3 the updates
# overshoot, and below 1 training has to make up for it (benchmarks/results/recipe_search_first.json).
register(
    LoRAFusion(
        recipe=Recipe(
            learning_rates={"coefficients": 0.02, "magnitudes": 0.003, "head": 0.001},
            head_margin=0.5,
            l1=0.0005,
        )
    )
)
