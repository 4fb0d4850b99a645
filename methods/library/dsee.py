"""DSEE: a low-rank update, and a sparse one at places that the frozen weights themselves show.

Chen et al., "DSEE: Dually Sparsity-embedded Efficient Tuning of Pre-trained Language Models", ACL 2023,
arXiv:2111.00160. With S zero but for a few numbers,

    y = W x + bias + (alpha / rank) (B A + S) x        trained: A (rank, in), B (out, rank), S; B and S start at 0

The places of S are chosen once: W is taken apart into a matrix of the same rank and a sparse one, and S changes the
places of the latter. In the authors' code S starts at random numbers; here the model starts as it was.

Held digitally, S is a sparse product. Under NVM_TASK and NVM_STEP its numbers sit in the cells of W itself, of which no
others are rewritten: W' = W + (alpha / rank) S. These few cells are far apart, so that cells which could be written
together are not. A and B have cells of their own, as a LoRA's. Until NVM_TASK has written,
W is read as it is and what S has changed is added digitally.

`density` below 1 is the paper's second stage, unstructured: the chip is programmed with the backbone's largest weights
alone, and A, B and S are trained on that. The authors prune over all matrices together, after a first training, and
train again; here each matrix keeps the same share, from the start. S keeps the places that the whole W shows, and may
wake cells that were pruned. Pruned cells are at their lowest conductance: that spares pulses and some of a read's
current, but no read, no conversion and no array. Heads and neurons that are pruned as a whole would: that is not built.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import UsageError, unknown_name
from ...workloads.shapes import LinearShape, ModelShape
from ..costs import NUMBER_BYTES, DigitalWork, matrix_forward, matrix_gradient, sparse_backward, sparse_forward
from ..placement import Placement
from ..plan import DEFAULT_TARGETS, Beside, Part, Size, TensorPlan, first_of
from ..pruning import require_density
from ..recipes import Recipe
from ..spec import Method, Targeted, register

if TYPE_CHECKING:
    from torch import Tensor

    from ..attaching import Built, Site

SUPPORTS = ("decomposed", "largest", "random")


def _updated(linear: Any, x: "Tensor", scale: float, placement: Placement) -> "Tensor":
    from ..layers import exact_reader

    reader = exact_reader if placement is Placement.DIGITAL else linear.reader
    by_step = placement is Placement.NVM_STEP
    weight = linear.merged(scale) if by_step else linear.present
    y = linear.reader(linear.cell_name, x, linear.weight if weight is None else weight)
    down = reader(f"{linear.cell_name}.lora_a", x, linear.lora_a)
    update = reader(f"{linear.cell_name}.lora_b", down, linear.lora_b)
    y = y + scale * (update if by_step else update + linear.unwritten(x))
    return y if linear.bias is None else y + linear.bias


@dataclass(frozen=True)
class DSEE(Targeted, Method):
    """`alpha / rank` is the scale of both updates. `sparse`: numbers of S in each adapted linear. `support`: where they
    are: decomposed (by the decomposition of W, of the rank of the update), largest (where W is), or random. `targets`:
    the linears that are adapted, by role, as of `lora`. `density`: the share of each matrix of the backbone, adapted or
    not, that is kept.
    """

    name = "dsee"
    title = "DSEE"
    family = "updates"
    summary = "a LoRA and a few single weights of query and value, which are rewritten in place"
    source = "Chen et al., DSEE: Dually Sparsity-embedded Efficient Tuning, ACL 2023, arXiv:2111.00160"
    placements = (Placement.NVM_STEP, Placement.NVM_TASK, Placement.DIGITAL)
    groups = ("matrices", "sparse")
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"rate.matrices": 6e-4, "rate.sparse": 6e-4},
        {"rate.sparse": 6e-3},
        {"rate.matrices": 6e-4, "rank": 4, "alpha": 16.0},
        {"rate.head": 1e-3},
    )

    rank: int = 16
    alpha: float = 64.0
    sparse: int = 64
    support: str = "decomposed"
    targets: str = ",".join(DEFAULT_TARGETS)
    density: float = 1.0

    def __post_init__(self) -> None:
        """Raise `UsageError` for a rank, number, alpha or density that cannot be, or a support or role unknown."""
        for option in ("rank", "sparse"):
            if getattr(self, option) < 1:
                raise UsageError(f"{option} of dsee must be at least 1; got {getattr(self, option)}")
        if not 0 < self.alpha < float("inf"):
            raise UsageError(f"alpha of dsee must be above 0; got {self.alpha}")
        if self.support not in SUPPORTS:
            raise UsageError(unknown_name("support of dsee", self.support, SUPPORTS))
        require_density(self.density, self.name)
        _ = self.roles

    def _numbers(self, linear: LinearShape) -> int:
        """Numbers of S in a linear: no more than the matrix has."""
        return min(self.sparse, linear.out_features * linear.in_features)

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        linears, in_cells, tensors, pairs = self.linears(shape), placement is not Placement.DIGITAL, [], []
        for x in linears:
            pair = Beside(x.name, f"{x.name}.lora_a", f"{x.name}.lora_b")
            tensors += [
                TensorPlan(pair.first, (self.rank, x.in_features), placement, "matrices"),
                TensorPlan(pair.second, (x.out_features, self.rank), placement, "matrices"),
            ]
            pairs.append(pair)
        firsts = first_of(linears, shape)
        weights = sum(tensor.numbers for tensor in tensors)
        passed = weights - self.rank * sum(x.in_features for x in firsts)
        numbers, spared = sum(map(self._numbers, linears)), sum(map(self._numbers, firsts))
        tensors += [TensorPlan(f"{x.name}.sparse", (self._numbers(x),), group="sparse") for x in linears]
        by_task = placement is Placement.NVM_TASK
        if in_cells:
            shapes = {x: (x.out_features, x.in_features) for x in linears}
            tensors += [
                TensorPlan(x.name, shapes[x], placement, changing=self._numbers(x), read_while_trained=by_task)
                for x in linears
            ]
        digital = matrix_forward(weights) + sparse_forward(numbers)
        back = matrix_gradient(weights) + matrix_forward(passed) + sparse_backward(numbers, spared)
        if placement is Placement.NVM_STEP:  # of S, only its own gradient is digital
            back = matrix_gradient(weights) + DigitalWork(
                per_token=numbers, scaled_per_token=numbers, bytes_per_sequence=3 * NUMBER_BYTES * numbers
            )
        return Part(
            tuple(tensors),
            beside=tuple(pairs) if in_cells else (),
            trained_linears=linears,
            inference_work=DigitalWork() if in_cells else digital,
            training_work=DigitalWork() if placement is Placement.NVM_STEP else digital,
            backward_work=back,
            pruned={x.name: self.density for x in shape.linears},
        )

    def build(self, site: "Site") -> "Built":
        import torch
        from torch import nn

        from ..attaching import Built
        from ..decompose import support
        from ..layers import CellLinear, tensors_of
        from ..sparse import SparseLinear, sparse_tensors

        generator, scale, place = site.generator(), self.alpha / self.rank, site.placement
        chosen = {linear.name: self._numbers(linear) for linear in self.linears(site.shape)}
        change = partial(_updated, scale=scale, placement=place)

        def make(name: str, linear: nn.Linear) -> CellLinear:
            if name not in chosen:
                return CellLinear(name, linear)
            bound = linear.in_features**-0.5
            down = torch.empty(self.rank, linear.in_features, dtype=site.dtype)
            down.uniform_(-bound, bound, generator=generator)
            up = torch.zeros(linear.out_features, self.rank, dtype=site.dtype)
            whole = site.backbone.module.get_parameter(f"{name}.weight")
            at = support(whole, chosen[name], self.rank, self.support, generator)
            own = sparse_tensors(at, linear, place is not Placement.NVM_STEP)
            return SparseLinear(name, linear, change, {"lora_a": nn.Parameter(down), "lora_b": nn.Parameter(up)} | own)

        encoder = site.encoder(make)
        adapted = [linear for linear in encoder.modules() if isinstance(linear, SparseLinear)]
        down, up = tensors_of(encoder, "lora_a"), tensors_of(encoder, "lora_b")
        matrices = {name: tensor for pair in zip(down.items(), up.items(), strict=True) for name, tensor in pair}
        in_cells = place is not Placement.DIGITAL
        return Built(
            site.model(encoder),
            matrices | tensors_of(encoder, "sparse"),
            matrices if in_cells else {},
            [getattr(x, kind) for x in adapted for kind in ("picks", "puts") if hasattr(x, kind)],
            {x.cell_name: partial(x.merged, scale) for x in adapted} if in_cells else {},
            wrote=(lambda: [x.wrote(scale) for x in adapted]) if place is Placement.NVM_TASK else None,
        )


# The recipe has not been searched: that of `lora`, whose matrices start alike. The authors train S at the same rate.
register(
    DSEE(
        recipe=Recipe(
            learning_rates={"matrices": 0.002, "sparse": 0.002, "head": 0.003},
            head_margin=1.0,
            weight_decay=0.01,
            new_head_again=False,
        )
    )
)
