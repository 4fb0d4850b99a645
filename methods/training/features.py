"""What the head sees of examples: batches as tensors, and the features of all of them in one pass."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...workloads.batches import IGNORED, Batch, Labels, batches
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
    adaptation: "Adaptation", encoded: Encoded, labels: Labels, size: PassSize | None = None
) -> tuple[Tensor, Tensor]:
    """Features (n, hidden_size) of the examples and their labels (n,), in one forward pass over them; of all words of
    the examples, where these are tagged.

    The rows come in order of length, not in the order given. `size` is added to when given.
    """
    features, ordered = [], []
    for batch in batches(encoded, labels, EVALUATION_BATCH):
        input_ids, mask, target = as_tensors(batch)
        kept = target != IGNORED
        features.append(adaptation.module.features(input_ids, mask)[kept])
        ordered.append(target[kept])
        if size is not None:
            size.add(batch)
    return torch.cat(features), torch.cat(ordered)
