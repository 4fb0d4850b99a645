"""What an adaptation method is: the tensors it trains, where each tensor lives, and what its digital part costs.

A method is one file in `library/` that ends with `register(...)`. `attach` turns a frozen backbone into an
`Adaptation`: a torch module, the dictionary of what is trained, and a `Placement` for every tensor.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ..display import Shown
from ..errors import UsageError, unknown_name
from .costs import DigitalMacs, DigitalWork
from .layers import AdaptedModel, CellLinear, Reader
from .placement import BackwardNeed, Placement

if TYPE_CHECKING:
    from ..workloads.pools import Pool
    from ..workloads.shapes import LinearShape, ModelShape


class BackboneLike(Protocol):
    """What a method needs to know of a backbone (`workloads.models.Backbone` has it)."""

    @property
    def module(self) -> nn.Module: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def blocks(self) -> int: ...
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


@dataclass(frozen=True)
class Recipe:
    """How a method is trained. The default of each method stands in its file, with how it was found.

    `learning_rates` maps each parameter group of the method ("head", "coefficients", ...) to AdamW's peak rate, which
    decays linearly to zero. `epochs` passes are made over the training examples, more where fewer than `min_steps`
    optimiser steps would result. `l1` weighs the mean absolute fusion coefficient in the loss. `head_margin` is the
    mean logit margin on the training examples that the class-mean head starts with; `head_shrinkage` below 1 starts it
    from discriminant analysis (`layers.set_class_mean_head`). `new_head_again`: whether adapting
    once more starts from a new class-mean head, or goes on with the head it has: a method that has learnt its examples
    by heart sees them wide apart, and their class means mislead.

    A recipe of this class trains by AdamW; other optimisers have subclasses (`optimisers.OPTIMISERS`).
    """

    optimiser: ClassVar[str] = "adamw"

    learning_rates: Mapping[str, float]
    epochs: int = 8
    min_steps: int = 0
    batch_size: int = 16
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    l1: float = 0.0
    head_margin: float = 2.0
    head_shrinkage: float = 1.0
    new_head_again: bool = True

    def __post_init__(self) -> None:
        """Raise `UsageError` for values no training can have."""
        if self.batch_size < 1:
            raise UsageError(f"batch_size of a recipe must be at least 1; got {self.batch_size}")
        for name in ("epochs", "min_steps", "weight_decay", "l1", "head_margin"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} of a recipe must not be negative; got {getattr(self, name)}")
        if not 0 < self.head_shrinkage <= 1:
            raise UsageError(f"head_shrinkage of a recipe must be above 0, and 1 at most; got {self.head_shrinkage}")
        if self.clip_norm <= 0:
            raise UsageError(f"clip_norm of a recipe must be above 0; got {self.clip_norm}")
        for group, rate in self.learning_rates.items():
            if not 0 <= rate < float("inf"):
                raise UsageError(f"the learning rate of {group} must be 0 or more; got {rate}")

    def make_optimiser(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """torch's optimiser of parameter groups (`Adaptation.parameter_groups`)."""
        return torch.optim.AdamW(groups, weight_decay=self.weight_decay)

    @property
    def reach(self) -> float:
        """How far from where it stands a trained number is put while a step looks around."""
        return 0.0

    @property
    def kept_numbers(self) -> int:
        """Numbers the optimiser keeps for each trained one: AdamW's two moments."""
        return 2

    @property
    def step_macs(self) -> int:
        """Multiplications of one step for each trained number. AdamW: moments 2 + 3, correction 2, update 1."""
        return 8


@dataclass(frozen=True)
class ParameterCount:
    """Numbers a method trains on a model, without the classifier head, and the weights it keeps in cells.

    `trained` maps a kind of state ("coefficients", "magnitudes", ...) to how many numbers of it are trained;
    `cells_frozen` are weights beside the backbone that are programmed once; `cells_trained` are weights in cells that
    are rewritten under NVM_TASK or NVM_STEP.
    """

    trained: Mapping[str, int]
    cells_frozen: int = 0
    cells_trained: int = 0

    @property
    def trained_parameters(self) -> int:
        return sum(self.trained.values())


@dataclass(repr=False)
class Adaptation(Shown):
    """A backbone made ready for one task by one method.

    `module(input_ids, attention_mask)` gives logits (batch, classes); for images, pixels stand first. `state` holds
    what is trained, by name, the head (`head.weight`, `head.bias`) included; `cell_tensors` every matrix that sits in
    cells, by its unique cell name; `placements` has one entry for each name in either.
    """

    method: str
    module: AdaptedModel
    state: dict[str, nn.Parameter]
    groups: dict[str, list[str]]
    cell_tensors: dict[str, Tensor]
    placements: dict[str, Placement]
    backward_need: BackwardNeed
    recipe: Recipe
    inference_work: DigitalWork
    training_work: DigitalWork
    backward_work: DigitalWork
    l1_names: tuple[str, ...] = ()
    extra_tokens: int = 0
    """Tokens that the method adds to every sequence (prompts); the work above has them in it."""
    keep_head: bool = False
    """Whether training goes on from the head as it is, not from class means."""

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

    def add_group(self, group: str, parameters: Mapping[str, nn.Parameter], backward_work: DigitalWork) -> None:
        """Train more tensors, held digitally, that have been put into the module; in front of the head's group."""
        head = {name: self.state.pop(name) for name in list(self.state) if name.startswith("head.")}
        self.state |= {**parameters, **head}
        self.groups[group] = list(parameters)
        self.groups["head"] = self.groups.pop("head")
        self.placements |= dict.fromkeys(parameters, Placement.DIGITAL)
        self.backward_work += backward_work
        for parameter in parameters.values():
            parameter.requires_grad_(True)

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
        """What the method adds to the loss: `l1` times the mean absolute fusion coefficient (a scalar).

        `state`: by default the adaptation's own.
        """
        weight, state = (recipe or self.recipe).l1, state or self.state
        if not self.l1_names or weight == 0.0:
            return torch.zeros(())
        return weight * torch.cat([state[name].flatten() for name in self.l1_names]).abs().mean()

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
        """Float32 bytes of the state and of what the recipe's optimiser keeps of it (AdamW: two moments)."""
        kept = self.recipe.kept_numbers * self.moving_numbers
        return 4 * (sum(parameter.numel() for parameter in self.state.values()) + kept)

    @property
    def optimiser_macs(self) -> int:
        """Multiplications of one step of the recipe's optimiser."""
        return self.recipe.step_macs * self.moving_numbers

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of the state by name."""
        return {name: parameter.detach().clone() for name, parameter in self.state.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Set the state. Raises `UsageError` when names or shapes differ from this adaptation's."""
        if different := sorted(state.keys() ^ self.state.keys()):
            raise UsageError(f"the state does not belong to this {self.method} adaptation: {different[0]!r} differs")
        for name, parameter in self.state.items():
            if state[name].shape != parameter.shape:
                given, wanted = tuple(state[name].shape), tuple(parameter.shape)
                raise UsageError(f"state {name!r} has shape {given}, this {self.method} adaptation needs {wanted}")
        with torch.no_grad():
            for name, parameter in self.state.items():
                parameter.copy_(state[name])


@dataclass(frozen=True)
class Method(ABC):
    """One way to adapt a frozen backbone. Options of a method are its dataclass fields.

    `warm_start` is a file with the state to start from, trained on other tasks ("" for none): see `warm_start.load`.

    `start` names the method that trains nothing and answers as this one does before its first step (prompts, which
    start at random, aside); "" for one that trains nothing. `untrained` names the method that this one is the start
    of, and whose options it shares.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    placements: ClassVar[tuple[Placement, ...]]
    backward_need: ClassVar[BackwardNeed]
    needs_pool: ClassVar[bool] = False
    start: ClassVar[str] = "frozen"
    untrained: ClassVar[str] = ""
    kinds: ClassVar[tuple[Literal["text", "image"], ...]] = ("text", "image")

    recipe: Recipe = field(kw_only=True)
    warm_start: str = field(default="", kw_only=True)

    @abstractmethod
    def attach(
        self,
        backbone: BackboneLike,
        classes: int,
        rng: np.random.Generator,
        *,
        placement: Placement | None = None,
        pool: "Pool | None" = None,
    ) -> Adaptation:
        """Make `backbone` (left unchanged, its weights shared) ready for a task with `classes` classes.

        Args:
            rng: draws the initial values of what is trained.
            placement: where the trained matrices live, one of `placements`; default the first.
            pool: LoRA pool, for the methods that need one.

        Raises:
            UsageError: a placement the method does not offer, no pool where one is needed, or one of another model.
        """

    @abstractmethod
    def count(self, shape: "ModelShape", *, rank: int = 16, pool_size: int = 6) -> ParameterCount:
        """Count from shapes alone, without weights. `rank` is that of LoRA or of each module of the pool."""

    def choose_placement(self, placement: Placement | str | None) -> Placement:
        """`placement`, or the default one. Raises `UsageError` for one that the method does not offer."""
        if placement is None:
            return self.placements[0]
        if placement not in self.placements:
            raise UsageError(unknown_name(f"placement for {self.name}", str(placement), map(str, self.placements)))
        return Placement(placement)


METHODS: dict[str, Method] = {}
M = TypeVar("M", bound=Method)


def register(method: M) -> M:
    """Make a method known by its name. Raises `ValueError` for a name that is taken."""
    if method.name in METHODS:
        raise ValueError(f"a method named {method.name!r} is already registered")
    METHODS[method.name] = method
    return method


def get_method(name: str, **options: Any) -> Method:
    """The registered method, with some of its fields replaced. Raises `UsageError` for an unknown name or option."""
    if name not in METHODS:
        raise UsageError(unknown_name("method", name, METHODS))
    method = METHODS[name]
    if unknown := options.keys() - method.__dataclass_fields__.keys():
        raise UsageError(unknown_name(f"option of {name}", min(unknown), method.__dataclass_fields__))
    return replace(method, **options)


def block_of(name: str) -> int:
    """Index of the Transformer block in a module path: its first number ("encoder.layer.3.attention..." is 3)."""
    for part in name.split("."):
        if part.isdigit():
            return int(part)
    raise UsageError(f"cannot tell the Transformer block of the linear {name!r}: its path has no number")


ATTENTION_TARGETS = ("query", "value", "q", "v", "q_proj", "v_proj", "q_lin", "v_lin")
"""Last path component of the query and value projections in BERT, RoBERTa, ViT, T5, Llama and DistilBERT."""


def attention_targets(linear_names: Sequence[str]) -> list[str]:
    """The query and value projections among `linear_names`, in order. Raises `UsageError` when there are none."""
    found = [name for name in linear_names if name.rsplit(".", 1)[-1] in ATTENTION_TARGETS]
    if not found:
        raise UsageError("the model has no query and value projection by a known name: " + ", ".join(ATTENTION_TARGETS))
    return found


def torch_generator(rng: np.random.Generator) -> torch.Generator:
    """A torch generator seeded from `rng`."""
    return torch.Generator().manual_seed(int(rng.integers(2**63 - 1)))


def cell_linears(module: nn.Module) -> Iterator[CellLinear]:
    """Every `CellLinear` of a module, in order."""
    return (child for child in module.modules() if isinstance(child, CellLinear))


def target_linears(shape: "ModelShape") -> list["LinearShape"]:
    """The query and value projections of every block of a shape, cross attention included."""
    return [linear for block in shape.blocks for linear in block.linears if linear.role in ("query", "value")]
