"""LoraHub: one coefficient for each module of a frozen pool, found by forward passes alone.

Huang, Liu, Lin, Pang, Du and Lin, "LoraHub: Efficient Cross-Task Generalization via Dynamic LoRA Composition", COLM
2024, arXiv:2307.13269, section 3. With modules A_k (r, in), B_k (out, r), scale s and coefficients c_k, which all
linears share:

    y = W x + s (sum_k c_k B_k) (sum_k c_k A_k) x + bias        |c_k| <= 1.5
    loss of all examples + 0.05 mean |c|                          40 looks, none with a gradient

A and B are fused apart, so the product has cross terms c_i c_j B_i A_j. A chip whose modules are frozen cannot hold the
two sums. They are read as those of `lorafusion` are: a token drives the stack of all A_k once, which gives every
A_k x; z = sum_k c_k A_k x is formed digitally; [c_1 z; ...; c_K z] drives the stack of all B_k once. Each look reads W
and these two stacks once for each token. No array is read transposed, no cell is written.

The authors' code asks NGOpt of the library Nevergrad for a search, which takes COBYLA at this budget: see the optimiser
`interpolation`. Theirs starts with all c_k at 0, with a language model that needs no new head. Here a head of class
means comes first, of the pool fused evenly, and then stays as it is: all c_k start at `initial` / K (`pool-plain`). At
0, the authors' start (`initial=0`), the head is that of the frozen model, and a gradient vanishes, for the sums are
multiplied with each other: `mezo` and `adamw` never leave it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import UsageError
from ...workloads.shapes import ModelShape
from ..recipes import Recipe
from ..spec import register
from ..training.optimisers.interpolation import Interpolation
from .lorafusion import LoRAFusion

if TYPE_CHECKING:
    from ...workloads.pools import Pool
    from ..lora_form import LoraForm, State


@dataclass(frozen=True)
class LoraHub(LoRAFusion):
    """`cross_terms=False` fuses the products B_k A_k instead; `initial` and `initial_spread` are as in `lorafusion`.
    There are no magnitudes. The optimiser's options, above all `radius` and `bound`,
    and `epochs`, how many looks there are, are the recipe's.
    """

    name = "lorahub"
    title = "LoraHub"
    summary = "one coefficient for each module of a frozen pool, by forward passes alone; no cell is written"
    source = "Huang et al., LoraHub, COLM 2024, arXiv:2307.13269"
    start = "pool-plain"
    groups = ("coefficients",)
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"rate.head": 0.0},
        {"rate.head": 0.0, "recipe.radius": 0.2},
        {"rate.head": 0.0, "recipe.epochs": 80},
        {"rate.head": 0.0, "recipe.l1": 0.0},
        {"rate.head": 0.0, "initial": 0.0},
    )
    forward_only: ClassVar[Mapping[str, Any]] = {"epsilon": 0.01}

    magnitude: bool = False

    def __post_init__(self) -> None:
        """Raise `UsageError` for magnitudes."""
        if self.magnitude:
            raise UsageError("lorahub has no magnitudes; take lorafusion, or lorafusion.recipe.optimiser=mezo")

    def columns(self, shape: ModelShape, adapted: set[str]) -> dict[str, int]:
        return dict.fromkeys(adapted, 0)

    def lora_form(self, state: "State", pool: "Pool | None", shape: ModelShape | None) -> "LoraForm":
        assert shape is not None
        everywhere = state["coefficients"].repeat(len(shape.blocks), axis=1)
        return super().lora_form({**state, "coefficients": everywhere}, pool, shape)


# Looks, bound, first step and l1 are the paper's, and have not been searched. The rate says only what moves; with a
# gradient (recipe.optimiser=adamw) it is that of LoRAFusion's coefficients.
register(
    LoraHub(
        recipe=Recipe(
            learning_rates={"coefficients": 0.02, "head": 0.0},
            epochs=40,
            batch_size=1024,
            head_margin=0.5,
            l1=0.05,
            optimiser=Interpolation(),
        )
    )
)
