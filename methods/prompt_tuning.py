"""Prompt tuning: trained vectors in front of the embedded text (Lester, Al-Rfou and Constant, EMNLP 2021).

    H_0 = [p_1; ...; p_P; E(x)]        trained: p (P, hidden_size)

The prompts take part in every block, so every array is read P times more for each text: what is not written is paid
for in reads. Positions count from the first prompt. The features are the mean over the tokens of the text.
"""

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
from .cells import AdaptedModel, CellLinear, clone_encoder
from .costs import sum_gradient


class PromptedModel(AdaptedModel):
    """An `AdaptedModel` that puts its prompts (P, hidden_size) in front of every text; `places`: the longest input that
    the encoder takes with them, None for any length.
    """

    def __init__(self, encoder: nn.Module, hidden_size: int, classes: int, prompts: Tensor, places: int | None) -> None:
        super().__init__(encoder, hidden_size, classes)
        self.prompts = nn.Parameter(prompts)
        self.places = places

    def features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        words = _table(self.encoder)(input_ids)
        prompts = self.prompts.unsqueeze(0).expand(words.shape[0], -1, -1)
        limit = None if torch.compiler.is_exporting() else self.places
        if limit is not None and prompts.shape[1] + words.shape[1] > limit:
            raise UsageError(
                f"{words.shape[1]} tokens and {prompts.shape[1]} prompts are more than the {self.places} places that "
                "the model knows; give fewer --max-tokens"
            )
        beside = attention_mask.new_ones(prompts.shape[:2])
        types = {name: torch.cat([0 * beside, own], 1) for name, own in self.token_types(input_ids).items()}
        hidden = self.encoder(
            inputs_embeds=torch.cat([prompts, words], 1), attention_mask=torch.cat([beside, attention_mask], 1), **types
        ).last_hidden_state
        return self.pool(hidden[:, prompts.shape[1] :], attention_mask)


def _table(encoder: Any) -> nn.Embedding:
    """The word embeddings of a text encoder."""
    found: nn.Embedding = encoder.get_input_embeddings()
    return found


@dataclass(frozen=True)
class PromptTuning(Method):
    """`prompts`: how many. They start at the embeddings of words drawn at random, as the paper found best."""

    name = "prompt-tuning"
    summary = "vectors in front of the embedded text; no cell written, every array read more often"
    source = "Lester et al., The Power of Scale for Parameter-Efficient Prompt Tuning, EMNLP 2021, arXiv:2104.08691"
    placements = (Placement.DIGITAL,)
    backward_need = BackwardNeed.THROUGH
    kinds = ("text",)

    prompts: int = 8

    def __post_init__(self) -> None:
        """Raise `UsageError` for fewer than 0 prompts."""
        if self.prompts < 0:
            raise UsageError(f"prompts of {self.name} must not be negative; got {self.prompts}")

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
        if backbone.kind != "text":
            raise UsageError("prompt-tuning puts its prompts in front of words; for images take vpt")
        encoder = clone_encoder(backbone.module, backbone.linear_names(), CellLinear)
        table = _table(encoder).weight
        drawn = torch.randint(len(table), (self.prompts,), generator=torch_generator(rng))
        model = PromptedModel(encoder, backbone.hidden_size, classes, table.detach()[drawn], backbone.shape.max_tokens)
        return assemble(
            self,
            backbone,
            model,
            groups={"prompts": {"prompts": model.prompts}},
            placements={},
            backward_work=sum_gradient(model.prompts.numel()),
            extra_tokens=self.prompts,
        )

    def count(self, shape: ModelShape, *, rank: int = 16, pool_size: int = 6) -> ParameterCount:
        return ParameterCount({"prompts": self.prompts * shape.hidden_size})


# Prompts have the size of word embeddings, a few hundredths; the rate has not been searched.
register(PromptTuning(recipe=Recipe(learning_rates={"prompts": 1e-2, "head": 3e-3}, head_margin=1.0)))
