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

from ...errors import UsageError
from ...workloads.pools import Pool
from ...workloads.shapes import ModelShape
from ..assemble import assemble
from ..base import (
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
from ..costs import sum_gradient
from ..layers import AdaptedModel, CellLinear, clone_encoder


class PromptedModel(AdaptedModel):
    """An `AdaptedModel` that puts its prompts (P, hidden_size) in front of every text."""

    def __init__(self, encoder: nn.Module, hidden_size: int, classes: int, prompts: Tensor) -> None:
        super().__init__(encoder, hidden_size, classes)
        self.prompts = nn.Parameter(prompts)

        self.places = _places(encoder)

    def features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        words = _table(self.encoder)(input_ids)
        prompts = self.prompts.unsqueeze(0).expand(words.shape[0], -1, -1)
        if not torch.compiler.is_exporting() and prompts.shape[1] + words.shape[1] > self.places:
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


def _places(encoder: nn.Module) -> float:
    """Longest sequence the table of positions allows; no limit where there is none."""
    for name, module in encoder.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa counts from behind the padding index.
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return float("inf")


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
        model = PromptedModel(encoder, backbone.hidden_size, classes, table.detach()[drawn])
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
