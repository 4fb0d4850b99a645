"""HST: a side network whose tokens become fewer and wider stage by stage, beside an encoder of images.

Lin, Wu, Yang, Huang and Jin, "Hierarchical Side-Tuning for Vision Transformers", arXiv:2310.05393, section 3. Four
stages of 32, 48, 64 and 72 numbers, each beside a quarter of the blocks; a stage has a grid of places, half as many to
a side as the one before. With P_i the patches behind block i, resampled to the grid (bilinear), and [CLS]_i,

    x   = LayerNorm(Linear(P_0)) in the first stage, LayerNorm(Conv(x)), 3 x 3 with stride 2, in the others
    T_i = Bridge(P_i)           M_i = LayerNorm_i(Bridge([CLS]_i))          one Bridge for each stage
    x  <- x + Attention(LayerNorm(x), [M_i; mean T_i]) + T_i                queries of x, keys and values of two tokens
    x  <- x + F(LayerNorm(x))                                               F: four times as wide, gelu
    feature: the mean over the places of LayerNorm(x) of the last stage

No gradient enters the backbone, no cell is written or read from behind, and with `cache_features` the backbone is read
once for each example.

The paper calls the method side-tuning, but it trains inside the backbone: it puts a learnt meta token in front of each
block and takes from there what M_i is made of. The released code trains the gains and biases of the backbone's norms as
well. Either needs a gradient through the backbone. Both are left out here: M_i is made of the model's own [CLS], which
nothing trains, or is absent where there is none. What else differs: the first stage starts from the embedded patches,
not from pixels, which a network beside the blocks does not see, so its grid is that of a ViT's patches (14) where a
stem of convolutions gives 56; and there is no BatchNorm in front of the head, for it would make an answer depend on its
neighbours.

Numbers for ViT-B: the code has 764,840 without its head, of these 9,216 in meta tokens, 36,864 in the backbone's norms
and 5,120 in the stem (with a head of VTAB's size that is the paper's 0.78 M). Here it is 738,312: without these, and
with 24,672 of the first Linear and its norm.

The last matrices of Attention and F start at 0. What resampling multiplies is not counted.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import UsageError
from ...workloads.shapes import ModelShape
from ..costs import ACTIVATION_BYTES, NUMBER_BYTES, DigitalWork
from ..placement import BackwardNeed, Placement
from ..plan import Part, Side, Size, TensorPlan
from ..recipes import Recipe
from ..side_layers import SideLinear, SideLinears, norm_tensors
from ..side_stages import WIDER, SideStage
from ..spec import Method, register

if TYPE_CHECKING:
    from torch import nn

    from ..attaching import Built, Site

WIDTHS, HEADS = (32, 48, 64, 72), (2, 4, 8, 12)
LARGEST = 64


@dataclass(frozen=True)
class HierarchicalSideTuning(Method):
    """`grid`: places to a side of the first stage's grid, from 1 to 64; 14 are as many as a ViT has patches, at 224
    pixels and 16 to a patch. `cache_features`: read the backbone once for each example.
    """

    name = "hst"
    title = "HST"
    family = "side"
    summary = "a hierarchy of side tokens beside an encoder of images, which no gradient enters; its states are stored"
    source = "Lin et al., Hierarchical Side-Tuning for Vision Transformers, arXiv:2310.05393"
    backward_need = BackwardNeed.SIDE
    kinds = ("image",)
    other_kind = "lst"
    groups = ("matrices", "vectors")
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"rate.matrices": 5e-3, "rate.vectors": 5e-3},
        {"rate.matrices": 1e-3, "rate.vectors": 1e-3},
        {"recipe.epochs": 16},
        {"rate.head": 1e-3},
    )

    grid: int = 14
    cache_features: bool = True

    def __post_init__(self) -> None:
        """Raise `UsageError` for a grid that is no number of places, or a very large one."""
        if not 1 <= self.grid <= LARGEST:
            raise UsageError(f"grid of hst must be from 1 to {LARGEST}; got {self.grid}")

    def _stages(self, shape: ModelShape) -> list[SideStage]:
        """Four, or as many as there are blocks where these are fewer."""
        blocks, found = shape.runs * len(shape.blocks), list[SideStage]()
        count, side = min(len(WIDTHS), blocks), self.grid
        for number in range(count):
            beside = range(blocks * number // count, blocks * (number + 1) // count)
            entered = WIDTHS[number - 1] if number else shape.hidden_size
            found.append(SideStage(number, beside, WIDTHS[number], entered, side))
            side = (side + 1) // 2
        return found

    def _linears(self, shape: ModelShape) -> SideLinears:
        found = [SideLinear("side.stage0.embed", WIDTHS[0], shape.hidden_size, first=True)]
        for stage in self._stages(shape):
            width = stage.width
            found.append(SideLinear(f"{stage.name}.bridge", width, shape.hidden_size, first=True))
            for block in stage.blocks:
                found += [SideLinear(f"side.{block}.{part}", width, width) for part in ("query", "key", "value")]
                found.append(SideLinear(f"side.{block}.output", width, width, zero=True))
                found.append(SideLinear(f"side.{block}.ffn_up", WIDER * width, width))
                found.append(SideLinear(f"side.{block}.ffn_down", width, WIDER * width, zero=True))
        return SideLinears(found, Placement.DIGITAL)

    def _norms(self, shape: ModelShape) -> Iterator[tuple[str, int, int]]:
        """Path and width of every norm, and how many tokens pass it."""
        for stage in self._stages(shape):
            for part in ("embed", "end"):
                yield f"{stage.name}.{part}_norm", stage.width, stage.places
            for block in stage.blocks:
                for part in ("attention", "ffn"):
                    yield f"side.{block}.{part}_norm", stage.width, stage.places
                if shape.front_tokens:
                    yield f"side.{block}.meta_norm", stage.width, 1

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        stages, meta = self._stages(shape), int(shape.front_tokens > 0)
        tensors = [*self._linears(shape).tensors]
        for stage in stages[1:]:
            extents = (stage.width, stage.entered, 3, 3)
            tensors.append(TensorPlan(f"{stage.name}.embed", extents, group="matrices"))
            tensors.append(TensorPlan(f"{stage.name}.embed.bias", (stage.width,), group="vectors"))
        tensors += [tensor for path, width, _ in self._norms(shape) for tensor in norm_tensors(path, width)]
        held = sum(tensor.numbers for tensor in tensors)
        gains = sum(width * tokens for _, width, tokens in self._norms(shape))
        forward = backward = moved = kept = 0
        for stage in stages:
            work = stage.work(shape.hidden_size, meta)
            forward, backward = forward + work.forward, backward + work.backward
            moved, kept = moved + work.moved, kept + work.kept
        return Part(
            tuple(tensors),
            inference_work=DigitalWork(
                per_sequence=forward, bytes_per_sequence=NUMBER_BYTES * held + ACTIVATION_BYTES * moved
            ),
            backward_work=DigitalWork(
                per_sequence=backward + gains, bytes_per_sequence=3 * NUMBER_BYTES * held + 2 * ACTIVATION_BYTES * moved
            ),
            features="own",
            side=Side(
                levels=tuple(range(shape.runs * len(shape.blocks) + 1)),
                width=stages[-1].width,
                outputs_once=kept,
                cached=self.cache_features,
            ),
        )

    def build(self, site: "Site") -> "Built":
        from ..attaching import Built
        from ..hierarchy import Hierarchy, SideBlock, Stage
        from ..side_layers import SideLayers

        layers, stages = SideLayers(site, self._linears(site.shape)), self._stages(site.shape)
        norms = {path: layers.norm(path, width) for path, width, _ in self._norms(site.shape)}
        generator, state, built = site.generator(), layers.state, list[Stage]()
        for stage in stages:
            embed = layers.layers.get(f"{stage.name}.embed") or _convolution(site, stage, generator)
            own = dict(embed.named_parameters())
            state |= {f"{stage.name}.embed": own["weight"], f"{stage.name}.embed.bias": own["bias"]}
            blocks = []
            for block in stage.blocks:
                path = f"side.{block}."
                parts = {p.removeprefix(path): x for p, x in (layers.layers | norms).items() if p.startswith(path)}
                blocks.append(SideBlock(parts, HEADS[stage.number]))
            bridge, start = layers.layers[f"{stage.name}.bridge"], norms[f"{stage.name}.embed_norm"]
            built.append(Stage(embed, start, bridge, blocks, norms[f"{stage.name}.end_norm"]))
        model = site.model(site.encoder())
        model.side = Hierarchy(built, site.shape.front_tokens, [stage.side for stage in stages])
        return Built(model, state)


def _convolution(site: "Site", stage: SideStage, generator: Any) -> "nn.Module":
    """The convolution that makes the stream of a stage: uniform in +-1 / sqrt(inputs), without a bias at first."""
    import torch
    from torch import nn

    made = nn.Conv2d(stage.entered, stage.width, 3, stride=2, padding=1, dtype=site.dtype)
    with torch.no_grad():
        bound = (9 * stage.entered) ** -0.5
        made.weight.uniform_(-bound, bound, generator=generator)
        made.bias.zero_()  # type: ignore[union-attr]
    return made


# The rates are those of LST, between which and the authors' 5e-3 nobody has searched.
register(
    HierarchicalSideTuning(
        recipe=Recipe(learning_rates={"matrices": 3e-3, "vectors": 3e-3, "head": 3e-3}, head_margin=1.0, epochs=8)
    )
)
