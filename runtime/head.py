"""The classifier head in numpy: its start at class means, the start of a class taught later, softmax and loss."""

import numpy as np


def class_mean_head(
    features: np.ndarray, labels: np.ndarray, classes: int, margin: float, shrinkage: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Weight (classes, d) and bias (classes,) of the nearest-class-mean classifier of `features` (n, d).

    Logits are (mu_c - mu) . f - |mu_c|^2 / 2, scaled so that the mean margin of the right class over the best other one
    is `margin` on the given features (left as they are when that is not positive). A class without examples gets no
    weight and the lowest bias. With `shrinkage` below 1, distances are measured in the metric of the covariance within
    the classes, shrunk towards the identity (Friedman, JASA 84, 1989). The same as `set_class_mean_head` of the torch
    trainer.
    """
    onehot = np.eye(classes, dtype=np.float32)[labels]
    counts = onehot.sum(axis=0)
    present = counts > 0
    means = onehot.T @ features / np.maximum(counts, 1)[:, None]
    centred, projected = means - means[present].mean(axis=0), means
    if shrinkage != 1.0:
        metric = _metric(features - means[labels], shrinkage)
        centred, projected = centred @ metric, means @ metric
    weight = np.where(present[:, None], centred, np.float32(0))
    bias = np.where(present, np.float32(-0.5) * (projected * means).sum(axis=1), np.float32(0))
    bias = np.where(present, bias, bias[present].min()) - bias[present].mean()
    logits = features @ weight.T + bias
    right = logits[np.arange(len(labels)), labels]
    best_other = np.where(onehot > 0, np.float32(-np.inf), logits).max(axis=1)
    mean_margin = (right - best_other).mean()
    scale = np.float32(margin) / mean_margin if mean_margin > 0 else np.float32(1)
    return (scale * weight).astype(np.float32), (scale * bias).astype(np.float32)


def _metric(residuals: np.ndarray, shrinkage: float) -> np.ndarray:
    """The inverse of the shrunk covariance of residuals (n, d), scaled so that it is the identity for shrinkage 1."""
    identity = np.eye(residuals.shape[1])
    spread = float(np.square(residuals, dtype=np.float64).mean())
    if not 0 < spread < np.inf:  # what is not finite shows in the head
        return identity.astype(np.float32)
    covariance = (residuals.T @ residuals).astype(np.float64) / len(residuals)
    return np.linalg.inv((1 - shrinkage) / spread * covariance + shrinkage * identity).astype(np.float32)


def taught_row(
    weight: np.ndarray, bias: np.ndarray, mine: np.ndarray, others: np.ndarray, margin: float
) -> tuple[np.ndarray, float]:
    """Weight (d,) and bias of a class that a head with rows `weight`, `bias` does not know yet.

    The row points from the mean of the other classes' features (m, d) to that of its own (n, d); its logit is `margin`
    above the best other class at its own mean, and `margin` below at the mean of the others. Without others it is 0 and
    only the bias counts.
    """
    here = mine.mean(axis=0)
    best_here = (weight @ here + bias).max()
    if not len(others):
        return np.zeros_like(here), float(best_here) + margin
    there = others.mean(axis=0)
    direction = here - there
    length = float(direction @ direction)
    if length == 0.0:
        return np.zeros_like(here), float(best_here)
    best_there = (weight @ there + bias).max()
    scale = (float(best_here - best_there) + 2 * margin) / length
    row = (scale * direction).astype(np.float32)
    return row, float(best_here) + margin - float(row @ here)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logarithms of the class probabilities, (n, classes)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def losses(log_probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Cross entropy of each example (n,): minus the logarithm of the right class's probability. What the device makes
    smaller stands here alone; with what is trained beside the head, it is in the training graph.
    """
    return -log_probabilities[np.arange(len(labels)), labels]


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean cross entropy of logits (n, classes), summed in float64."""
    return float(losses(log_softmax(logits), labels).mean(dtype=np.float64))


def head_loss_and_gradients(
    features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Mean cross entropy of a linear head on features (n, d), and its gradients by weight and bias."""
    log_probabilities = log_softmax(features @ weight.T + bias)
    loss = float(losses(log_probabilities, labels).mean())
    error = np.exp(log_probabilities)
    error[np.arange(len(labels)), labels] -= 1
    error /= np.float32(len(labels))
    return loss, error.T @ features, error.sum(axis=0)
