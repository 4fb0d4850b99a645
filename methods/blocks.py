"""The Transformer blocks of an encoder: changing what enters them."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

Change = Callable[[int, Tensor], Tensor]
"""change(block, hidden (batch, tokens, hidden_size)) -> what the block gets instead."""


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
