"""Cross entropy: the mean of minus the logarithm of the right class's probability, -log softmax(logits)[label]."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..strategies import register
from . import Objective

if TYPE_CHECKING:
    from torch import Tensor


@register
@dataclass(frozen=True)
class CrossEntropy(Objective):
    """No options."""

    name: ClassVar[str] = "cross-entropy"
    in_bundles: ClassVar[bool] = True

    def loss(self, logits: "Tensor", labels: "Tensor") -> "Tensor":
        from torch.nn.functional import cross_entropy

        return cross_entropy(logits, labels)

    def traced_loss(self, logits: "Tensor", labels: "Tensor") -> "Tensor":
        """With a one-hot product: its gradient has no scatter."""
        import torch

        onehot = (labels.unsqueeze(1) == torch.arange(logits.shape[1])).to(logits.dtype)
        return (torch.logsumexp(logits, 1) - (onehot * logits).sum(1)).mean()
