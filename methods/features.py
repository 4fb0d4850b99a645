"""What a head sees of a model: named features, each said once. A method names the one it needs (`Part.features`).

Nothing here imports torch until a feature is computed: plans take widths and work from it.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..errors import UsageError, unknown_name
from ..workloads.shapes import ModelShape
from .costs import NUMBER_BYTES, DigitalWork

if TYPE_CHECKING:
    from torch import Tensor

LAST = (-1,)
"""Levels of hidden states (`blocks.Levels`): what the model puts out, behind its last norm."""


@dataclass(frozen=True)
class View:
    """How a model's hidden states are to be looked at.

    pooling: name of the model's own feature. images: whether it reads images; `front`: how many tokens then stand in
    front of the patches, prompts included.
    """

    pooling: str = "mean"
    images: bool = False
    front: int = 1


class Feature(ABC):
    """One way to make features of hidden states. `one`: one row for each example, or one for each of its tokens.
    `pools`: whether it picks or averages hidden states, so that a norm that they still have to pass comes after it.
    """

    name: ClassVar[str]
    one: ClassVar[bool] = True
    pools: ClassVar[bool] = True
    kinds: ClassVar[tuple[str, ...]] = ("text", "image")

    def levels(self, shape: ModelShape) -> tuple[int, ...]:
        """The levels of hidden states that it is made of."""
        return LAST

    def width(self, hidden: int, levels: int) -> int:
        """Numbers of a row, for hidden states of `hidden` numbers at so many levels."""
        return hidden

    def forward_work(self, hidden: int, front: int) -> DigitalWork:
        """Products; sums are not counted. front: tokens of each example that are left out."""
        return DigitalWork()

    def backward_work(self, hidden: int, front: int) -> DigitalWork:
        """Products of the gradient of the hidden states."""
        return DigitalWork()

    @abstractmethod
    def of(self, states: "Sequence[Tensor]", mask: "Tensor", view: View) -> "Tensor":
        """Features of hidden states (batch, tokens, width), one tensor for each level.

        mask (batch, tokens) is 1 on tokens of a text and 0 on padding; images have none, and it is not looked at.
        """


class Mean(Feature):
    """The mean over the tokens of a text, or over the patches of an image."""

    name = "mean"

    def of(self, states: "Sequence[Tensor]", mask: "Tensor", view: View) -> "Tensor":
        if view.images:
            return states[-1][:, view.front :].mean(1)
        real = mask.unsqueeze(-1).to(states[-1].dtype)
        return (states[-1] * real).sum(1) / real.sum(1).clamp(min=1.0)


class Patches(Mean):
    """The mean over the patches of an image."""

    name = "patches"
    kinds = ("image",)


class First(Feature):
    """The first token: [CLS]."""

    name = "cls"

    def of(self, states: "Sequence[Tensor]", mask: "Tensor", view: View) -> "Tensor":
        return states[-1][:, 0]


class LastToken(Feature):
    """The last token of a text, which padding stands behind."""

    name = "last"
    kinds = ("text",)

    def of(self, states: "Sequence[Tensor]", mask: "Tensor", view: View) -> "Tensor":
        behind = mask.sum(1, keepdim=True) - mask.cumsum(1)
        return FEATURES["mean"].of(states, mask * (behind == 0), view)


class Tokens(Feature):
    """Every token by itself, padding too, which nobody asks for."""

    name = "tokens"
    one = False

    def of(self, states: "Sequence[Tensor]", mask: "Tensor", view: View) -> "Tensor":
        return states[-1]


class AsTheyAre(Tokens):
    """What a side network puts out that pools by itself: (batch, width)."""

    name = "own"
    one = True


class AllBlocks(Feature):
    """The model's own feature of the hidden states of every block, as they leave it, side by side."""

    name = "blocks"
    pools = False

    def levels(self, shape: ModelShape) -> tuple[int, ...]:
        return tuple(range(1, shape.runs * len(shape.blocks) + 1))

    def width(self, hidden: int, levels: int) -> int:
        return hidden * levels

    def of(self, states: "Sequence[Tensor]", mask: "Tensor", view: View) -> "Tensor":
        import torch

        return torch.cat([FEATURES[view.pooling].of([level], mask, view) for level in states], -1)


class Moments(Feature):
    """Mean and covariance of the tokens of a text, or of an image's patches: d + d (d + 1) / 2 numbers of hidden states
    of d. The covariance is that of all of them (1 / n), the upper triangle row by row. d is a few hundred at most, or
    the head has more numbers than a model: a side network can make hidden states narrower first.
    """

    name = "moments"
    pools = False

    def width(self, hidden: int, levels: int) -> int:
        return hidden + hidden * (hidden + 1) // 2

    def forward_work(self, hidden: int, front: int) -> DigitalWork:
        """The sums of products, held in the unit while the tokens pass, and written once."""
        own = hidden**2
        return DigitalWork(per_token=own, per_sequence=-front * own, bytes_per_sequence=NUMBER_BYTES * own)

    def backward_work(self, hidden: int, front: int) -> DigitalWork:
        """The gradient of the covariance times each token, for both factors of its product."""
        own = 2 * hidden**2
        return DigitalWork(per_token=own, per_sequence=-front * own, bytes_per_sequence=NUMBER_BYTES * own)

    def of(self, states: "Sequence[Tensor]", mask: "Tensor", view: View) -> "Tensor":
        import torch

        hidden = states[-1][:, view.front :] if view.images else states[-1]
        mean, covariance = moments(hidden, None if view.images else mask)
        rows, columns = torch.triu_indices(hidden.shape[-1], hidden.shape[-1])
        return torch.cat([mean, covariance[:, rows, columns]], 1)


def moments(hidden: "Tensor", mask: "Tensor | None") -> "tuple[Tensor, Tensor]":
    """Mean (batch, width) and covariance (batch, width, width) of the real ones among tokens (batch, tokens, width)."""
    real = hidden.new_ones(hidden.shape[:2]) if mask is None else mask.to(hidden.dtype)
    real = real.unsqueeze(-1)
    number = real.sum(1).clamp(min=1.0)
    mean = (hidden * real).sum(1) / number
    centred = (hidden - mean.unsqueeze(1)) * real
    covariance = centred.transpose(1, 2) @ centred / number.unsqueeze(-1)
    return mean, 0.5 * (covariance + covariance.transpose(1, 2))  # rounding leaves it a little askew


FEATURES: dict[str, Feature] = {
    feature.name: feature
    for feature in (Mean(), Patches(), First(), LastToken(), Tokens(), AsTheyAre(), AllBlocks(), Moments())
}
"""All features by name; the first four are what a model's own can be (`workloads.families.POOLINGS`)."""


def chosen(name: str, view: View, tagged: bool) -> Feature:
    """The feature of this name; with no name the model's own, or every token where words are tagged."""
    return FEATURES[name or ("tokens" if tagged else view.pooling)]


def require_feature(method: str, name: str, shape: ModelShape, tagged: bool, side: bool) -> None:
    """Raise `UsageError` for a feature that there is not, or that a model or a task does not have."""
    kind = "image" if shape.patch_weights else "text"
    if name and name not in FEATURES:
        raise UsageError(unknown_name(f"features of {method}", name, FEATURES))
    if name and kind not in FEATURES[name].kinds:
        fitting = ", ".join(n for n, feature in FEATURES.items() if kind in feature.kinds)
        raise UsageError(
            f"{method} looks at the features {name!r}, and a model of {kind}s has none; take one of {fitting}"
        )
    if name == "cls" and not shape.front_tokens:
        raise UsageError(f"{method} looks at the [CLS] of an image, and {shape.name} has none")
    if name == "tokens" and not tagged:
        raise UsageError(f"{method} looks at every token, and this task has one label for each example")
    if name == "own" and not side:
        raise UsageError(f"{method} looks at what its side network puts out, and it has none")
    if tagged and name and FEATURES[name].one:
        raise UsageError(f"{method} looks at the features {name!r}, one row for each text: it cannot tag words")
