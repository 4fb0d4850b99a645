"""Second moments of an example's tokens, and classifiers of them beside those of its mean (`library.mp`)."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .features import FEATURES, View


class CrossCovariance(nn.Module):
    """Tokens (batch, tokens, width) -> (batch, `heads.MomentsHead.moments`): covariances of neighbouring quarters of
    what a linear makes of each token, made smaller by two convolutions. `parts`: the linear "project", the norm "norm"
    of a quarter, and the convolutions "shrink" and "shrink_again".
    """

    def __init__(self, parts: Mapping[str, nn.Module], quarters: int) -> None:
        super().__init__()
        self.parts, self.quarters = nn.ModuleDict(parts), quarters

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """`mask` (batch, tokens): 1 on real tokens; None where all are."""
        own = self.parts["norm"](self.parts["project"](tokens).unflatten(-1, (self.quarters, -1)))
        real = own.new_ones(own.shape[:2]) if mask is None else mask.to(own.dtype)
        real = real[..., None, None]
        number = real.sum(1, keepdim=True).clamp(min=1.0)
        centred = ((own - (own * real).sum(1, keepdim=True) / number) * real).transpose(1, 2)
        covariance = centred[:, :-1].transpose(2, 3) @ centred[:, 1:] / number
        found = self.parts["shrink"](F.normalize(covariance, dim=2))
        return self.parts["shrink_again"](F.gelu(found)).flatten(1)


class MomentProbe(nn.Module):
    """What the head sees of hidden states: the model's own feature, as the view has it, and the second moments."""

    def __init__(self, moments: CrossCovariance, view: View) -> None:
        super().__init__()
        self.moments, self.view = moments, view

    def forward(self, states: tuple[Tensor, ...], attention_mask: Tensor | None) -> Tensor:
        hidden = states[-1]
        mask = hidden.new_ones(hidden.shape[:2]) if attention_mask is None else attention_mask
        own = FEATURES[self.view.pooling].of(states, mask, self.view)
        tokens = hidden[:, self.view.front :] if self.view.images else hidden
        return torch.cat([own, self.moments(tokens, attention_mask)], 1)


class TwoClassifiers(nn.Module):
    """The mean of the logits of two classifiers: of features, and of the `moments` second moments that stand behind
    them.
    """

    def __init__(self, classes: int, width: int, moments: int) -> None:
        super().__init__()
        self.pooled = nn.Linear(width - moments, classes)
        self.moments = nn.Linear(moments, classes)
        self.out_features = classes
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: Tensor) -> Tensor:
        pooled, moments = self.parted(features)
        return 0.5 * (self.pooled(pooled) + self.moments(moments))

    def parted(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features (n, width) as those of the mean and those of the second moments."""
        first, second = features.split([self.pooled.in_features, self.moments.in_features], -1)
        return first, second
