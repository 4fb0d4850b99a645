"""LST: a ladder of small Transformer blocks beside the backbone, which take what its blocks put out.

Sung, Cho and Bansal, "LST: Ladder Side-Tuning for Parameter and Memory Efficient Transfer Learning", NeurIPS 2022,
arXiv:2206.06522, section 3. With h_0 the embeddings, h_i what block i of L puts out, and a side network that is r times
narrower,

    s <- Down_0 h_0                                                in front of the first block
    s <- g_i s + (1 - g_i) Down_i h_i,   g_i = sigmoid(alpha_i / T)      behind block i, T = 0.1
    s <- Block_i(s)                                                a Transformer block of width d / r
    features   of Up(LayerNorm(s))                                 as the model makes them of its last hidden states

Block(s) = y + F(LayerNorm(y)), y = s + A(LayerNorm(s)), A the attention with the heads of the backbone, F a
feed-forward layer with gelu: no positions of their own, for h has them. The paper's backbone is a T5, whose blocks have
neither biases nor means in their norms; these are those of BERT and ViT, norms in front.

No gradient enters the backbone, no array of it is read from behind, and with `cache_features` it is read once for each
example: every epoch goes on from the hidden states that the first pass stored.

The start is not the paper's, which prunes the backbone's own blocks by Fisher importance: here Down_i, queries, keys,
values and the first matrix of F are random, uniform in +-1 / sqrt(inputs), while the last matrices of A and F, all
biases and alpha are 0, so that the ladder starts as a mixture of what the blocks put out, made narrow.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd
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

TEMPERATURE = 0.1
ATTENTION = ("query", "key", "value", "output")


@dataclass(frozen=True)
class LadderSideTuning(Method):
    """`reduction`: how many times narrower the ladder is than the model, of one number at least. `skip`: numbers of the
    blocks that have no rung, with commas between, the first being 0. `cache_features`: read the backbone once for each
    example.
    """

    name = "lst"
    title = "LST"
    family = "side"
    summary = "a ladder of small blocks beside the backbone, which no gradient enters; its hidden states are stored"
    source = (
        "Sung et al., LST: Ladder Side-Tuning for Parameter and Memory Efficient Transfer Learning, NeurIPS 2022, "
        "arXiv:2206.06522"
    )
    placements = (Placement.DIGITAL, Placement.NVM_TASK, Placement.NVM_STEP)
    backward_need = BackwardNeed.SIDE
    groups = ("matrices", "vectors", "gates")
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"rate.matrices": 1e-2, "rate.vectors": 1e-2},
        {"rate.matrices": 1e-3, "rate.vectors": 1e-3},
        {"recipe.epochs": 16},
        {"rate.head": 1e-3},
    )

    reduction: int = 8
    skip: str = ""
    cache_features: bool = True

    def __post_init__(self) -> None:
        """Raise `UsageError` for a reduction below 1, or blocks that are no numbers."""
        if self.reduction < 1:
            raise UsageError(f"reduction of lst must be at least 1; got {self.reduction}")
        self._skipped()

    def _skipped(self) -> set[int]:
        """Numbers of the blocks without a rung."""
        words = [word.strip() for word in self.skip.split(",") if word.strip()]
        if strange := [word for word in words if not (word.isascii() and word.isdigit())]:
            raise UsageError(f"skip of lst takes numbers of blocks with commas between; got {strange[0]!r}")
        return set(map(int, words))

    def _rungs(self, shape: ModelShape) -> list[int]:
        """The blocks that have one, by number in the order of a pass."""
        blocks, skipped = shape.runs * len(shape.blocks), self._skipped()
        if beyond := [number for number in sorted(skipped) if number >= blocks]:
            raise UsageError(f"skip of lst names block {beyond[0]}; {shape.name} has the blocks 0 to {blocks - 1}")
        if len(skipped) == blocks:
            raise UsageError(f"skip of lst leaves none of the {blocks} blocks of {shape.name}")
        return [number for number in range(blocks) if number not in skipped]

    def _width(self, shape: ModelShape) -> int:
        """Numbers of a token in the ladder."""
        return max(1, shape.hidden_size // self.reduction)

    def _linears(self, shape: ModelShape, placement: Placement) -> SideLinears:
        width, hidden = self._width(shape), shape.hidden_size
        found = [SideLinear("side.first", width, hidden, first=True)]
        for number in self._rungs(shape):
            rung = f"side.{number}"
            found.append(SideLinear(f"{rung}.down", width, hidden, first=True))
            found += [SideLinear(f"{rung}.{part}", width, width, zero=part == "output") for part in ATTENTION]
            block = shape.blocks[number % len(shape.blocks)]
            own = next((x.in_features for x in block.linears if x.role == "ffn_down"), 4 * hidden)
            inner = max(1, own // self.reduction)
            found.append(SideLinear(f"{rung}.ffn_up", inner, width))
            found.append(SideLinear(f"{rung}.ffn_down", width, inner, zero=True))
        return SideLinears([*found, SideLinear("side.up", hidden, width)], placement)

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        rungs, width, linears = self._rungs(shape), self._width(shape), self._linears(shape, placement)
        paths = [f"side.{number}.{norm}" for number in rungs for norm in ("attention_norm", "ffn_norm")]
        norms = [tensor for path in (*paths, "side.norm") for tensor in norm_tensors(path, width)]
        gates = TensorPlan("side.gates", (len(rungs),), group="gates")
        mixed = 2 * width * len(rungs)  # g s and (1 - g) Down h
        own = attention_forward(len(rungs), width) + DigitalWork(
            per_token=mixed, bytes_per_sequence=NUMBER_BYTES * len(rungs), scaled_per_token=mixed
        )
        backward = attention_backward(len(rungs), width) + DigitalWork(
            per_token=2 * mixed, bytes_per_sequence=3 * NUMBER_BYTES * len(rungs)
        )
        return Part(
            (*linears.tensors, *norms, gates),
            inference_work=own + linears.forward_work(training=False),
            training_work=own + linears.forward_work(training=True),
            backward_work=backward + linears.backward_work + norm_gradient(width * (len(paths) + 1)),
            side=Side(
                levels=(0, *(number + 1 for number in rungs)),
                width=shape.hidden_size,
                read=linears.read,
                transposed=linears.transposed,
                line=(2, 4) if linears.read else (),
                outputs=linears.outputs,
                cached=self.cache_features,
            ),
        )

    def build(self, site: "Site") -> "Built":
        import torch
        from torch import nn

        from ..attaching import Built
        from ..ladder import Ladder, Rung
        from ..side_layers import SideLayers

        shape, width = site.shape, self._width(site.shape)
        layers = SideLayers(site, self._linears(shape, site.placement))
        model = site.model(site.encoder())
        heads = gcd(width, getattr(model.encoder.config, "num_attention_heads", 1))

        rungs = []
        for number in self._rungs(shape):
            rung = f"side.{number}"
            parts = {part: layers.layers[f"{rung}.{part}"] for part in ("down", *ATTENTION, "ffn_up", "ffn_down")}
            norms = {part: layers.norm(f"{rung}.{part}", width) for part in ("attention_norm", "ffn_norm")}
            rungs.append(Rung(parts | norms, heads))
        gates = nn.Parameter(torch.zeros(len(rungs), dtype=site.dtype))
        first, up = layers.layers["side.first"], layers.layers["side.up"]
        model.side = Ladder(first, rungs, gates, TEMPERATURE, layers.norm("side.norm", width), up)
        return Built(model, {**layers.state, "side.gates": gates}, layers.cells)


# The rate is the paper's for GLUE (3e-3); it has not been searched.
register(
    LadderSideTuning(
        recipe=Recipe(
            learning_rates={"matrices": 3e-3, "vectors": 3e-3, "gates": 3e-3, "head": 3e-3}, head_margin=1.0, epochs=8
        )
    )
)
