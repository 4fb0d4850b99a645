"""The Transformer blocks of an encoder: changing what enters them, and looking at what leaves them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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


class Levels:
    """Hidden states of every pass of an encoder at some levels: 0 is what enters the first block, n what leaves the
    block that runs as the n-th, and -1 what the encoder puts out.
    """

    def __init__(self, encoder: nn.Module, paths: Sequence[str], levels: Sequence[int]) -> None:
        """`paths` of the blocks. From now on the states are kept until they are `taken`."""
        self.levels = tuple(levels)
        self._passed = 0
        self._kept: dict[int, Tensor] = {}
        blocks = [encoder.get_submodule(path) for path in paths]
        encoder.register_forward_pre_hook(self._begin, with_kwargs=True)
        if 0 in self.levels:
            blocks[0].register_forward_pre_hook(self._enter, with_kwargs=True)
        for block in blocks if max(self.levels) > 0 else ():
            block.register_forward_hook(self._leave)

    def taken(self, last: Tensor) -> tuple[Tensor, ...]:
        """The states of the pass that has just put out `last`, in the order of the levels."""
        found = tuple(last if level == -1 else self._kept[level] for level in self.levels)
        self._kept = {}
        return found

    def _begin(self, _module: nn.Module, _args: tuple, _kwargs: dict[str, Any]) -> None:
        self._passed, self._kept = 0, {}

    def _enter(self, _module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        self._kept.setdefault(0, args[0] if args else kwargs["hidden_states"])

    def _leave(self, _module: nn.Module, _args: tuple, output: Any) -> None:
        self._passed += 1
        if self._passed in self.levels:
            self._kept[self._passed] = output if isinstance(output, Tensor) else output[0]


class Resumption:
    """Runs of an encoder that go on from what entered one of its blocks in an earlier run: the blocks below rest."""

    def __init__(self, encoder: nn.Module, paths: Sequence[str], level: int) -> None:
        """`paths` of the blocks; `level`: how many of them are below."""
        self._entered: Tensor | None = None
        self._given: Tensor | None = None
        change_block_inputs(encoder, paths[level : level + 1], self._enter)
        for path in paths[:level]:
            self._let_rest(encoder.get_submodule(path))

    def taken(self) -> tuple[Tensor, ...]:
        """What entered the block in the run that has just ended, (batch, tokens, hidden_size)."""
        assert self._entered is not None
        entered, self._entered = self._entered, None
        return (entered,)

    @contextmanager
    def going_on(self, states: tuple[Tensor, ...]) -> Iterator[None]:
        """While it lasts, a run goes on from these states, whatever enters the encoder in the same shape."""
        (self._given,) = states
        try:
            yield
        finally:
            self._given = None

    def _enter(self, _block: int, hidden: Tensor) -> Tensor:
        if self._given is not None:
            return self._given
        self._entered = hidden.detach()
        return hidden

    def _let_rest(self, block: nn.Module) -> None:
        """Let a block put out nothing new while states are given, in the form of what it put out last."""
        run, single = block.forward, [True]

        def forward(*args: Any, **kwargs: Any) -> Any:
            if self._given is not None:
                return self._given if single[0] else (self._given, None)
            output = run(*args, **kwargs)
            single[0] = isinstance(output, Tensor)
            return output

        block.forward = forward
