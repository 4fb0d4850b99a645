"""Linear layers whose matrix may sit in cells, and the model built from them.

The only place where a matrix is read is `reader(name, x, weight)`: exact arithmetic by default, a crossbar when the
simulator puts its own reader there.
"""

import copy
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import Levels, Resumption
from .features import FEATURES, View
from .heads import HEADS
from .turns import Turns

Reader = Callable[[str, Tensor, Tensor], Tensor]
"""reader(name, x (..., in), weight (out, in)) -> (..., out)."""


def exact_reader(name: str, x: Tensor, weight: Tensor) -> Tensor:
    """The matrix product without any hardware: x (..., in), weight (out, in) -> (..., out)."""
    return F.linear(x, weight)


def frozen(tensor: Tensor) -> nn.Parameter:
    """A parameter that shares the tensor's memory and is not trained."""
    return nn.Parameter(tensor.detach(), requires_grad=False)


class CellLinear(nn.Module):
    """y = W x + bias, with W (out, in) read through `reader` and the bias added digitally.

    The parameters share memory with the given linear unless `own` asks for copies (to train them).
    """

    def __init__(self, name: str, linear: nn.Linear, own: bool = False) -> None:
        super().__init__()
        self.cell_name = name
        self.weight = frozen(linear.weight.clone() if own else linear.weight)
        self.bias = None if linear.bias is None else frozen(linear.bias.clone() if own else linear.bias)
        self.reader: Reader = exact_reader

    def read(self, x: Tensor) -> Tensor:
        """W x, x (..., in) -> (..., out)."""
        return self.reader(self.cell_name, x, self.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = self.read(x)
        return y if self.bias is None else y.add_(self.bias)  # in place: fresh memory costs more than the sum


class ChangedLinear(CellLinear):
    """A linear that a method changes: `change(linear, x)` says what it puts out for x (..., in).

    `tensors` are parameters or buffers of its own, by attribute name. What `change` multiplies by a matrix in cells
    goes through `linear.reader`; `linear.plain(x)` is what the linear alone puts out. While it is `skipped` it puts out
    just that.
    """

    def __init__(self, name: str, linear: nn.Linear, change: "Change", tensors: Mapping[str, Tensor]) -> None:
        super().__init__(name, linear)
        self.change, self.skipped = change, False
        for attribute, tensor in tensors.items():
            if isinstance(tensor, nn.Parameter):
                self.register_parameter(attribute, tensor)
            else:
                self.register_buffer(attribute, tensor)

    def plain(self, x: Tensor) -> Tensor:
        """W x + bias."""
        return super().forward(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.plain(x) if self.skipped else self.change(self, x)


Change = Callable[[Any, Tensor], Tensor]
"""change(linear, x (..., in)) -> (..., out)."""


def tensors_of(model: nn.Module, attribute: str) -> dict[str, nn.Parameter]:
    """A parameter (or buffer) of every `ChangedLinear` that has one of this name, as "linear.attribute", in order."""
    return {
        f"{linear.cell_name}.{attribute}": getattr(linear, attribute)
        for linear in model.modules()
        if isinstance(linear, ChangedLinear) and hasattr(linear, attribute)
    }


LinearFactory = Callable[[str, nn.Linear], CellLinear]


def clone_encoder(module: nn.Module, linear_names: Iterable[str], make: LinearFactory) -> nn.Module:
    """A copy of `module` with each named `nn.Linear` replaced by `make(name, linear)`.

    The copy has its own module objects; parameters and buffers share the original's memory, so that many adaptations
    of one backbone cost one backbone.
    """
    memo: dict[int, object] = {id(p): frozen(p) for p in module.parameters()}
    memo |= {id(b): b for b in module.buffers()}
    clone = copy.deepcopy(module, memo)
    for name in linear_names:
        parent, _, child = name.rpartition(".")
        linear = clone.get_submodule(name)
        if not isinstance(linear, nn.Linear):
            raise TypeError(f"{name} is a {type(linear).__name__}, not a Linear")
        setattr(clone.get_submodule(parent), child, make(name, linear))
    return clone.eval()


def own_parameters(encoder: nn.Module, paths: Collection[str], field: str) -> dict[str, nn.Parameter]:
    """Give the modules at `paths` their own copy of a parameter, to be trained; returns them by path, in the encoder's
    order.

    Parameters that are None (a linear without bias), or that a module does not have, are left out.
    """
    owned = {}
    for path, module in encoder.named_modules():
        shared = getattr(module, field, None) if path in paths else None
        if shared is not None:
            owned[f"{path}.{field}"] = nn.Parameter(shared.detach().clone())
            setattr(module, field, owned[f"{path}.{field}"])
    return owned


def patch_projection(encoder: nn.Module) -> nn.Conv2d:
    """The projection of a vision encoder's patches, (hidden_size, channels, patch, patch): done digitally."""
    return next(module for module in encoder.modules() if isinstance(module, nn.Conv2d))


class AdaptedModel(nn.Module):
    """Encoder, features, head: forward(input_ids, attention_mask) -> logits (batch, classes).

    Both inputs are (batch, tokens) integer tensors; the mask is 1 on tokens and 0 on padding. An encoder of images
    takes pixels (batch, channels, side, side) in place of the ids. `feature` makes what the head sees of the hidden
    states at its `levels`, as the `view` says; where each token has features of its own, logits are (batch, tokens,
    classes). `norm`: path of a norm in the encoder that the last hidden states still pass. `added`: tokens in front of
    every text. `separator`: the token that ends the first text of a pair; what follows it is the second, and the
    encoder is told so.

    `side`: a network beside the encoder, side(states, attention_mask=...) -> (batch, tokens, numbers), or what the head
    sees at once. `apart`: no gradient goes from it into the encoder, which runs without one. `resumption`: where runs
    go on from stored states without a side network. `turns`: whose turn it is, where slices of
    trained tensors take turns.
    """

    def __init__(self, encoder: nn.Module, width: int, classes: int) -> None:
        """width: numbers of a row of features, for a linear head."""
        super().__init__()
        self.encoder = encoder
        self.of_images = getattr(encoder, "main_input_name", "") == "pixel_values"
        self.head: Any = HEADS["linear"].build(classes, width).to(next(encoder.parameters()).dtype)
        self.view = View("cls" if self.of_images else "mean", self.of_images)
        self.feature = FEATURES[self.view.pooling]
        self.levels: Levels | None = None
        self.resumption: Resumption | None = None
        self.side: nn.Module | None = None
        self.turns: Turns | None = None
        self.apart = False
        self.norm = ""
        self.added = 0
        self.separator: int | None = None

    @property
    def per_token(self) -> bool:
        """Whether each token has features, and logits, of its own."""
        return not self.feature.one

    def encode(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The last hidden states (batch, tokens, hidden_size), those of added tokens in front."""
        if self.of_images:
            states: Tensor = self.encoder(pixel_values=input_ids).last_hidden_state
            return states
        types = self.token_types(input_ids)
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **types).last_hidden_state
        return states

    def observe(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """The hidden states that features and side network are made of, (batch, tokens, hidden_size) for each level."""
        with torch.no_grad() if self.apart else nullcontext():
            last = self.encode(input_ids, attention_mask)
            if self.norm and not self._norm_is_last:
                last = self.encoder.get_submodule(self.norm)(last)
            states = (last,) if self.levels is None else self.levels.taken(last)
            return tuple(state[:, self.added :] for state in states) if self.added else states

    def features_of(self, states: tuple[Tensor, ...], attention_mask: Tensor) -> Tensor:
        """What the head sees of observed states: (batch, width), or (batch, tokens, width)."""
        if self.side is not None:
            states = (self.side(states, attention_mask=None if self.of_images else attention_mask),)
        found = self.feature.of(states, attention_mask, self.view)
        return self.encoder.get_submodule(self.norm)(found) if self.norm and self._norm_is_last else found

    def features_to_store(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What the head sees of examples, and the hidden states that later runs go on from."""
        if self.resumption is not None:
            return self.features(input_ids, attention_mask), self.resumption.taken()
        states = self.observe(input_ids, attention_mask)
        return self.features_of(states, attention_mask), states

    def features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """What the head sees of examples."""
        return self.features_of(self.observe(input_ids, attention_mask), attention_mask)

    def token_types(self, input_ids: Tensor) -> dict[str, Tensor]:
        """The encoder's argument that tells the texts of a pair apart, 0 and 1; none for single texts."""
        if self.separator is None:
            return {}
        ends = (input_ids == self.separator).long()
        return {"token_type_ids": (ends.cumsum(1) - ends).clamp(max=1)}

    @property
    def _norm_is_last(self) -> bool:
        """Whether the norm comes behind the features, and not in front."""
        return self.feature.pools and self.side is None

    def forward(self, input_ids: Tensor, attention_mask: Tensor, states: tuple[Tensor, ...] | None = None) -> Tensor:
        """Logits; of `states` that were stored before, where these are given: then only the shape of the ids counts."""
        if states is None:
            return self.head(self.features(input_ids, attention_mask))
        if self.resumption is None:
            return self.head(self.features_of(states, attention_mask))
        with self.resumption.going_on(states):
            return self.head(self.features(input_ids, attention_mask))
