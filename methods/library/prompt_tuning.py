"""Prompt tuning: trained vectors in front of the embedded text (Lester, Al-Rfou and Constant, EMNLP 2021).

    H_0 = [p_1; ...; p_P; E(x)]        trained: p (P, hidden_size)

The prompts take part in every block, so every array is read P times more for each text: what is not written is paid
for in reads. Positions count from the first prompt. The features are the mean over the tokens of the text.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import UsageError
from ...workloads.shapes import ModelShape
from ..costs import sum_gradient
from ..placement import Placement
from ..plan import Part, Size, TensorPlan
from ..recipes import Recipe
from ..spec import Method, register

if TYPE_CHECKING:
    from ..attaching import Built, Site


@dataclass(frozen=True)
class PromptTuning(Method):
    """`prompts`: how many. They start at the embeddings of words drawn at random, as the paper found best."""

    name = "prompt-tuning"
    title = "Prompt tuning"
    family = "prompts"
    summary = "vectors in front of the embedded text; no cell written, every array read more often"
    source = "Lester et al., The Power of Scale for Parameter-Efficient Prompt Tuning, EMNLP 2021, arXiv:2104.08691"
    kinds = ("text",)
    other_kind = "vpt"
    groups = ("prompts",)

    prompts: int = 8

    def __post_init__(self) -> None:
        """Raise `UsageError` for fewer than 0 prompts."""
        if self.prompts < 0:
            raise UsageError(f"prompts of {self.name} must not be negative; got {self.prompts}")

    @property
    def extra_tokens(self) -> int:
        return self.prompts

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        if shape.fixed_tokens and self.prompts:
            raise UsageError(f"this model reads ids of words alone: there is no place for the prompts of {self.name}")
        prompts = TensorPlan("prompts", (self.prompts, shape.word_size or shape.hidden_size), group="prompts")
        work = sum_gradient(prompts.numbers)
        return Part((prompts,), before_blocks=True, extra_tokens=self.prompts, backward_work=work)

    def build(self, site: "Site") -> "Built":
        import torch

        from ..attaching import Built
        from ..prompts import PromptedModel, word_table

        encoder = site.encoder()
        table = word_table(encoder).weight
        drawn = torch.randint(len(table), (self.prompts,), generator=site.generator())
        model = site.model_of(PromptedModel, encoder, table.detach()[drawn], site.shape.max_tokens)
        return Built(model, {"prompts": model.prompts})


# Prompts have the size of word embeddings, a few hundredths; the rate has not been searched.
register(PromptTuning(recipe=Recipe(learning_rates={"prompts": 1e-2, "head": 3e-3}, head_margin=1.0)))
