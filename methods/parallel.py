"""Hidden states of all blocks, made narrow side by side and mixed as the last of them asks (`library.unipt`)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ParallelMixture(nn.Module):
    """mixture(states, attention_mask=...) -> (batch, tokens, hidden_size); the last of the states is the anchor.

    `downs`: a linear and a norm for each of the states; `project`: those of the mixture; `up`: back to hidden_size;
    `confidence`: one number for each of the states but the last.
    """

    def __init__(self, downs: Sequence[nn.Module], project: nn.Module, up: nn.Module, confidence: nn.Linear) -> None:
        super().__init__()
        self.downs, self.project, self.up, self.confidence = nn.ModuleList(downs), project, up, confidence

    def forward(self, states: tuple[Tensor, ...], attention_mask: Tensor | None) -> Tensor:
        narrow = [down(state) for down, state in zip(self.downs, states, strict=True)]
        anchor = narrow[-1]
        real = None if attention_mask is None else attention_mask.to(anchor.dtype)
        others = torch.stack(narrow[:-1], 1)  # (batch, states, tokens, narrow)
        weights = F.relu(anchor.unsqueeze(1) @ others.transpose(2, 3))
        if real is not None:
            weights = weights * real[:, None, None]
        found = F.normalize(weights, p=1, dim=-1) @ others + others
        means = _mean(others, None if real is None else real.unsqueeze(1))
        chances = self.confidence(_mean(anchor, real).unsqueeze(1) * means).softmax(1)  # (batch, states, 1)
        mixed = (chances.transpose(1, 2) @ found.flatten(2)).reshape(anchor.shape)
        return self.up(F.relu(anchor + self.project(mixed)))


def _mean(tokens: Tensor, real: Tensor | None) -> Tensor:
    """The mean over the real ones of tokens (..., tokens, width), `real` (..., tokens)."""
    if real is None:
        return tokens.mean(-2)
    return (tokens * real.unsqueeze(-1)).sum(-2) / real.sum(-1, keepdim=True).clamp(min=1.0)
