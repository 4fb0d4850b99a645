"""A bundle opened for work: its graphs and its reader of texts or images, asked in examples instead of feeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UsageError
from .engine import Engine
from .head import cross_entropy, head_loss_and_gradients
from .images import ImageEncoder
from .manifest import Manifest
from .optim import Arrays
from .tokens import EVALUATION_BATCH, Batch, Encoded, Encoder, by_length

HEAD = ("head.weight", "head.bias")


@dataclass(frozen=True)
class Labelled:
    """Token ids or pixels of the examples, and their classes (n,) int64 as rows of the head."""

    encoded: Encoded
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, rows: np.ndarray) -> "Labelled":
        """The examples at the given places."""
        return Labelled([self.encoded[row] for row in rows], self.labels[rows])


class Model:
    """The frozen model with its tokenizer; every method takes the state it is to work with."""

    def __init__(self, folder: Path, manifest: Manifest, threads: int = 0) -> None:
        self.manifest = manifest
        self.engine = Engine(folder, manifest, threads)
        self.encoder: Encoder | ImageEncoder
        if manifest.tokenizer is not None:
            self.encoder = Encoder(folder, manifest.tokenizer)
        elif manifest.images is not None:
            self.encoder = ImageEncoder(manifest.images)
        else:
            raise UsageError(f"{folder} says neither how texts nor how images are read; export it again")
        self.evaluation_batch = EVALUATION_BATCH

    @property
    def head_only(self) -> bool:
        """Whether nothing but the head is trained: then stored features are enough, and no gradient graph is run."""
        return all(tensor.name in HEAD for tensor in self.manifest.trained)

    def batch(
        self, encoded: Encoded, labels: Sequence[int] | np.ndarray, rng: np.random.Generator | None = None
    ) -> Batch:
        """A padded batch; with `rng`, of images that are cropped at random where the bundle asks for it."""
        return Batch(self.encoder.feeds(encoded, rng), np.asarray(labels, np.int64))

    def outputs(self, values: Arrays, encoded: Encoded, name: str) -> np.ndarray:
        """ "logits" (n, classes) or "features" (n, hidden) of the examples, in the order given."""
        parts, order = [], []
        for rows in by_length(encoded, self.evaluation_batch):
            parts.append(self.engine.infer(values, self.encoder.feeds([encoded[row] for row in rows]), [name])[0])
            order.append(rows)
        result = np.concatenate(parts)
        result[np.concatenate(order)] = result.copy()
        return result

    def accuracy(self, values: Arrays, data: Labelled) -> float:
        """Share of the examples whose class is the one with the largest logit, 0..1."""
        return float((self.outputs(values, data.encoded, "logits").argmax(axis=1) == data.labels).mean())


class GraphObjective:
    """Loss and gradients from the bundle's graphs."""

    def __init__(self, model: Model) -> None:
        self._engine = model.engine

    def loss_and_gradients(self, values: Arrays, batch: Batch) -> tuple[float, Arrays]:
        return self._engine.loss_and_gradients(values, batch)

    def loss(self, values: Arrays, batch: Batch) -> float:
        return self._engine.loss(values, batch)

    def loss_forward_only(self, values: Arrays, batch: Batch) -> float:
        return cross_entropy(self._engine.infer(values, batch.inputs, ["logits"])[0], batch.labels)


class HeadObjective:
    """Loss and gradients of the head alone, on features that are stored in the batch or come from a forward pass."""

    def __init__(self, model: Model) -> None:
        self._engine = model.engine
        self._trained = [tensor.name for tensor in model.manifest.trained]

    def loss_and_gradients(self, values: Arrays, batch: Batch) -> tuple[float, Arrays]:
        weight, bias = (values[name] for name in HEAD)
        loss, *gradients = head_loss_and_gradients(self._features(values, batch), batch.labels, weight, bias)
        return loss, {name: g for name, g in zip(HEAD, gradients, strict=True) if name in self._trained}

    def loss(self, values: Arrays, batch: Batch) -> float:
        weight, bias = (values[name] for name in HEAD)
        return cross_entropy(self._features(values, batch) @ weight.T + bias, batch.labels)

    loss_forward_only = loss

    def _features(self, values: Arrays, batch: Batch) -> np.ndarray:
        if "features" in batch.inputs:
            return batch.inputs["features"]
        return self._engine.infer(values, batch.inputs, ["features"])[0]


def objective(model: Model) -> GraphObjective | HeadObjective:
    """What the model's trained tensors call for."""
    return HeadObjective(model) if model.head_only else GraphObjective(model)
