"""Slices of trained tensors that take turns: a step uses and changes one of them, the others stand still."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

if TYPE_CHECKING:
    from .base import Adaptation


class Turns:
    """Whose turn it is, of so many slices: a number while a step is under way, None in between. Layers look here."""

    def __init__(self, slices: int) -> None:
        self.slices = slices
        self.current: int | None = None

    def draw(self, rng: np.random.Generator) -> int:
        """The turn of a step: all slices alike."""
        return int(rng.integers(self.slices))

    @contextmanager
    def taking(self, turn: int) -> Iterator[None]:
        """While it lasts, it is this slice's turn."""
        self.current = turn
        try:
            yield
        finally:
            self.current = None


class Moved:
    """What an optimiser moves of parameter groups: a parameter as it is, or each slice of one whose slices take turns.

    A slice is a parameter of its own to the optimiser, with its own moments and count of steps; one without a gradient
    neither moves nor decays. So momentum and decay do not reach those whose turn it is not.
    """

    def __init__(self, adaptation: "Adaptation", groups: Sequence[dict[str, Any]]) -> None:
        """`groups` as `Adaptation.parameter_groups` gives them."""
        names = {id(parameter): name for name, parameter in adaptation.state.items()}
        axes = {name: tensor.slice_axis for name, tensor in adaptation.plan.tensors.items()}
        self._sliced: list[tuple[nn.Parameter, int, list[Tensor]]] = []
        self.groups = []
        for group in groups:
            moved: list[Tensor] = []
            for parameter in group["params"]:
                axis = axes[names[id(parameter)]]
                if axis is None:
                    moved.append(parameter)
                    continue
                slices = [part.detach().requires_grad_() for part in parameter.detach().unbind(axis)]
                self._sliced.append((parameter, axis, slices))
                moved += slices
            self.groups.append({**group, "params": moved})

    def hand_over(self, turn: int) -> None:
        """Give the slices whose turn it is the gradients of their parameters, and the others none."""
        for parameter, axis, slices in self._sliced:
            for number, part in enumerate(slices):
                gradient = parameter.grad if number == turn else None
                part.grad = None if gradient is None else gradient.select(axis, number)

    def reset(self) -> None:
        """Let go of the gradients of the parameters that the optimiser does not know."""
        for parameter, _, _ in self._sliced:
            parameter.grad = None
