"""The head that class means give: found without any gradient."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@torch.no_grad()
def set_class_mean_head(
    head: nn.Linear, features: Tensor, labels: Tensor, margin: float, shrinkage: float = 1.0, prior: bool = False
) -> None:
    """Set `head` to the nearest-class-mean classifier of `features` (n, d) with `labels` (n,).

    With class means mu_c and their mean mu, the squared distance to mu_c orders the classes as
    (mu_c - mu) . f - |mu_c|^2 / 2 does (the part common to all classes left out): a linear head found without any
    gradient. The logits are scaled so that the mean margin of the right class over the best other one is `margin` on
    the given features, or left unscaled when that mean margin is not positive.

    With `shrinkage` below 1 distances are measured in the metric of (1 - shrinkage) S + shrinkage (tr S / d) I, S the
    covariance within the classes: regularised discriminant analysis (Friedman, JASA 84, 1989). 1 is the plain distance.

    `prior`: the logarithm of each class's share of the examples is added to its logit, as discriminant analysis has it
    for classes of different size.
    """
    classes = head.out_features
    onehot = F.one_hot(labels, classes).to(features.dtype)
    counts = onehot.sum(0)
    means = (onehot.T @ features) / counts.clamp(min=1.0).unsqueeze(1)
    present = counts > 0
    centre = means[present].mean(0)
    metric = _metric(features - means[labels], shrinkage)
    weight = torch.where(present.unsqueeze(1), (means - centre) @ metric, torch.zeros_like(means))
    bias = torch.where(present, -0.5 * ((means @ metric) * means).sum(1), torch.zeros_like(counts))
    bias = torch.where(present, bias - bias[present].mean(), bias[present].min() - bias[present].mean())
    logits = features @ weight.T + bias
    right = (logits * onehot).sum(1)
    best_other = logits.masked_fill(onehot.bool(), -torch.inf).amax(1)
    mean_margin = (right - best_other).mean()
    scale = margin / mean_margin if mean_margin > 0 else torch.ones(())
    head.weight.copy_(scale * weight)
    shares = (counts.clamp(min=0.5) / len(labels)).log() if prior else torch.zeros_like(bias)
    head.bias.copy_(scale * bias + shares)


def _metric(residuals: Tensor, shrinkage: float) -> Tensor:
    """The inverse of the shrunk covariance of residuals (n, d), scaled so that it is the identity for shrinkage 1."""
    identity = torch.eye(residuals.shape[1], dtype=residuals.dtype)
    spread = residuals.square().sum() / residuals.numel()
    if shrinkage == 1.0 or spread == 0:
        return identity
    covariance = residuals.T @ residuals / len(residuals)
    return torch.linalg.inv((1 - shrinkage) / spread * covariance + shrinkage * identity)
