"""What callers give, checked before anything is done with it: a mistake is a `UsageError` that names the argument."""

import numbers
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from ..devices import Cell, Chip
from ..errors import UsageError, unknown_name


def require_chip(chip: Any) -> None:
    """Raise UsageError unless this is a chip."""
    if not isinstance(chip, Chip):
        raise UsageError(f"chip must be what load_chip(name) returns; got {type(chip).__name__} {chip!r:.40}")


def require_cell(cell: Any) -> None:
    """Raise UsageError unless this is a cell."""
    if not isinstance(cell, Cell):
        raise UsageError(
            f"cell must be what load_cell(name) returns, or chip.cell; got {type(cell).__name__} {cell!r:.40}"
        )


def require_generator(rng: Any) -> None:
    """Raise UsageError unless this is a generator of random numbers."""
    if not isinstance(rng, np.random.Generator):
        raise UsageError(f"rng must be a numpy Generator, such as numpy.random.default_rng(0); got {rng!r:.40}")


def require_time(seconds: Any, last: float) -> None:
    """Raise UsageError unless a clock whose last write was at `last` can be set to this."""
    if not isinstance(seconds, numbers.Real) or not last <= seconds < np.inf:  # type: ignore[operator]
        raise UsageError(
            f"the clock cannot be set to {seconds!r} s: it shows finite seconds, and the last write was at {last:g} s"
        )


def require_own(own: Any, names: Collection[str]) -> None:
    """Raise UsageError unless these are names of matrices."""
    if isinstance(own, str):
        raise UsageError(f"own must be names of matrices, such as ({own!r},); got the text {own!r}")
    if not isinstance(own, Iterable):
        raise UsageError(f"own must be names of matrices, such as ('q', 'v'), or () for none; got {own!r:.40}")
    for name in own:
        if name not in names:
            raise UsageError(f"own: {unknown_name('matrix', str(name), names)}")


def require_count(count: Any, what: str) -> None:
    """Raise UsageError unless this is a number of things."""
    if not isinstance(count, numbers.Real) or not 0 <= count < np.inf:  # type: ignore[operator]
        raise UsageError(f"{what} must be 0 or more; got {count!r:.40}")


def require_weights(weights: Any) -> None:
    """Raise UsageError unless these are matrices by name."""
    if not isinstance(weights, Mapping):
        raise UsageError(f'weights must map names to matrices, such as {{"w": matrix}}; got {type(weights).__name__}')


def real_numbers(values: Any, what: str) -> np.ndarray:
    """Values as an array of real numbers."""
    try:
        array = np.asarray(values)
    except ValueError:
        raise UsageError(f"{what} must be an array of numbers; its rows have different lengths") from None
    if array.dtype.kind not in "buif":
        raise UsageError(f"{what} holds {array.dtype} values; cells and converters work with real numbers")
    return array


def checked_weight(name: Any, weight: Any) -> np.ndarray:
    """The matrix as float32; UsageError, with its name, for what cells cannot hold."""
    if not isinstance(name, str):
        raise UsageError(f"a matrix must have a text for a name; got {name!r:.40}")
    array = real_numbers(weight, repr(name))
    with np.errstate(over="ignore"):
        single = array.astype(np.float32, copy=False)
    if not np.isfinite(single).all():
        raise UsageError(f"{name!r} holds NaN or infinite values; it cannot be written to cells")
    return single
