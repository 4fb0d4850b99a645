"""Heads: what makes logits of features. A method names the one it needs (`Part.head`).

A head gives its tensors and its work without torch, and its layers and its start with it.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import UsageError, unknown_name
from .costs import DigitalWork, head_backward, head_forward, head_start_macs

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .recipes import Recipe


class Head(ABC):
    """One kind of head, on features (n, width), for so many classes."""

    name: ClassVar[str]
    in_bundles: ClassVar[bool] = False
    """Whether the trainer of bundles knows where it starts, and which numbers of it are a class's."""

    @abstractmethod
    def tensors(self, classes: int, width: int) -> dict[str, tuple[int, ...]]:
        """Shapes of its tensors, as the layer that `build` makes has them, by name."""

    @abstractmethod
    def forward_work(self, classes: int, width: int, per_token: bool) -> DigitalWork:
        """Digital work of the logits: of each example, or of each of its tokens."""

    @abstractmethod
    def backward_work(self, classes: int, width: int, through: bool, per_token: bool) -> DigitalWork:
        """That of the gradients; `through`: the features need one, too."""

    @abstractmethod
    def build(self, classes: int, width: int) -> "nn.Module":
        """The layer. It has `out_features`, how many classes there are."""

    @abstractmethod
    def start(self, layer: Any, features: "Tensor", labels: "Tensor", recipe: "Recipe", tagged: bool) -> int:
        """Set the layer to where training starts, from features (n, width) and their labels (n,), as the recipe says.
        Returns the multiply-accumulates that it takes.
        """

    @abstractmethod
    def start_macs(self, examples: int, classes: int, width: int, recipe: "Recipe") -> int:
        """The same number, from sizes alone."""


class LinearHead(Head):
    """A matrix and a bias, which start as the classifier by class means (`class_means`)."""

    name = "linear"
    in_bundles = True

    def tensors(self, classes: int, width: int) -> dict[str, tuple[int, ...]]:
        return {"weight": (classes, width), "bias": (classes,)}

    def forward_work(self, classes: int, width: int, per_token: bool) -> DigitalWork:
        return head_forward(width, classes, per_token)

    def backward_work(self, classes: int, width: int, through: bool, per_token: bool) -> DigitalWork:
        return head_backward(width, classes, through, per_token)

    def build(self, classes: int, width: int) -> "nn.Module":
        from torch import nn

        layer = nn.Linear(width, classes)
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
        return layer

    def start(self, layer: Any, features: "Tensor", labels: "Tensor", recipe: "Recipe", tagged: bool) -> int:
        from .class_means import set_class_mean_head

        # Most words are in no entity: classes of words have their share in the logits.
        set_class_mean_head(layer, features, labels, recipe.head_margin, recipe.head_shrinkage, prior=tagged)
        return self.start_macs(len(features), layer.out_features, layer.in_features, recipe)

    def start_macs(self, examples: int, classes: int, width: int, recipe: "Recipe") -> int:
        return head_start_macs(examples, width, classes, recipe.head_shrinkage)


class MomentsHead(Head):
    """The mean of two linear classifiers: of features, and of the `moments` numbers behind them that a side network
    makes. Both start by class means; the second with plain distances, for its covariance is too large to invert.
    """

    name = "moments"
    moments: ClassVar[int] = 2883

    def tensors(self, classes: int, width: int) -> dict[str, tuple[int, ...]]:
        pooled = width - self.moments
        return {"pooled.weight": (classes, pooled), "pooled.bias": (classes,),
                "moments.weight": (classes, self.moments), "moments.bias": (classes,)}  # fmt: skip

    def forward_work(self, classes: int, width: int, per_token: bool) -> DigitalWork:
        return head_forward(width, classes, per_token)

    def backward_work(self, classes: int, width: int, through: bool, per_token: bool) -> DigitalWork:
        return head_backward(width, classes, through, per_token)

    def build(self, classes: int, width: int) -> "nn.Module":
        from .moments import TwoClassifiers

        return TwoClassifiers(classes, width, self.moments)

    def start(self, layer: Any, features: "Tensor", labels: "Tensor", recipe: "Recipe", tagged: bool) -> int:
        from .class_means import set_class_mean_head

        pooled, moments = layer.parted(features)
        set_class_mean_head(layer.pooled, pooled, labels, recipe.head_margin, recipe.head_shrinkage)
        set_class_mean_head(layer.moments, moments, labels, recipe.head_margin)
        return self.start_macs(len(features), layer.out_features, features.shape[1], recipe)

    def start_macs(self, examples: int, classes: int, width: int, recipe: "Recipe") -> int:
        return head_start_macs(examples, width - self.moments, classes, recipe.head_shrinkage)


HEADS: dict[str, Head] = {head.name: head for head in (LinearHead(), MomentsHead())}
"""All heads by name."""


def require_head(method: str, name: str) -> Head:
    """The head of this name. Raises `UsageError` for one that there is not."""
    if name not in HEADS:
        raise UsageError(unknown_name(f"head of {method}", name, HEADS))
    return HEADS[name]
