"""PASTA: a trained vector for every special token and block, added to what enters the block.

Yang, Huang, Zhou and Chen, "Parameter-Efficient Tuning with Special Token Adaptation", EACL 2023, arXiv:2210.04382.
With p_1 < ... < p_S the places of the special tokens of a text, in block l = 0..L-1:

    H_l[p_i] <- H_l[p_i] + e_l,i        H_{l+1} = Block_l(H_l)

The vectors belong to the order of occurrence, not to the kind of token: the first and the second [SEP] of a pair have
vectors of their own. They are added in front of the block, so they enter query, key, value and the residual; every
other token is left as it is, and the sequence keeps its length: no read of an array is added.

Special tokens are counted in each row by itself, so that rows may have different numbers of them; one beyond the last
vector is left alone. The dropout that the paper puts on the vectors is left out, as all dropout is here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import UsageError
from ...workloads.shapes import ModelShape
from ..costs import sum_gradient
from ..placement import Placement
from ..plan import Part, Size, TensorPlan
from ..recipes import Recipe
from ..spec import Method, register

if TYPE_CHECKING:
    from torch import nn

    from ..attaching import Built, Site
    from ..layers import AdaptedModel


@dataclass(frozen=True)
class Pasta(Method):
    """`special_tokens`: vectors in each block; 0: as many as the tokenizer puts around one text (2), or 1 for images.
    Pairs of texts need 3, with RoBERTa 4. The vectors start at `initial_spread` times a normal number (paper: 0.02)."""

    name = "pasta"
    title = "PASTA"
    family = "token-vectors"
    summary = "a vector for each special token and block, added in front of the block; no cell written, no read added"
    source = "Yang et al., Parameter-Efficient Tuning with Special Token Adaptation, EACL 2023, arXiv:2210.04382"
    searched = "recipe_search_first.json"
    groups = ("vectors",)
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"rate.vectors": 0.003},
        {"rate.vectors": 0.02},
        {"recipe.epochs": 4},
        {"recipe.epochs": 16},
        {"rate.head": 1e-3},
    )

    special_tokens: int = 0
    initial_spread: float = 0.0

    def __post_init__(self) -> None:
        """Raise `UsageError` for a negative option."""
        if self.special_tokens < 0:
            raise UsageError(f"special_tokens of {self.name} must not be negative; got {self.special_tokens}")
        if not 0 <= self.initial_spread < float("inf"):
            raise UsageError(f"initial_spread of {self.name} must be 0 or more; got {self.initial_spread}")

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        count = self.special_tokens or size.special_tokens_of(shape)
        if not count:
            raise _nothing()
        vectors = tuple(
            TensorPlan(f"{block.name}.vectors", (count, shape.hidden_size), group="vectors") for block in shape.blocks
        )
        return Part(vectors, before_blocks=True, backward_work=sum_gradient(sum(v.numbers for v in vectors)))

    def build(self, site: "Site") -> "Built":
        from ..attaching import Built

        model = site.model(site.encoder())
        return Built(model, self.add_vectors(model, site))

    def add_vectors(self, model: "AdaptedModel", site: "Site") -> "dict[str, nn.Parameter]":
        """Put the vectors into a model; returns them by name."""
        import torch

        from ..special_tokens import SpecialTokenVectors

        if site.backbone.kind == "text" and not site.backbone.special_ids:
            raise _nothing()
        generator = site.generator()
        paths = [block.name for block in site.shape.blocks]
        size = site.plan.tensors[f"{paths[0]}.vectors"].shape
        draws = [torch.randn(*size, generator=generator, dtype=site.dtype) for _ in paths]
        special = SpecialTokenVectors(paths, site.backbone.special_ids, [self.initial_spread * draw for draw in draws])
        model.add_module("special", special)
        special.install(model.encoder)
        return special.state()


def _nothing() -> UsageError:
    return UsageError(
        "this model has no special token around a text or in front of an image: pasta has nothing to add to"
    )


# Best of 12 configurations drawn at random, with the budget of the other methods
# (benchmarks/results/recipe_search_first.json). As for `full`, a small margin of the head's start matters most.
register(Pasta(recipe=Recipe(learning_rates={"vectors": 0.01, "head": 3e-4}, head_margin=0.5)))
