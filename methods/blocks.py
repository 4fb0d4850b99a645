"""The Transformer blocks of an encoder by module path: what enters them, and changing it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor, nn

QUERIES = ("query", "q", "q_proj", "q_lin")
KEYS = ("key", "k", "k_proj", "k_lin")
VALUES = ("value", "v", "v_proj", "v_lin")
"""Last path component of the attention's projections in BERT, RoBERTa, ViT, T5, Llama and DistilBERT."""

Change = Callable[[int, Tensor], Tensor]
"""change(block, hidden (batch, tokens, hidden_size)) -> what the block gets instead."""


def block_paths(linear_names: Iterable[str]) -> list[str]:
    """Paths of the blocks that hold the linears, in order: each path up to its first number ("encoder.layer.3")."""
    found: dict[str, None] = {}
    for name in linear_names:
        parts = name.split(".")
        numbers = [place for place, part in enumerate(parts) if part.isdigit()]
        if numbers:
            found[".".join(parts[: numbers[0] + 1])] = None
    return list(found)


def change_block_inputs(encoder: nn.Module, paths: Sequence[str], change: Change) -> None:
    """Let `change` rewrite the hidden states in front of every block in `paths` from now on."""

    def hook_for(block: int) -> Callable[..., Any]:
        def hook(_module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
            if args:
                return (change(block, args[0]), *args[1:]), kwargs
            return args, kwargs | {"hidden_states": change(block, kwargs["hidden_states"])}

        return hook

    for block, path in enumerate(paths):
        encoder.get_submodule(path).register_forward_pre_hook(hook_for(block), with_kwargs=True)
