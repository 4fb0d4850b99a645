"""HiRA: every weight is multiplied by a trained factor, and the factors are a matrix of low rank.

Huang et al., "HiRA: Parameter-Efficient Hadamard High-Rank Adaptation for Large Language Models", ICLR 2025. With *
number by number,

    W' = W * (1 + s B A)        trained: A (rank, in), B (out, rank); B starts at 0

HUT (Hadamard Updated Transformation, arXiv:2409.13501) is of the same form: frozen weights times a pair of low-rank
matrices. Its abstract says no more, no code is published, and how HUT itself is parameterised has not been verified:
this is HiRA's form.

What changes is dense and of high rank, whatever the rank of B A. Written to cells, W' takes the place of W: all of its
cells are rewritten (NVM_TASK, NVM_STEP), and W itself has to be kept digitally for as long as the method is trained.
Held digitally, A and B need no write at all. With A_k a row of A and B_k a column of B,

    y = W x + bias + s sum_k B_k * (W (A_k * x))

is rank + 1 reads of one and the same frozen array: reads are paid for writes. The gradient passes as many transposed
reads; those of A_k are needed even where x needs none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import UsageError
from ...workloads.shapes import LinearShape, ModelShape
from ..costs import NUMBER_BYTES, DigitalWork, matrix_forward, matrix_gradient, scale_backward, scale_forward
from ..placement import Placement
from ..plan import DEFAULT_TARGETS, Part, Size, TensorPlan, first_of
from ..recipes import Recipe
from ..spec import Method, Targeted, register

if TYPE_CHECKING:
    from torch import Tensor

    from ..attaching import Built, Site


def _unmerged(linear: Any, x: "Tensor", scale: float) -> "Tensor":
    y = linear.plain(x)
    for row, column in zip(linear.hira_a.unbind(0), linear.hira_b.unbind(1), strict=True):
        y = y + scale * column * linear.read(row * x)
    return y


def merged(linear: Any, scale: float) -> "Tensor":
    """W' of a linear, (out, in)."""
    weight: Tensor = linear.weight * (1.0 + scale * (linear.hira_b @ linear.hira_a))
    return weight


def _merged(linear: Any, x: "Tensor", scale: float) -> "Tensor":
    y = linear.reader(linear.cell_name, x, merged(linear, scale))
    return y if linear.bias is None else y + linear.bias


@dataclass(frozen=True)
class HiRA(Targeted, Method):
    """`rank`: rows of A; held digitally, the matrix is read once more for each. `scale`: s. `targets`: the linears that
    are adapted, by role, as of `lora`.

    A bundle computes the rank + 1 products as well: no dense matrix is formed in a step, and the frozen weights stay in
    8 or 4 bits where the bundle has them so.
    """

    name = "hira"
    title = "HiRA"
    family = "updates"
    summary = "every weight of query and value times a trained factor: read again for each rank, or written anew"
    source = (
        "Huang et al., HiRA, ICLR 2025, as in peft; of the form of HUT, arXiv:2409.13501, whose own "
        "parameterisation is not verified"
    )
    placements = (Placement.DIGITAL, Placement.NVM_TASK, Placement.NVM_STEP)
    groups = ("matrices",)
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"rate.matrices": 0.006},
        {"rate.matrices": 0.06},
        {"rate.matrices": 0.006, "rank": 8},
        {"rate.head": 1e-3},
    )
    shares_training = False  # written to cells, W' is trained as one dense matrix

    rank: int = 2
    scale: float = 1.0
    targets: str = ",".join(DEFAULT_TARGETS)

    def __post_init__(self) -> None:
        """Raise `UsageError` for a rank below 1, a scale that is not above 0, or targets that are no roles."""
        if self.rank < 1:
            raise UsageError(f"rank of hira must be at least 1; got {self.rank}")
        if not 0 < self.scale < float("inf"):
            raise UsageError(f"scale of hira must be above 0; got {self.scale}")
        _ = self.roles

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        linears, factors = self.linears(shape), []
        for linear in linears:
            factors += [
                TensorPlan(f"{linear.name}.hira_a", (self.rank, linear.in_features), group="matrices"),
                TensorPlan(f"{linear.name}.hira_b", (linear.out_features, self.rank), group="matrices"),
            ]
        if placement is Placement.DIGITAL:
            numbers = sum(tensor.numbers for tensor in factors)
            spared = self.rank * sum(linear.in_features for linear in first_of(linears, shape))
            return Part(
                tuple(factors),
                read_again={linear.name: self.rank for linear in linears},
                trained_linears=linears,
                inference_work=scale_forward(numbers),
                backward_work=scale_backward(numbers, spared),
            )
        whole = [TensorPlan(x.name, (x.out_features, x.in_features), placement) for x in linears]
        weights = sum(tensor.numbers for tensor in whole)
        passed = weights - sum(x.out_features * x.in_features for x in first_of(linears, shape))
        # Trained for the task, W' is multiplied digitally; rewritten at every step, it is read in its cells.
        by_task, none = placement is Placement.NVM_TASK, DigitalWork()
        forward, back = self._merging(linears)
        return Part(
            (*factors, *whole),
            trained_linears=linears,
            training_work=forward + (matrix_forward(weights) if by_task else none),
            backward_work=back + matrix_gradient(weights) + (matrix_forward(passed) if by_task else none),
        )

    def _merging(self, linears: tuple[LinearShape, ...]) -> tuple[DigitalWork, DigitalWork]:
        """The work of a pass in which W' is formed, and of the way back: with G = W * dL/dW', dL/dA = s B^T G and
        dL/dB = s G A^T.
        """
        dense = sum(x.out_features * x.in_features for x in linears)
        factors = self.rank * sum(x.out_features + x.in_features for x in linears)
        forward = DigitalWork(per_pass=(self.rank + 1) * dense, bytes_per_pass=NUMBER_BYTES * (2 * dense + factors))
        back = DigitalWork(
            per_pass=(2 * self.rank + 1) * dense, bytes_per_pass=NUMBER_BYTES * (2 * dense + 3 * factors)
        )
        return forward, back

    def build(self, site: "Site") -> "Built":
        import torch
        from torch import nn

        from ..attaching import Built
        from ..layers import CellLinear, ChangedLinear, tensors_of

        generator, chosen = site.generator(), {linear.name for linear in self.linears(site.shape)}
        in_cells = site.placement is not Placement.DIGITAL
        change = partial(_merged if in_cells else _unmerged, scale=self.scale)

        def make(name: str, linear: nn.Linear) -> CellLinear:
            if name not in chosen:
                return CellLinear(name, linear)
            a = torch.randn(self.rank, linear.in_features, dtype=site.dtype, generator=generator) / self.rank
            b = torch.zeros(linear.out_features, self.rank, dtype=site.dtype)
            return ChangedLinear(name, linear, change, {"hira_a": nn.Parameter(a), "hira_b": nn.Parameter(b)})

        encoder = site.encoder(make)
        first, second = tensors_of(encoder, "hira_a"), tensors_of(encoder, "hira_b")
        factors = {name: tensor for pair in zip(first.items(), second.items(), strict=True) for name, tensor in pair}
        adapted = [linear for linear in encoder.modules() if isinstance(linear, ChangedLinear)] if in_cells else []
        holds = {linear.cell_name: partial(merged, linear, self.scale) for linear in adapted}
        return Built(site.model(encoder), factors, holds=holds)


# A starts with deviation 1 / rank (peft's `gaussian`), so that A_k * x drives the cells about as far as x does. Started
# like LoRA's, 1 / sqrt(in), a factor of 1 + B A would not leave 1 in a few dozen steps. Every rank more is one more
# read of the adapted matrices for each token, in every answer, and the first one gives an update of high rank already.
# The rates have not been searched: of 0.005 and 0.02 the second was 4 points better on two draws of `amazon`.
register(HiRA(recipe=Recipe(learning_rates={"matrices": 0.02, "head": 0.003}, head_margin=1.0, weight_decay=0.01)))
