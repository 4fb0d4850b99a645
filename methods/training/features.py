"""What the head sees of examples: batches as tensors, and the features of all of them in one pass."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ...workloads.batches import IGNORED, Batch, Labels, batches, by_length
from ...workloads.images import ImageBatch, Images
from ..costs import EVALUATION_BATCH
from .run import PassSize

if TYPE_CHECKING:
    from ..base import Adaptation

Encoded = Sequence[Sequence[int]] | Images


def as_tensors(batch: Batch | ImageBatch) -> tuple[Tensor, Tensor, Tensor]:
    """input_ids (batch, tokens) or pixel_values (batch, channels, side, side), attention_mask (batch, tokens) and
    labels (batch,) as tensors; all but pixels int64.
    """
    return (
        torch.as_tensor(batch.inputs),
        torch.as_tensor(batch.attention_mask, dtype=torch.int64),
        torch.as_tensor(batch.labels, dtype=torch.int64),
    )


@torch.no_grad()
def extract_features(
    adaptation: "Adaptation",
    encoded: Encoded,
    labels: Labels,
    size: PassSize | None = None,
    stored: dict[int, tuple[Tensor, ...]] | None = None,
) -> tuple[Tensor, Tensor]:
    """Features (n, width) of the examples and their labels (n,), in one forward pass over them; of all words of the
    examples, where these are tagged.

    The rows come in order of length, not in the order given. `size` is added to when given. `stored` gets the hidden
    states (tokens, hidden_size) that training goes on from, one tensor for each level, by the number of the example.
    """
    model, features, ordered, done = adaptation.module, [], [], 0
    order = np.arange(len(encoded)) if isinstance(encoded, Images) else by_length(encoded)
    for batch in batches(encoded, labels, EVALUATION_BATCH, order=order):
        input_ids, mask, target = as_tensors(batch)
        kept = target != IGNORED
        if stored is None:
            found = model.features(input_ids, mask)
        else:
            found, states = model.features_to_store(input_ids, mask)
            lengths = mask.sum(1).tolist()
            for row, example in enumerate(order[done : done + len(mask)].tolist()):
                stored[example] = tuple(level[row, : lengths[row]].clone() for level in states)
        features.append(found[kept])
        ordered.append(target[kept])
        done += len(mask)
        if size is not None:
            size.add(batch)
    return torch.cat(features), torch.cat(ordered)
