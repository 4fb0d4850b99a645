"""Telly: the lowest blocks stay frozen, the others are fine-tuned.

Shi et al., "Towards Efficient Fine-tuning of Pre-trained Code Models: An Experimental Study and Beyond", ISSTA 2023,
arXiv:2304.05216. The lower layers of a code model hold lexical and syntactic knowledge that fine-tuning leaves nearly
as it was. With K blocks frozen,

    trained: W (out, in) and b (out) of every linear in the blocks K, K + 1, ...; the embeddings are frozen

Fewer arrays are written, and the gradient ends in front of block K: no array below is read from behind. What enters
block K never changes: it is stored in the pass that starts the head, and no step reads the arrays below again.

The paper's counts hold two things more for each model: the norms of the trained blocks (4 x 768 numbers a block), and
a pooler and a dense layer of the task in front of the head (2 x (768 x 768 + 768)). Here the norms stay frozen as with
`full`, and the head sees the features at once: 7,084,800 numbers a block of BERT's size instead of 7,087,872.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import UsageError
from ...workloads.shapes import LinearShape, ModelShape
from ..costs import DigitalWork, matrix_forward, matrix_gradient
from ..placement import BackwardNeed, Placement
from ..plan import Part, Size, TensorPlan, first_of
from ..recipes import Recipe
from ..spec import Method, register

if TYPE_CHECKING:
    from ..attaching import Built, Site

LOWER_HALF = -1


@dataclass(frozen=True)
class Telly(Method):
    """`frozen_blocks`: how many of the lowest blocks are frozen, K; -1 for the lower half of them, rounded down. Where
    embeddings enter an encoder and a decoder, blocks of the encoder are frozen. `cache_features`: whether what enters
    block K is stored for each example, instead of reading the frozen blocks in every step; on a noisy chip its noise is
    then that of one read, and images are not cropped at random. A model is read in every step all the same where blocks
    run several times, where it has a decoder, or where blocks hand on more than hidden states (T5).
    """

    name = "telly"
    title = "Telly, upper blocks"
    family = "all"
    summary = "matrices and biases of the upper blocks, rewritten in their cells; the lower ones stay frozen"
    source = (
        "Shi et al., Towards Efficient Fine-tuning of Pre-trained Code Models: An Experimental Study and Beyond, "
        "ISSTA 2023, arXiv:2304.05216"
    )
    placements = (Placement.NVM_TASK, Placement.NVM_STEP)
    backward_need = BackwardNeed.FULL
    groups = ("matrices", "biases")
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"rate.matrices": 1e-4, "rate.biases": 1e-4},
        {"recipe.epochs": 16},
        {"recipe.epochs": 16, "rate.matrices": 1e-4, "rate.biases": 1e-4},
        {"rate.head": 1e-3},
    )

    frozen_blocks: int = LOWER_HALF
    cache_features: bool = True

    def __post_init__(self) -> None:
        """Raise `UsageError` for a number of blocks that cannot be."""
        if self.frozen_blocks < LOWER_HALF:
            raise UsageError(
                f"frozen_blocks of telly must be 0 or more, or -1 for the lower half; got {self.frozen_blocks}"
            )

    def frozen_of(self, shape: ModelShape) -> int:
        """How many blocks of a model stay frozen. Raises `UsageError` where none would be left."""
        most = len(shape.stacks[0])
        if self.frozen_blocks >= most:
            raise UsageError(
                f"frozen_blocks of telly is {self.frozen_blocks}, and {shape.name} has "
                + (f"{most} block{'s' if most > 1 else ''}" if len(shape.stacks) == 1 else f"{most} in its encoder")
                + f": give at most {most - 1}"
            )
        return most // 2 if self.frozen_blocks == LOWER_HALF else self.frozen_blocks

    def linears(self, shape: ModelShape) -> list[LinearShape]:
        """The linears that are trained."""
        frozen = {block.name for block in shape.stacks[0][: self.frozen_of(shape)]}
        return [linear for block in shape.blocks if block.name not in frozen for linear in block.linears]

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        linears, by_task = self.linears(shape), placement is Placement.NVM_TASK
        matrices = [TensorPlan(x.name, (x.out_features, x.in_features), placement, "matrices") for x in linears]
        biases = [TensorPlan(f"{x.name}.bias", (x.out_features,), group="biases") for x in linears if x.bias]
        weights = sum(matrix.numbers for matrix in matrices)
        passed = weights - sum(linear.out_features * linear.in_features for linear in first_of(linears, shape))
        # As with `full`: trained digitally, every product of what is trained, and its transpose, is digital work.
        once = self.cache_features and shape.resumable
        return Part(
            (*matrices, *biases),
            trained_linears=linears,
            training_work=matrix_forward(weights) if by_task else DigitalWork(),
            backward_work=(matrix_forward(passed) if by_task else DigitalWork()) + matrix_gradient(weights),
            resumes=self.frozen_of(shape) if once else 0,
        )

    def build(self, site: "Site") -> "Built":
        from ..attaching import Built
        from ..layers import CellLinear

        names = {linear.name for linear in self.linears(site.shape)}
        encoder = site.encoder(lambda name, linear: CellLinear(name, linear, own=name in names))
        linears = [m for m in encoder.modules() if isinstance(m, CellLinear) and m.cell_name in names]
        biases = {f"{linear.cell_name}.bias": linear.bias for linear in linears if linear.bias is not None}
        return Built(site.model(encoder), {linear.cell_name: linear.weight for linear in linears} | biases)


# Rates and head are those of `full`, which were searched, and whose tensors these are; its own have not been.
register(
    Telly(
        recipe=Recipe(
            learning_rates={"matrices": 5e-5, "biases": 5e-5, "head": 3e-4}, head_margin=0.5, new_head_again=False
        )
    )
)
