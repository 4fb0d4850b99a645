"""What training works on: a backbone made ready for one task by one method."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..display import Shown
from ..errors import UsageError, unknown_name
from ..workloads.shapes import ModelShape
from .costs import DigitalMacs, DigitalWork
from .layers import AdaptedModel, CellLinear, Reader
from .placement import BackwardNeed, Placement
from .plan import Plan
from .ranks import Kept, kept
from .recipes import Recipe


class BackboneLike(Protocol):
    """What a method needs to know of a backbone (`workloads.models.Backbone` has it)."""

    @property
    def module(self) -> nn.Module: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def shape(self) -> ModelShape:
        """What the blocks are made of, and the role of every linear layer."""
        ...

    @property
    def pooling(self) -> str:
        """What a head sees of the hidden states (`workloads.families.Pooling`)."""
        ...

    def linear_names(self) -> list[str]: ...
    @property
    def kind(self) -> Literal["text", "image"]: ...
    @property
    def special_ids(self) -> tuple[int, ...]:
        """Ids of the special tokens that the tokenizer puts around texts; none for images."""
        ...

    @property
    def special_tokens(self) -> int:
        """Special tokens in one example: those around a text, or an image's [CLS], which comes first."""
        ...

    @property
    def tagged(self) -> bool:
        """Whether every word is classified, not the text as a whole."""
        ...

    @property
    def separator(self) -> int | None:
        """The token that ends the first text of a pair; None where the encoder is not told the texts apart."""
        ...


@dataclass(repr=False)
class Adaptation(Shown):
    """A backbone made ready for one task by one method.

    `module(input_ids, attention_mask)` gives logits (batch, classes); for images, pixels stand first. `state` holds
    what is trained, by name, the head (`head.weight`, `head.bias`) included; `cell_tensors` every matrix that sits in
    cells, by its unique cell name; `placements` has one entry for each name in either. `holds` gives what cells are to
    hold that follow the state, and are not part of it: `held` is what any are to hold. `training_reader`: what reads
    matrices in the training of a method that is trained away from the chip (`attaching.Built`). `wrote` is to be called
    when they have been written under NVM_TASK, where there is something to do then.
    """

    plan: Plan
    module: AdaptedModel
    state: dict[str, nn.Parameter]
    groups: dict[str, list[str]]
    cell_tensors: dict[str, Tensor]
    placements: dict[str, Placement]
    recipe: Recipe
    holds: Mapping[str, Callable[[], Tensor]] = field(default_factory=dict)
    training_reader: Callable[[np.random.Generator], Reader] | None = None
    wrote: Callable[[], object] | None = None

    def __post_init__(self) -> None:
        for name, parameter in self.module.named_parameters():
            parameter.requires_grad_(False)
            if not parameter.is_contiguous():
                raise ValueError(f"parameter {name} is not contiguous")
        for names in self.groups.values():
            for name in names:
                self.state[name].requires_grad_(True)
        missing = (self.state.keys() | self.cell_tensors.keys()) ^ self.placements.keys()
        if missing:
            raise ValueError(f"placements and tensors disagree about {sorted(missing)}")

    def _facts(self) -> dict[str, object]:
        trained = {group: sum(self.state[name].numel() for name in names) for group, names in self.groups.items()}
        return {"method": self.method, "trained": trained, "cells": len(self.cell_tensors),
                "gradient": self.backward_need.value}  # fmt: skip

    @property
    def method(self) -> str:
        """The method's name."""
        return self.plan.method

    @property
    def backward_need(self) -> BackwardNeed:
        return self.plan.backward_need

    @property
    def inference_work(self) -> DigitalWork:
        return self.plan.inference_work

    @property
    def training_work(self) -> DigitalWork:
        """Digital work of a forward pass in training."""
        return self.plan.training_work

    @property
    def backward_work(self) -> DigitalWork:
        return self.plan.backward_work

    @property
    def extra_tokens(self) -> int:
        """Tokens that the method adds to every sequence (prompts); the work has them in it."""
        return self.plan.extra_tokens

    def add_group(self, group: str, parameters: Mapping[str, nn.Parameter]) -> None:
        """Train more tensors, held digitally, that have been put into the module: to trace it, for they are not planned
        and not counted.
        """
        self.state |= parameters
        self.groups[group] = list(parameters)
        self.placements |= dict.fromkeys(parameters, Placement.DIGITAL)
        for parameter in parameters.values():
            parameter.requires_grad_(True)

    @torch.no_grad()
    def held(self, name: str) -> Tensor:
        """What the cells of a matrix are to hold for the present state, (out, in)."""
        return (self.holds[name]() if name in self.holds else self.cell_tensors[name]).detach()

    @contextmanager
    def reading_in_training(self, rng: np.random.Generator) -> Iterator[None]:
        """While it lasts, matrices are read as the method trains with them, where that is away from the chip."""
        if self.training_reader is None:
            yield
            return
        with self.read_by(self.training_reader(rng.spawn(1)[0])):  # draws nothing from rng: same order of examples
            yield

    @contextmanager
    def read_by(self, reader: Reader) -> Iterator[None]:
        """While it lasts, matrices are read through `reader`."""
        before = {module: module.reader for module in cell_linears(self.module)}
        self.use(reader)
        try:
            yield
        finally:
            for module, own in before.items():
                module.reader = own

    def use(self, reader: Reader) -> None:
        """Read every matrix that sits in cells through `reader` from now on."""
        for module in self.module.modules():
            if isinstance(module, CellLinear):
                module.reader = reader

    @contextmanager
    def dropping(self) -> Iterator[None]:
        """While it lasts, what the method has added to the encoder drops a share of its numbers, where it does so."""
        added = [child for name, child in self.module.named_children() if name not in ("encoder", "head")]
        for child in added:
            child.train()
        try:
            yield
        finally:
            for child in added:
                child.eval()

    def parameter_groups(self, recipe: Recipe | None = None) -> list[dict[str, Any]]:
        """Optimiser groups: `params`, `lr` (the recipe's peak rate for the group) and `name`."""
        rates = (recipe or self.recipe).learning_rates
        if unknown := rates.keys() - self.groups.keys():
            raise UsageError(unknown_name(f"parameter group of {self.method}", min(unknown), self.groups))
        if missing := {group for group, names in self.groups.items() if names} - rates.keys():
            raise UsageError(f"the recipe for {self.method} gives no learning rate for {min(missing)!r}")
        return [
            {"name": group, "params": [self.state[name] for name in names], "lr": rates[group]}
            for group, names in self.groups.items()
            if names
        ]

    def regulariser(self, recipe: Recipe | None = None, state: Mapping[str, Tensor] | None = None) -> Tensor:
        """What the method's regularisers add to the loss (a scalar). `state`: by default the adaptation's own."""
        total, state = torch.zeros(()), state or self.state
        for regulariser in self.plan.regularisers:
            if weight := regulariser.weight(recipe or self.recipe):
                total = total + weight * regulariser.penalty({n: state[n] for n in self.groups[regulariser.group]})
        return total

    def digital_macs(self, tokens: int, attention_pairs: int, sequences: int = 1, training: bool = True) -> DigitalMacs:
        """Multiply-accumulates done by the digital unit in one pass, (forward, backward).

        Args:
            tokens: tokens in the batch, padding not counted.
            attention_pairs: sum over the sequences of their squared length.
            sequences: sequences in the batch (the head's work).
            training: False for inference: no backward pass; what has been written to cells is read there, and what
                does not change (row norms) is not computed again.

        Counted are attention products, head, fusion coefficients, magnitudes, matrices held digitally and the
        gradients of the trained state; softmax, GELU, LayerNorm and additions are not.
        """
        size = (tokens, attention_pairs, sequences)
        if not training:
            return DigitalMacs(self.inference_work.macs(*size), 0)
        return DigitalMacs(self.training_work.macs(*size), self.backward_work.macs(*size))

    @property
    def trained_names(self) -> list[str]:
        """Names in `state` that the optimiser changes, the head included."""
        return [name for names in self.groups.values() for name in names]

    @property
    def moving_names(self) -> list[str]:
        """Those of `trained_names` whose rate in the recipe is above 0."""
        rates = self.recipe.learning_rates
        return [name for group, names in self.groups.items() if rates.get(group, 1.0) > 0 for name in names]

    @property
    def moving_numbers(self) -> int:
        """How many numbers that is."""
        return sum(self.state[name].numel() for name in self.moving_names)

    @property
    def trained_parameters(self) -> int:
        """Trained numbers, without the head."""
        return sum(self.state[name].numel() for name in self.moving_names if not name.startswith("head."))

    @property
    def head_parameters(self) -> int:
        return sum(parameter.numel() for name, parameter in self.state.items() if name.startswith("head."))

    @property
    def state_bytes(self) -> int:
        """Float32 bytes of the state and of what training by the recipe keeps of it (AdamW: two moments)."""
        kept = self.recipe.kept(self.moving_numbers)
        return 4 * (sum(parameter.numel() for parameter in self.state.values()) + kept)

    @property
    def optimiser_macs(self) -> int:
        """Multiplications of one step of the recipe's optimiser and hooks."""
        return self.recipe.macs(self.moving_numbers)

    def kept_ranks(self, gated: bool) -> dict[str, Kept]:
        """The ranks that training has kept, for each matrix of a low-rank pair (`ranks.kept`)."""
        return kept(self.plan.low_rank, self.state, gated)

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of the state by name."""
        return {name: parameter.detach().clone() for name, parameter in self.state.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Set the state. Raises `UsageError` when names or shapes differ from this adaptation's."""
        self.require_shapes({name: tuple(value.shape) for name, value in state.items()})
        with torch.no_grad():
            for name, parameter in self.state.items():
                parameter.copy_(state[name])

    def require_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Raise `UsageError` unless these are the names and shapes of the state."""
        if different := sorted(shapes.keys() ^ self.state.keys()):
            raise UsageError(f"the state does not belong to this {self.method} adaptation: {different[0]!r} differs")
        for name, parameter in self.state.items():
            if shapes[name] != (wanted := tuple(parameter.shape)):
                raise UsageError(
                    f"state {name!r} has shape {shapes[name]}, this {self.method} adaptation needs {wanted}"
                )


def torch_generator(rng: np.random.Generator) -> torch.Generator:
    """A torch generator seeded from `rng`."""
    return torch.Generator().manual_seed(int(rng.integers(2**63 - 1)))


def cell_linears(module: nn.Module) -> Iterator[CellLinear]:
    """Every `CellLinear` of a module, in order."""
    return (child for child in module.modules() if isinstance(child, CellLinear))
