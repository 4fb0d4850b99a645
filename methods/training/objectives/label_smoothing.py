"""Label smoothing: cross entropy with targets that leave a share to all classes alike.

Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, "Rethinking the Inception Architecture for Computer Vision", CVPR 2016,
arXiv:1512.00567, section 7. With K classes, p = softmax(logits) and the share e:

    q(k) = (1 - e) [k = label] + e / K        loss = - sum_k q(k) log p(k), its mean over the examples

No class is asked to be certain: the logits stay finite where cross entropy would let them grow.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ....errors import UsageError
from ..strategies import register
from . import Objective

if TYPE_CHECKING:
    from torch import Tensor


@register
@dataclass(frozen=True)
class LabelSmoothing(Objective):
    """smoothing: the share e that all classes have alike, the right one included, from 0 (cross entropy) to below 1."""

    name: ClassVar[str] = "label-smoothing"
    source: ClassVar[str] = "Szegedy et al., CVPR 2016, arXiv:1512.00567, section 7"

    smoothing: float = 0.1

    def __post_init__(self) -> None:
        """Raise `UsageError` for a share that cannot be."""
        if not 0 <= self.smoothing < 1:
            raise UsageError(f"smoothing of a recipe must be at least 0 and below 1; got {self.smoothing}")

    def loss(self, logits: "Tensor", labels: "Tensor") -> "Tensor":
        logarithms = logits.log_softmax(1)
        right = logarithms.gather(1, labels.unsqueeze(1)).squeeze(1)
        return -((1.0 - self.smoothing) * right + self.smoothing * logarithms.mean(1)).mean()
