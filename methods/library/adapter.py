"""Bottleneck adapters: a small network with a residual behind the attention's output and behind the feed-forward layer.

Houlsby et al., "Parameter-Efficient Transfer Learning for NLP", ICML 2019, arXiv:1902.00751; Pfeiffer et al.,
"AdapterFusion", EACL 2021, arXiv:2005.00247, who keep the one behind the feed-forward layer alone. With h = W x + bias,
the output of the linear that the adapter follows,

    y = h + U act(D h + d) + u        trained: D (b, out), d (b), U (out, b), u (out)

where b = out / reduction, rounded down, and U, d, u start at 0: the model starts as it was.

The adapter stands in front of the residual and the norm of the sublayer, as Houlsby has it. Pfeiffer's reads what comes
out of an added norm instead: the place is the same here, that norm is not.

D and U sit in cells or in the digital unit; both biases are added digitally.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import UsageError, unknown_name
from ...workloads.shapes import LinearShape, ModelShape
from ..costs import NUMBER_BYTES, DigitalWork, matrix_forward, matrix_gradient, sum_gradient
from ..placement import Placement
from ..plan import Beside, Part, Size, TensorPlan, first_of
from ..recipes import Recipe
from ..spec import Method, Targeted, register

if TYPE_CHECKING:
    from torch import Tensor

    from ..attaching import Built, Site

PLACES = ("attention_output", "ffn_down")
ACTIVATIONS = ("relu", "gelu", "silu")


def _followed(linear: Any, x: "Tensor", activation: str, in_cells: bool) -> "Tensor":
    import torch.nn.functional as F

    from ..layers import exact_reader

    reader, h = linear.reader if in_cells else exact_reader, linear.plain(x)
    down = reader(f"{linear.cell_name}.adapter_down", h, linear.adapter_down) + linear.adapter_down_bias
    inner = getattr(F, activation)(down)
    return h + reader(f"{linear.cell_name}.adapter_up", inner, linear.adapter_up) + linear.adapter_up_bias


@dataclass(frozen=True)
class Adapter(Targeted, Method):
    """`reduction`: how many times narrower the bottleneck is than what enters it. `targets`: what an adapter follows:
    attention_output, ffn_down, or both with a comma between. `activation`: relu, gelu or silu.
    """

    name = "adapter"
    title = "Bottleneck adapter"
    family = "low-rank"
    summary = "a small network with a residual behind each feed-forward layer, in its own cells or beside them"
    source = "Houlsby et al., ICML 2019, arXiv:1902.00751; Pfeiffer et al., AdapterFusion, EACL 2021, arXiv:2005.00247"
    placements = (Placement.NVM_STEP, Placement.NVM_TASK, Placement.DIGITAL)
    groups = ("matrices", "biases")
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"rate.matrices": 6e-4, "rate.biases": 6e-4},
        {"rate.matrices": 1e-4, "rate.biases": 1e-4},
        {"recipe.epochs": 16},
        {"rate.head": 1e-3},
    )

    reduction: int = 16
    targets: str = "ffn_down"
    activation: str = "relu"

    def __post_init__(self) -> None:
        """Raise `UsageError` for a reduction below 1, a place or an activation that there is not."""
        if self.reduction < 1:
            raise UsageError(f"reduction of adapter must be at least 1; got {self.reduction}")
        if self.activation not in ACTIVATIONS:
            raise UsageError(unknown_name("activation of adapter", self.activation, ACTIVATIONS))
        for role in self.roles:
            if role not in PLACES:
                raise UsageError(unknown_name("role in targets of adapter", role, PLACES))

    def _bottleneck(self, linear: LinearShape) -> int:
        """Numbers of a token in the bottleneck behind a linear."""
        return max(1, linear.out_features // self.reduction)

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        linears, tensors, pairs = self.linears(shape), [], []
        firsts, weights, biases, spared = first_of(linears, shape), 0, 0, 0
        for linear in linears:
            width, narrow = linear.out_features, self._bottleneck(linear)
            pair = Beside(linear.name, f"{linear.name}.adapter_down", f"{linear.name}.adapter_up", behind=True)
            tensors += [
                TensorPlan(pair.first, (narrow, width), placement, "matrices"),
                TensorPlan(f"{pair.first}_bias", (narrow,), group="biases"),
                TensorPlan(pair.second, (width, narrow), placement, "matrices"),
                TensorPlan(f"{pair.second}_bias", (width,), group="biases"),
            ]
            pairs.append(pair)
            weights, biases = weights + 2 * width * narrow, biases + width + narrow
            spared += width * narrow if linear in firsts else 0  # D^T g, where nothing is trained in front
        digital, in_cells = matrix_forward(weights), placement is not Placement.DIGITAL
        by_step, added = placement is Placement.NVM_STEP, DigitalWork(bytes_per_sequence=NUMBER_BYTES * biases)
        through = DigitalWork() if by_step else matrix_forward(weights - spared)
        return Part(
            tuple(tensors),
            beside=tuple(pairs) if in_cells else (),
            trained_linears=linears,
            inference_work=added if in_cells else added + digital,
            training_work=added if by_step else added + digital,
            backward_work=matrix_gradient(weights) + sum_gradient(biases) + through,
        )

    def build(self, site: "Site") -> "Built":
        import torch
        from torch import nn

        from ..attaching import Built
        from ..layers import CellLinear, ChangedLinear, tensors_of

        generator, in_cells = site.generator(), site.placement is not Placement.DIGITAL
        chosen = {linear.name: self._bottleneck(linear) for linear in self.linears(site.shape)}
        change = partial(_followed, activation=self.activation, in_cells=in_cells)

        def zeros(*extents: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(*extents, dtype=site.dtype))

        def make(name: str, linear: nn.Linear) -> CellLinear:
            if name not in chosen:
                return CellLinear(name, linear)
            width, narrow = linear.out_features, chosen[name]
            bound = 1.0 / math.sqrt(width)
            down = torch.empty(narrow, width, dtype=site.dtype).uniform_(-bound, bound, generator=generator)
            own = {
                "adapter_down": nn.Parameter(down),
                "adapter_down_bias": zeros(narrow),
                "adapter_up": zeros(width, narrow),
                "adapter_up_bias": zeros(width),
            }
            return ChangedLinear(name, linear, change, own)

        encoder = site.encoder(make)
        down, up = tensors_of(encoder, "adapter_down"), tensors_of(encoder, "adapter_up")
        matrices = {name: tensor for pair in zip(down.items(), up.items(), strict=True) for name, tensor in pair}
        biases = tensors_of(encoder, "adapter_down_bias") | tensors_of(encoder, "adapter_up_bias")
        return Built(site.model(encoder), matrices | biases, matrices if in_cells else {})


# The recipe has not been searched: matrices, head and decay are those that a search found for `lora`, whose matrices
# start alike, and the biases move as the matrices do.
register(
    Adapter(
        recipe=Recipe(
            learning_rates={"matrices": 0.002, "biases": 0.002, "head": 0.003},
            head_margin=1.0,
            weight_decay=0.01,
            new_head_again=False,
        )
    )
)
