"""Proof that a bundle computes what torch computes: loss, logits and every gradient, on many shapes, and every time.

Checked on random and on real batches, small and large, with one thread and with all: an operator that is wrong only
where threads meet, or only now and then, shows on a large batch run twice with all of them.
"""

import functools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from ..errors import EdgeAdaptError
from ..methods import Adaptation
from ..methods.class_means import set_class_mean_head
from ..runtime.engine import open_graph
from ..runtime.manifest import Graph
from ..workloads.batches import Batch, batches
from ..workloads.images import ImageBatch, Images
from .graph import GRADIENT, LABELS, LOSS, features_of, inputs_of

TOLERANCE = 1e-4
"""Largest difference allowed, relative to the largest number of the same tensor."""

FACTOR, BOUND = 2.0, 1e-3
"""A gradient further from torch's float32 than that is decided by torch's float64: the graph's may be `TOLERANCE` from
it; where torch's float32 is further from it itself, `FACTOR` times as far as that is, and never further than `BOUND`.
"""

SHAPES = ((1, 1), (1, 16), (2, 9), (3, 48), (16, 48), (32, 64))
"""Batch and tokens of the random batches; longer ones than the model takes are cut."""

IMAGES = (1, 2, 3, 16)
"""Images in the random batches."""

Feeds = dict[str, np.ndarray]


@dataclass(frozen=True)
class Distance:
    """Relative distances of a gradient on a batch: graph and torch's float32 from each other, and from its float64."""

    where: str
    value: str
    graph_from_torch: float
    graph_from_float64: float
    torch_from_float64: float

    @property
    def allowed(self) -> float:
        """How far from float64 the graph may be: further than `TOLERANCE` only where torch's float32 is, too."""
        return min(BOUND, FACTOR * self.torch_from_float64) if self.torch_from_float64 > TOLERANCE else TOLERANCE


@dataclass
class Parity:
    """Largest relative difference of each kind, over all batches and thread counts.

    `by_float64` are the gradients that float64 decided about, the worst of each; they count in no other figure.
    """

    loss: float = 0.0
    logits: float = 0.0
    gradient: float = 0.0
    worst_gradient: str = ""
    batches: list[list[int]] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    by_float64: dict[str, Distance] = field(default_factory=dict)

    @property
    def worst(self) -> float:
        return max(self.loss, self.logits, self.gradient)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for the manifest."""
        return {
            "tolerance": TOLERANCE,
            "loss": self.loss,
            "logits": self.logits,
            "gradient": self.gradient,
            "worst_gradient": self.worst_gradient,
            "batches": self.batches,
            "threads": self.threads,
            "repeated_runs": "bit-equal",
            "by_float64": [asdict(distance) for distance in self.by_float64.values()],
        }


def check_parity(
    folder: Path,
    graphs: Mapping[str, Graph],
    adaptation: Adaptation,
    real: Sequence[Batch | ImageBatch],
    vocabulary: int,
    taught: int,
) -> Parity:
    """Compare the graphs in `folder` with the adaptation they were made from.

    Args:
        real: batches of the task.
        vocabulary: random token ids lie below it; 0 for images.
        taught: classes that are not reserved: labels lie below it.

    Raises:
        EdgeAdaptError: a difference above `TOLERANCE` that float64 does not excuse (`FACTOR`), a value that is not
            finite, or runs that differ.
    """
    found = Parity(threads=sorted({1, os.cpu_count() or 1}))
    cases = [_inputs(batch) for batch in real]
    if vocabulary:
        longest = max(inputs["input_ids"].shape[1] for inputs, _ in cases)
        cases += _random_texts(vocabulary, taught, longest, _mask_token(adaptation))
    else:
        cases += _random_images(next(iter(cases[0][0].values())).shape[1:], taught)
    found.batches = [list(next(iter(inputs.values())).shape) for inputs, _ in cases]
    sessions = {
        (name, threads): open_graph(folder, _patient(graph), threads)
        for name, graph in graphs.items()
        for threads in found.threads
    }
    kept = adaptation.state_dict()
    try:
        for number, (inputs, labels) in enumerate(cases):
            assert tuple(inputs) == inputs_of(adaptation)
            _draw_state(adaptation, kept, inputs, labels, taught, number)
            state = {name: value.detach().numpy() for name, value in adaptation.state.items()}
            expected = _expected(adaptation, inputs, labels, taught)
            exact = functools.cache(functools.partial(_exact, adaptation, inputs, labels, taught))
            for (name, threads), session in sessions.items():
                feeds = inputs | state | ({LABELS: labels} if name == "train" else {})
                shape = " x ".join(map(str, found.batches[number]))
                where = f"{name}.onnx on {shape}, {threads} threads"
                actual = _run(session, feeds, where, times=2 if threads == found.threads[-1] else 1)
                if "logits" in actual:  # reserved classes are at -10000, beside which nothing else would count
                    actual["logits"] = actual["logits"][:, :taught]
                _compare(found, actual, expected, exact, where)
    finally:
        adaptation.load_state_dict(kept)
    return found


def _patient(graph: Graph) -> Graph:
    """The same graph with threads that sleep while they wait: on a busy machine torch's and those of many sessions
    would take the cores from each other. What is computed stays the same.
    """
    config = {**graph.session.config, "session.intra_op.allow_spinning": "0"}
    return replace(graph, session=replace(graph.session, config=config))


def _inputs(batch: Batch | ImageBatch) -> tuple[Feeds, np.ndarray]:
    """What the graphs take of a batch."""
    if isinstance(batch, ImageBatch):
        return {"pixel_values": batch.pixel_values}, batch.labels
    return {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}, batch.labels


def _random_images(shape: tuple[int, ...], taught: int) -> Iterator[tuple[Feeds, np.ndarray]]:
    rng = np.random.default_rng(0)
    for count in IMAGES:
        yield {"pixel_values": rng.normal(size=(count, *shape)).astype(np.float32)}, rng.integers(0, taught, count)


def _mask_token(adaptation: Adaptation) -> int | None:
    """The id of a masked token, where the model knows it: ESM-2 divides by the share of a text that is not masked, and
    counts masks among the padding, too.
    """
    found = getattr(getattr(adaptation.module.encoder, "config", None), "mask_token_id", None)
    return found if isinstance(found, int) else None


def _random_texts(
    vocabulary: int, taught: int, longest: int, mask_token: int | None
) -> Iterator[tuple[Feeds, np.ndarray]]:
    """`mask_token`: left out, in front of padding and in it."""
    rng = np.random.default_rng(0)
    for examples, tokens in ((examples, min(tokens, longest)) for examples, tokens in SHAPES):
        lengths = rng.integers(1, tokens + 1, examples)
        lengths[0] = tokens
        mask = (np.arange(tokens) < lengths[:, None]).astype(np.int64)
        ids = rng.integers(0, vocabulary, (examples, tokens))
        if mask_token is not None:
            ids[ids == mask_token] = (mask_token + 1) % vocabulary
        yield _inputs(Batch(ids, mask, rng.integers(0, taught, examples)))


@torch.no_grad()
def _draw_state(
    adaptation: Adaptation,
    initial: Mapping[str, torch.Tensor],
    inputs: Feeds,
    labels: np.ndarray,
    taught: int,
    seed: int,
) -> None:
    """A state as it occurs in training: the class-mean head of the batch, and everything moved by a few per cent.

    The exported head is zero, and so is then every gradient but its own. Reserved classes keep their values.
    """
    adaptation.load_state_dict(initial)
    head = adaptation.module.head
    bias = head.bias.clone()
    set_class_mean_head(head, _features(adaptation, inputs), torch.as_tensor(labels), 1.0)
    generator = torch.Generator().manual_seed(seed)
    for parameter in adaptation.state.values():
        spread = 0.05 * float(parameter.abs().mean()) + 1e-3
        parameter.add_(spread * torch.randn(parameter.shape, generator=generator))
    head.weight[taught:] = 0.0
    head.bias[taught:] = bias[taught:]


def _features(adaptation: Adaptation, inputs: Feeds) -> torch.Tensor:
    return features_of(adaptation.module, tuple(map(torch.as_tensor, inputs.values())))


def _expected(adaptation: Adaptation, inputs: Feeds, labels: np.ndarray, taught: int) -> Feeds:
    features = _features(adaptation, inputs)
    logits = adaptation.module.head(features)
    loss = adaptation.recipe.objective.loss(logits, torch.as_tensor(labels))
    names = adaptation.trained_names
    gradients = torch.autograd.grad(loss, [adaptation.state[name] for name in names]) if names else ()
    values = {LOSS: loss, "logits": logits[:, :taught], "features": features}
    values |= {GRADIENT + name: gradient for name, gradient in zip(names, gradients, strict=True)}
    return {name: value.detach().numpy() for name, value in values.items()}


def _exact(adaptation: Adaptation, inputs: Feeds, labels: np.ndarray, taught: int) -> Feeds:
    """What `_expected` gives, computed in float64; the model is then as it was."""
    tensors = [*adaptation.module.parameters(), *adaptation.module.buffers()]
    kept = [tensor.data for tensor in tensors]
    wide = {name: array.astype(np.float64) if array.dtype == np.float32 else array for name, array in inputs.items()}
    try:
        for tensor in tensors:
            if tensor.is_floating_point():
                tensor.data = tensor.data.double()
        return _expected(adaptation, wide, labels, taught)
    finally:
        for tensor, data in zip(tensors, kept, strict=True):
            tensor.data = data


def _run(session: onnxruntime.InferenceSession, feeds: Feeds, where: str, times: int) -> Feeds:
    names = [output.name for output in session.get_outputs()]
    first = session.run(names, feeds)
    for _ in range(times - 1):
        for name, one, other in zip(names, first, session.run(names, feeds), strict=True):
            if one.tobytes() != other.tobytes():
                raise EdgeAdaptError(f"{where}: {name} differs from one run to the next; the bundle was not written")
    return dict(zip(names, first, strict=True))


def _compare(found: Parity, actual: Feeds, expected: Feeds, exact: Callable[[], Feeds], where: str) -> None:
    for name, value in actual.items():
        difference = _difference(value, expected, name)
        if not difference <= TOLERANCE:  # also NaN
            if not name.startswith(GRADIENT):
                raise EdgeAdaptError(
                    f"{where}: {name} differs from torch by {difference:.2g} (relative), more than {TOLERANCE:g}; "
                    "the bundle was not written"
                )
            _decide(found, Distance(where, name, difference, *_from_float64(value, expected, exact(), name)))
        elif name == LOSS:
            found.loss = max(found.loss, difference)
        elif not name.startswith(GRADIENT):
            found.logits = max(found.logits, difference)
        elif difference > found.gradient:
            found.gradient, found.worst_gradient = difference, name.removeprefix(GRADIENT)


def _difference(value: np.ndarray, expected: Feeds, name: str) -> float:
    """Largest difference, relative to the largest number expected. A gradient that is nearly zero beside the others is
    compared with the largest of them.
    """
    scale = max((float(np.abs(v).max()) for n, v in expected.items() if n.startswith(GRADIENT)), default=1.0)
    floor = 1e-3 * scale if name.startswith(GRADIENT) else 1e-6
    return float(np.abs(value - expected[name]).max() / max(float(np.abs(expected[name]).max()), floor))


def _from_float64(value: np.ndarray, expected: Feeds, exact: Feeds, name: str) -> tuple[float, float]:
    return _difference(value, exact, name), _difference(expected[name], exact, name)


def _decide(found: Parity, distance: Distance) -> None:
    """Let float64 decide about a gradient that is too far from torch's float32."""
    finite = math.isfinite(distance.graph_from_torch) and math.isfinite(distance.torch_from_float64)
    if not (finite and distance.graph_from_float64 <= distance.allowed):
        raise EdgeAdaptError(
            f"{distance.where}: {distance.value} differs from torch by {distance.graph_from_torch:.2g} (relative), "
            f"more than {TOLERANCE:g}, and from its float64 by {distance.graph_from_float64:.2g}, torch's own float32 "
            f"by {distance.torch_from_float64:.2g}; the bundle was not written"
        )
    known = found.by_float64.get(distance.value)
    if known is None or distance.graph_from_torch > known.graph_from_torch:
        found.by_float64[distance.value] = distance


def real_batches(
    encoded: Sequence[Sequence[int]] | Images, labels: Sequence[int], sizes: Sequence[int] = (1, 8, 16)
) -> list[Batch | ImageBatch]:
    """One batch of each size from the first examples."""
    found: list[Batch | ImageBatch] = []
    for size in (size for size in sizes if size <= len(labels)):
        found += batches(encoded[:size], labels[:size], size)
    return found
