"""The yardstick of image tasks: a logistic regression on the pixels themselves, no model at all.

On small grey pictures the features of a large frozen model are hardly better than this: a result says something of the
model only where it is well above.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import EdgeAdaptError
from ..reports.records.workload import RawPixels
from ..runtime.images import read_image
from ..workloads.task import Example, Task

SIDE = 28
"""Pictures are made this large, as those of MNIST and its followers are; colours are kept."""

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Weights of the squared norm, of which the validation examples choose."""


def raw_pixels(task: Task, shots: Iterable[int], tests: Mapping[int, Sequence[Example]]) -> list[RawPixels]:
    """What the regression makes of the examples of every run, for a report; nothing for texts. `tests`: the test
    examples of each seed.
    """
    if task.kind == "text":
        return []
    draws = [(number, seed, task.few_shot(number, seed)) for number in shots for seed in tests]
    classes = len(task.labels)
    return [
        RawPixels(shots=number, seed=seed, accuracy=raw_pixel_accuracy(few.train, few.validation, tests[seed], classes))
        for number, seed, few in draws
    ]


def raw_pixel_accuracy(
    train: Sequence[Example], validation: Sequence[Example], test: Sequence[Example], classes: int
) -> float:
    """Share of right answers on `test`, 0..1, of a logistic regression on the pixels of `train`.

    Pixels are divided by 255 and have the mean of `train` taken off; the penalty is the best of `PENALTIES` on
    `validation`, the stronger one where two are equal. Convex, from zero: no random numbers.
    """
    (x, y), held_out, tested = (pixels(examples) for examples in (train, validation, test))
    mean = x.mean(0)
    best, chosen = -1.0, None
    for penalty in sorted(PENALTIES, reverse=True):
        found = fit(x - mean, y, classes, penalty)
        right = accuracy(found, held_out[0] - mean, held_out[1]) if len(held_out[1]) else 0.0
        if right > best:
            best, chosen = right, found
    assert chosen is not None
    return accuracy(chosen, tested[0] - mean, tested[1])


def pixels(examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Pictures as rows (n, SIDE * SIDE * 3) in 0..1, and their labels (n,)."""
    from PIL import Image

    rows = np.empty((len(examples), SIDE, SIDE, 3), dtype=np.uint8)
    for row, example in enumerate(examples):
        picture = example.image
        if picture is None:
            raise EdgeAdaptError("an example without an image has no pixels")
        image = Image.fromarray(picture if isinstance(picture, np.ndarray) else read_image(picture)).convert("RGB")
        rows[row] = np.asarray(
            image if image.size == (SIDE, SIDE) else image.resize((SIDE, SIDE), Image.Resampling.BOX)
        )
    return torch.from_numpy(rows.reshape(len(rows), -1) / 255.0), torch.tensor([e.label for e in examples])


def fit(x: Tensor, y: Tensor, classes: int, penalty: float) -> tuple[Tensor, Tensor]:
    """Weights (classes, d) and bias (classes,) with the least mean cross entropy + penalty / 2 |weights|^2.

    Few pictures have many more pixels than there are pictures, and the best weights are sums of pictures: these sums
    are what is sought, with the pictures' products in place of the pictures (the representer theorem).
    """
    gram = x @ x.T
    share = torch.zeros(classes, len(x), dtype=x.dtype, requires_grad=True)
    bias = torch.zeros(classes, dtype=x.dtype, requires_grad=True)
    search = torch.optim.LBFGS([share, bias], max_iter=300, tolerance_grad=1e-7, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        value = F.cross_entropy((share @ gram + bias[:, None]).T, y)
        value = value + penalty / 2 * ((share @ gram) * share).sum()
        value.backward()
        return value

    search.step(loss)
    return (share @ x).detach(), bias.detach()


def accuracy(found: tuple[Tensor, Tensor], x: Tensor, y: Tensor) -> float:
    """Share of right answers of weights and bias."""
    weights, bias = found
    return (x @ weights.T + bias).argmax(1).eq(y).double().mean().item()
