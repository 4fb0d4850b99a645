"""Digital products in a 16-bit format, by torch's autocast: what a model multiplies outside of cells."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .formats import DEFAULT

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
ENTRIES = ("forward", "features", "features_of", "features_to_store")
"""Of an `AdaptedModel`, what runs some of it."""


def compute_in(model: Any, numbers: str) -> torch.dtype | None:
    """From now on a model's matrix products, but for those of a reader that leaves autocast, take and give numbers of
    this format; sums inside a product, norms and what comes out of the model are fp32. Returns the type; None: fp32.
    """
    if numbers == DEFAULT:
        return None
    dtype = DTYPES[numbers]
    for name in ENTRIES:
        setattr(model, name, _cast(getattr(model, name), dtype))
    model.head.forward = _cast(model.head.forward, dtype)
    return dtype


def _cast(run: Callable[..., Any], dtype: torch.dtype) -> Callable[..., Any]:
    def rounded(*given: Any, **named: Any) -> Any:
        with torch.autocast("cpu", dtype=dtype):
            return _float(run(*given, **named))

    return rounded


def _float(found: Any) -> Any:
    if isinstance(found, tuple):
        return tuple(map(_float, found))
    return found.float() if isinstance(found, Tensor) and found.is_floating_point() else found
