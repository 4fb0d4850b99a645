"""TinyLoRA: a few numbers that mix fixed random matrices, between the strongest directions of the frozen weights.

Morris et al., "Learning to Reason in 13 Parameters", arXiv:2602.04118. With W = U S V^T, truncated to rank r, and
random (r, r) matrices P_i that never change:

    R = sum_i v_i P_i        y = W x + bias + U sqrt(S) (R (sqrt(S) V^T x))        trained: v (u); v starts at 0

On the crossbar sqrt(S) V^T and U sqrt(S) are programmed once and serve every task; R is the digital unit's. The numbers
of P are normal with variance 1 / r, as in peft: the paper names no distribution.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UsageError
from ...workloads.shapes import LinearShape, ModelShape
from ..costs import NUMBER_BYTES, DigitalWork, matrix_forward, matrix_gradient
from ..placement import Placement
from ..plan import DEFAULT_TARGETS, Beside, Part, Size, TensorPlan, first_of
from ..recipes import Recipe
from ..spec import Method, Targeted, register

if TYPE_CHECKING:
    from torch import Tensor

    from ..attaching import Built, Site

MIXTURE_SEED = 26020411


def mixtures(numbers: int, rank: int, place: int) -> np.ndarray:
    """The matrices P (numbers, rank, rank) of the linear at a place: the same for all tasks and seeds."""
    rng = np.random.default_rng([MIXTURE_SEED, numbers, rank, place])
    return rng.standard_normal((numbers, rank, rank)) / rank**0.5


def directions(weight: "Tensor", rank: int) -> "tuple[Tensor, Tensor]":
    """sqrt(S) V^T (rank, in) and U sqrt(S) (out, rank) of a matrix; the largest number of each row of V is positive."""
    import torch

    left, strengths, right = torch.linalg.svd(weight.detach().double(), full_matrices=False)
    right, left = right[:rank], left[:, :rank]
    signs = right.gather(1, right.abs().argmax(1, keepdim=True)).sign()
    roots = strengths[:rank].sqrt()
    down, up = roots.unsqueeze(1) * right * signs, left * signs.T * roots
    return down.to(weight.dtype).contiguous(), up.to(weight.dtype).contiguous()


def _updated(linear: Any, x: "Tensor") -> "Tensor":
    inner = linear.reader(f"{linear.cell_name}.tiny_a", x, linear.tiny_a)
    mixed = (linear.vector.view(-1, 1, 1) * linear.mixtures).sum(0)
    return linear.plain(x) + linear.reader(f"{linear.cell_name}.tiny_b", inner @ mixed.T, linear.tiny_b)


@dataclass(frozen=True)
class TinyLoRA(Targeted, Method):
    """`rank`: directions of each matrix (paper: 2). `numbers`: trained numbers of each adapted linear. `targets`: the
    linears that are adapted, by role, as of `lora`.
    """

    name = "tinylora"
    title = "TinyLoRA"
    family = "low-rank"
    summary = "a few numbers between the strongest directions of query and value, programmed once; no cell written"
    source = "Morris et al., Learning to Reason in 13 Parameters, arXiv:2602.04118"
    groups = ("vectors",)

    rank: int = 2
    numbers: int = 64
    targets: str = ",".join(DEFAULT_TARGETS)

    def __post_init__(self) -> None:
        """Raise `UsageError` for less than one direction or number, or targets that are no roles."""
        _ = self.roles
        for option in ("rank", "numbers"):
            if getattr(self, option) < 1:
                raise UsageError(f"{option} of tinylora must be at least 1; got {getattr(self, option)}")

    def _rank(self, linear: LinearShape) -> int:
        """`rank`, or what the matrix has."""
        return min(self.rank, linear.in_features, linear.out_features)

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        linears, vectors, matrices = self.linears(shape), [], []
        forward = backward = DigitalWork()
        for linear in linears:
            rank = self._rank(linear)
            vectors.append(TensorPlan(f"{linear.name}.vector", (self.numbers,), group="vectors"))
            matrices += [
                TensorPlan(f"{linear.name}.tiny_a", (rank, linear.in_features), Placement.NVM_FROZEN),
                TensorPlan(f"{linear.name}.tiny_b", (linear.out_features, rank), Placement.NVM_FROZEN),
            ]
            mixing = self.numbers * rank**2  # R once a pass, and the gradient of v from that of R
            once = DigitalWork(per_pass=mixing, bytes_per_pass=NUMBER_BYTES * (mixing + self.numbers))
            needs_input = linear not in first_of(linears, shape)
            forward += matrix_forward(rank**2) + once
            backward += matrix_gradient(rank**2) + once + (matrix_forward(rank**2) if needs_input else DigitalWork())
        return Part(
            (*vectors, *matrices),
            beside=tuple(Beside(x.name, f"{x.name}.tiny_a", f"{x.name}.tiny_b") for x in linears),
            trained_linears=linears,
            inference_work=forward,
            backward_work=backward,
        )

    def build(self, site: "Site") -> "Built":
        import torch
        from torch import nn

        from ..attaching import Built
        from ..layers import CellLinear, ChangedLinear, frozen, tensors_of

        adapted = {linear.name: (place, self._rank(linear)) for place, linear in enumerate(self.linears(site.shape))}

        def make(name: str, linear: nn.Linear) -> CellLinear:
            if name not in adapted:
                return CellLinear(name, linear)
            place, rank = adapted[name]
            down, up = directions(linear.weight, rank)
            own = {
                "tiny_a": frozen(down),
                "tiny_b": frozen(up),
                "mixtures": torch.from_numpy(mixtures(self.numbers, rank, place)).to(site.dtype),
                "vector": nn.Parameter(torch.zeros(self.numbers, dtype=site.dtype)),
            }
            return ChangedLinear(name, linear, _updated, own)

        encoder = site.encoder(make)
        cells = tensors_of(encoder, "tiny_a") | tensors_of(encoder, "tiny_b")
        mixed = tensors_of(encoder, "mixtures").values()
        return Built(site.model(encoder), tensors_of(encoder, "vector"), cells, list(mixed))


# The rate has not been searched.
register(TinyLoRA(recipe=Recipe(learning_rates={"vectors": 1e-2, "head": 3e-3}, head_margin=1.0)))
