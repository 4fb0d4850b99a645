"""UniPT: what all blocks put out, made narrow side by side, compared with the last of them and mixed.

Diao et al., "UniPT: Universal Parallel Tuning for Transfer Learning with Efficient Parameter and Memory", CVPR 2024,
arXiv:2308.14316, sections 3.2 to 3.4. With h_0 the embeddings, h_1 to h_L what the blocks put out, and d / D numbers in
F_i,

    F_i = LayerNorm(Linear_i(h_i)),   A = F_L
    R_i = relu(A F_i^T), each row divided by its sum, + I          G_i = R_i F_i          i < L
    p   = softmax over i of w . (mean(A) * mean(F_i)) + b          means over the tokens of an example
    M   = sum_i p_i G_i
    out = Up(relu(A + LayerNorm(Linear(M))))                       features of it as the model makes them

All Linear_i work side by side, while the backbone does: behind its last block stand one of them and two matrices. No
gradient enters the backbone, and with `cache_features` it is read once for each example.

h_L is what the model puts out, behind its last norm where it has one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import UsageError
from ...workloads.shapes import ModelShape
from ..costs import NUMBER_BYTES, DigitalWork, attention_backward, attention_forward
from ..placement import BackwardNeed, Placement
from ..plan import Part, Side, Size, TensorPlan
from ..recipes import Recipe
from ..side_layers import SideLinear, SideLinears, norm_gradient, norm_tensors
from ..spec import Method, register

if TYPE_CHECKING:
    from ..attaching import Built, Site


@dataclass(frozen=True)
class UniversalParallelTuning(Method):
    """`reduction`: how many times narrower F_i are than the model, of one number at least. `cache_features`: read the
    backbone once for each example.
    """

    name = "unipt"
    title = "UniPT"
    family = "side"
    summary = "all blocks' outputs made narrow side by side and mixed; no gradient enters the backbone"
    source = (
        "Diao et al., UniPT: Universal Parallel Tuning for Transfer Learning with Efficient Parameter and Memory, "
        "CVPR 2024, arXiv:2308.14316"
    )
    placements = (Placement.DIGITAL, Placement.NVM_TASK, Placement.NVM_STEP)
    backward_need = BackwardNeed.SIDE
    groups = ("matrices", "vectors")
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"rate.matrices": 2e-3, "rate.vectors": 2e-3},
        {"rate.matrices": 1e-4, "rate.vectors": 1e-4},
        {"recipe.epochs": 16},
        {"rate.head": 1e-3},
    )

    reduction: int = 2
    cache_features: bool = True

    def __post_init__(self) -> None:
        """Raise `UsageError` for a reduction below 1."""
        if self.reduction < 1:
            raise UsageError(f"reduction of unipt must be at least 1; got {self.reduction}")

    def _width(self, shape: ModelShape) -> int:
        """Numbers of a token in F_i."""
        return max(1, shape.hidden_size // self.reduction)

    def _levels(self, shape: ModelShape) -> tuple[int, ...]:
        """The hidden states that are mixed, and behind them the last."""
        return (*range(shape.runs * len(shape.blocks)), -1)

    def _linears(self, shape: ModelShape, placement: Placement) -> SideLinears:
        width, hidden = self._width(shape), shape.hidden_size
        downs = [SideLinear(f"side.{n}.down", width, hidden, first=True) for n in range(len(self._levels(shape)))]
        behind = [SideLinear("side.project", width, width), SideLinear("side.up", hidden, width)]
        return SideLinears([*downs, *behind], placement)

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        width, levels, linears = self._width(shape), self._levels(shape), self._linears(shape, placement)
        paths = [*(f"side.{n}.norm" for n in range(len(levels))), "side.project.norm"]
        norms = [tensor for path in paths for tensor in norm_tensors(path, width)]
        confidence = (
            TensorPlan("side.confidence", (1, width), group="vectors"),
            TensorPlan("side.confidence.bias", (1,), group="vectors"),
        )
        mixed = (len(levels) - 1) * width
        own = attention_forward(len(levels) - 1, width) + DigitalWork(
            per_token=mixed, per_sequence=2 * mixed, bytes_per_sequence=NUMBER_BYTES * width
        )
        backward = attention_backward(len(levels) - 1, width) + DigitalWork(
            per_token=2 * mixed, per_sequence=4 * mixed, bytes_per_sequence=3 * NUMBER_BYTES * width
        )
        return Part(
            (*linears.tensors, *norms, *confidence),
            inference_work=own + linears.forward_work(training=False),
            training_work=own + linears.forward_work(training=True),
            backward_work=backward + linears.backward_work + norm_gradient(width * len(paths)),
            side=Side(
                levels=levels,
                width=shape.hidden_size,
                read=linears.read,
                transposed=linears.transposed,
                line=(1, 2) if linears.read else (),
                outputs=linears.outputs,
                cached=self.cache_features,
            ),
        )

    def build(self, site: "Site") -> "Built":
        from torch import nn

        from ..attaching import Built
        from ..parallel import ParallelMixture
        from ..side_layers import SideLayers

        shape, width = site.shape, self._width(site.shape)
        layers = SideLayers(site, self._linears(shape, site.placement))

        def normed(name: str, norm: str) -> nn.Module:
            return nn.Sequential(layers.layers[name], layers.norm(norm, width))

        downs = [normed(f"side.{n}.down", f"side.{n}.norm") for n in range(len(self._levels(shape)))]
        project, up = normed("side.project", "side.project.norm"), layers.layers["side.up"]
        confidence = nn.Linear(width, 1, dtype=site.dtype)
        nn.init.zeros_(confidence.weight)
        nn.init.zeros_(confidence.bias)
        model = site.model(site.encoder())
        model.side = ParallelMixture(downs, project, up, confidence)
        own = dict(confidence.named_parameters())
        state = layers.state | {"side.confidence": own["weight"], "side.confidence.bias": own["bias"]}
        return Built(model, state, layers.cells)


# The rate is the paper's for retrieval (5e-4); it has not been searched.
register(
    UniversalParallelTuning(
        recipe=Recipe(learning_rates={"matrices": 5e-4, "vectors": 5e-4, "head": 3e-3}, head_margin=1.0)
    )
)
