"""PASTA: a trained vector for every special token and block, added to what enters the block.

Yang, Huang, Zhou and Chen, "Parameter-Efficient Tuning with Special Token Adaptation", EACL 2023, arXiv:2210.04382.
With p_1 < ... < p_S the places of the special tokens of a text, in block l = 0..L-1:

    H_l[p_i] <- H_l[p_i] + e_l,i        H_{l+1} = Block_l(H_l)

The vectors belong to the order of occurrence, not to the kind of token: the first and the second [SEP] of a pair have
vectors of their own. They are added in front of the block, so they enter query, key, value and the residual; every
other token is left as it is, and the sequence keeps its length: no read of an array is added.

Special tokens are counted in each row by itself, so that rows may have different numbers of them; one beyond the last
vector is left alone. The dropout that the paper puts on the vectors is left out, as all dropout is here.

Measured (exact weights, MiniLM, 100 shots, 32 tokens, three seeds; benchmarks/results/pasta.json, rates from a search
of 48 adaptations for each method; `python benchmarks/accuracy.py --task movie,tweets,election,r8 --shots 100 --seeds
0,1,2 --max-tokens 32 --methods "full;pasta" --out F`): 81.3 % in the mean of the four tasks, with 4,608 numbers (0.02 %
of the model's); full fine-tuning of 10.6 million reaches 84.1 %. By task, PASTA and full: `movie` 70.2 and 73.2,
`tweets` 87.2 and 89.8, `election` 83.9 and 88.5, `r8` 83.8 and 85.0.

Twice the steps of half the size do better, at the same number of passes. Of eight recipes, on 200 training examples
outside the draw of `tweets`, `election` and `amazon`, two seeds each (benchmarks/results/held_out.json), the shipped
one reaches 82.0 %, `--set pasta.recipe.batch_size=8 --set pasta.recipe.learning_rates.vectors=0.02` 84.5 %, with a
start of the head from mild discriminant analysis besides (`pasta.recipe.head_shrinkage=0.7`) 85.2 %. On the four tasks
these two reach 82.2 and 81.8 %, which is 1.9 ± 0.5 and 2.3 ± 0.7 points below full fine-tuning, where the shipped
recipe is 2.9 ± 0.7 below (standard errors over the 12 pairs): nearer, but not within a point, although full fine-tuning
had no second search.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..workloads.pools import Pool
from ..workloads.shapes import ModelShape
from .assemble import assemble
from .base import (
    Adaptation,
    BackboneLike,
    BackwardNeed,
    Method,
    ParameterCount,
    Placement,
    Recipe,
    register,
    torch_generator,
)
from .blocks import change_block_inputs
from .cells import AdaptedModel, CellLinear, clone_encoder
from .costs import sum_gradient

TEXT_SPECIAL_TOKENS = 2
"""Special tokens around one text in BERT ([CLS] text [SEP]) and RoBERTa (<s> text </s>)."""


class SpecialTokenVectors(nn.Module):
    """The vectors (special tokens, hidden_size) of every block, and where the special tokens of a batch stand.

    The places are one-hot rows, and the vectors are put there by a product with them: the gradient is a product too.
    """

    ids: Tensor

    def __init__(self, paths: Sequence[str], special_ids: Sequence[int], vectors: Sequence[Tensor]) -> None:
        """`paths` of the blocks; `special_ids`: token ids that are special, none where the first tokens are."""
        super().__init__()
        self.paths = list(paths)
        self.vectors = nn.ParameterList(vectors)
        self.register_buffer("ids", torch.tensor(list(special_ids), dtype=torch.int64))
        self.places: Tensor | None = None

    def install(self, encoder: nn.Module) -> None:
        """Add the vectors in every run of the encoder from now on."""
        if len(self.ids):
            encoder.register_forward_pre_hook(self._look, with_kwargs=True)
        change_block_inputs(encoder, self.paths, self._add)

    def state(self) -> dict[str, nn.Parameter]:
        """The vectors of each block by name."""
        return {f"{path}.vectors": vectors for path, vectors in zip(self.paths, self.vectors, strict=True)}

    def _look(self, _module: nn.Module, _args: tuple, kwargs: dict[str, Any]) -> None:
        """Find the special tokens of a batch: places (batch, tokens, special tokens), 1 where row and order meet."""
        special = (kwargs["input_ids"].unsqueeze(-1) == self.ids).any(-1) & kwargs["attention_mask"].bool()
        order = torch.where(special, special.cumsum(1), 0)
        self.places = order.unsqueeze(-1) == torch.arange(1, len(self.vectors[0]) + 1)

    def _add(self, block: int, hidden: Tensor) -> Tensor:
        vectors = self.vectors[block]
        if len(self.ids):
            assert self.places is not None
            places = self.places
        else:
            places = torch.arange(hidden.shape[1]).unsqueeze(1) == torch.arange(len(vectors))
        return hidden + places.to(hidden.dtype) @ vectors


@dataclass(frozen=True)
class Pasta(Method):
    """`special_tokens`: vectors in each block; 0: as many as the tokenizer puts around one text (2), or 1 for images.
    Pairs of texts need 3, with RoBERTa 4. The vectors start at `initial_spread` times a normal number (paper: 0.02)."""

    name = "pasta"
    summary = "a vector for each special token and block, added in front of the block; no cell written, no read added"
    source = "Yang et al., Parameter-Efficient Tuning with Special Token Adaptation, EACL 2023, arXiv:2210.04382"
    placements = (Placement.DIGITAL,)
    backward_need = BackwardNeed.THROUGH

    special_tokens: int = 0
    initial_spread: float = 0.0

    def __post_init__(self) -> None:
        """Raise `UsageError` for a negative option."""
        if self.special_tokens < 0:
            raise UsageError(f"special_tokens of {self.name} must not be negative; got {self.special_tokens}")
        if not 0 <= self.initial_spread < float("inf"):
            raise UsageError(f"initial_spread of {self.name} must be 0 or more; got {self.initial_spread}")

    def attach(
        self,
        backbone: BackboneLike,
        classes: int,
        rng: np.random.Generator,
        *,
        placement: Placement | None = None,
        pool: Pool | None = None,
    ) -> Adaptation:
        self.choose_placement(placement)
        encoder = clone_encoder(backbone.module, backbone.linear_names(), CellLinear)
        model = AdaptedModel(encoder, backbone.hidden_size, classes)
        vectors = self.add_vectors(model, backbone, rng)
        work = sum_gradient(sum(vector.numel() for vector in vectors.values()))
        return assemble(self, backbone, model, groups={"vectors": vectors}, placements={}, backward_work=work)

    def add_vectors(
        self, model: AdaptedModel, backbone: BackboneLike, rng: np.random.Generator
    ) -> dict[str, nn.Parameter]:
        """Put the vectors into a model made from `backbone`; returns them by name."""
        count = self.special_tokens or backbone.special_tokens
        if not count or (backbone.kind == "text" and not backbone.special_ids):
            raise UsageError(
                "this model has no special token around a text or in front of an image: pasta has nothing to add to"
            )
        generator, dtype = torch_generator(rng), next(model.encoder.parameters()).dtype
        paths = [block.name for block in backbone.shape.blocks]
        draws = [torch.randn(count, backbone.hidden_size, generator=generator, dtype=dtype) for _ in paths]
        special = SpecialTokenVectors(paths, backbone.special_ids, [self.initial_spread * draw for draw in draws])
        model.add_module("special", special)
        special.install(model.encoder)
        return special.state()

    def count(self, shape: ModelShape, *, rank: int = 16, pool_size: int = 6) -> ParameterCount:
        own = 1 if shape.patch_weights else TEXT_SPECIAL_TOKENS
        return ParameterCount({"vectors": (self.special_tokens or own) * len(shape.blocks) * shape.hidden_size})


# Best of 12 configurations drawn at random, with the budget of the other methods
# (benchmarks/results/recipe_search_first.json). As for `full`, a small margin of the head's start matters most.
register(Pasta(recipe=Recipe(learning_rates={"vectors": 0.01, "head": 3e-4}, head_margin=0.5)))
