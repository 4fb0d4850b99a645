"""A ladder of small Transformer blocks beside an encoder (`library.lst`)."""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Rung(nn.Module):
    """What stands behind one block of the backbone: `parts` are the linears "down", "query", "key", "value", "output",
    "ffn_up" and "ffn_down", and the norms "attention_norm" and "ffn_norm".
    """

    def __init__(self, parts: Mapping[str, nn.Module], heads: int) -> None:
        super().__init__()
        self.parts, self.heads = nn.ModuleDict(parts), heads

    def forward(self, stream: Tensor, state: Tensor, gate: Tensor, padding: Tensor | None) -> Tensor:
        """The stream (batch, tokens, narrow) mixed with the block's output (batch, tokens, hidden_size), through a
        block. `padding` (batch, 1, 1, tokens) is true on tokens that nobody attends to.
        """
        mixed = gate * stream + (1 - gate) * self.parts["down"](state)
        mixed = mixed + self._attended(self.parts["attention_norm"](mixed), padding)
        inner = F.gelu(self.parts["ffn_up"](self.parts["ffn_norm"](mixed)))
        return mixed + self.parts["ffn_down"](inner)

    def _attended(self, x: Tensor, padding: Tensor | None) -> Tensor:
        query, key, value = (
            self.parts[part](x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[-1])
        if padding is not None:
            scores = scores.masked_fill(padding, -math.inf)
        return self.parts["output"]((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))


class Ladder(nn.Module):
    """ladder(states, attention_mask=...) -> (batch, tokens, hidden_size), of what enters the first block and what the
    blocks with a rung put out.
    """

    def __init__(
        self,
        first: nn.Module,
        rungs: Sequence[Rung],
        gates: nn.Parameter,
        temperature: float,
        norm: nn.Module,
        up: nn.Module,
    ) -> None:
        super().__init__()
        self.first, self.rungs, self.norm, self.up = first, nn.ModuleList(rungs), norm, up
        self.gates, self.temperature = gates, temperature

    def forward(self, states: tuple[Tensor, ...], attention_mask: Tensor | None) -> Tensor:
        padding = None if attention_mask is None else (attention_mask == 0)[:, None, None]
        stream = self.first(states[0])
        gates = torch.sigmoid(self.gates / self.temperature)
        for rung, gate, state in zip(self.rungs, gates, states[1:], strict=True):
            stream = rung(stream, state, gate, padding)
        return self.up(self.norm(stream))
