"""How much memory training needs, known before it runs: a line through measured peaks, and what a budget allows.

Peak resident bytes = libraries + bundle + t * batch * tokens + p * batch * tokens^2: activations grow with the tokens,
attention scores with their pairs. The last three numbers are measured when a bundle is exported and stand in its
manifest; the libraries are taken as they are on this machine.
"""

import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import EdgeAdaptError, UsageError
from .measure import resident

LONGEST_MEASURED = 128


@dataclass(frozen=True)
class MemoryModel:
    """Bytes: `fixed` of an open bundle, `per_token` and `per_pair` of tokens in a batch."""

    fixed: float
    per_token: float
    per_pair: float

    @classmethod
    def of(cls, plan: Mapping[str, float]) -> "MemoryModel":
        """From the manifest's `plan`. Raises `UsageError` when the bundle was exported without it."""
        try:
            return cls(plan["fixed_bytes"], plan["token_bytes"], plan["pair_bytes"])
        except KeyError as error:
            raise UsageError(
                "the bundle has no memory figures; measure them here with `edge-adapt plan --measure`"
            ) from error

    def beyond_base(self, batch: int, tokens: int) -> float:
        """Bytes beyond those of the libraries."""
        return self.fixed + batch * tokens * (self.per_token + tokens * self.per_pair)

    def peak(self, batch: int, tokens: int, base: int | None = None) -> int:
        """Peak resident bytes of a training process; `base` defaults to what this process has resident now."""
        return round((base_bytes() if base is None else base) + self.beyond_base(batch, tokens))

    def parts(self, batch: int, tokens: int, budget: int, base: int | None = None) -> int:
        """Into how many parts a batch must be cut to stay within `budget` bytes.

        Raises `UsageError` when not even one example fits.
        """
        base = base_bytes() if base is None else base
        for count in range(1, batch + 1):
            if self.peak(math.ceil(batch / count), tokens, base) <= budget:
                return count
        raise UsageError(
            f"a memory budget of {budget / 1e6:.0f} MB is too small: one text of {tokens} tokens at a time needs "
            f"{self.peak(1, tokens, base) / 1e6:.0f} MB"
        )


def base_bytes() -> int:
    """Resident bytes of this process once the libraries are loaded, which this does."""
    import onnxruntime  # noqa: F401
    import tokenizers  # noqa: F401

    return resident("VmRSS")


def measured(folder: Path, batch: int, tokens: int, threads: int = 1) -> dict[str, int]:
    """`base_bytes` and `peak_bytes` of a training process of this shape, run as a child.

    Raises `EdgeAdaptError` with the child's last line when it fails.
    """
    command = [sys.executable, "-m", f"{__package__}.measure", str(folder), *map(str, (batch, tokens, threads))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        raise EdgeAdaptError(f"measuring the memory of {folder} failed: {lines[-1]}")
    return json.loads(done.stdout)


def fit(shapes: Sequence[tuple[int, int]], beyond: Sequence[float]) -> MemoryModel:
    """The line through measured bytes beyond the libraries: least relative squares, no coefficient below 0."""
    rows = np.array([(1.0, batch * tokens, batch * tokens**2) for batch, tokens in shapes])
    target = np.array(beyond, float)
    best: tuple[float, np.ndarray] | None = None
    for kept in ((0, 1, 2), (0, 1), (0, 2), (0,)):
        found = np.zeros(3)
        found[list(kept)] = np.linalg.lstsq(rows[:, kept] / target[:, None], np.ones(len(target)), rcond=None)[0]
        error = float((((rows @ found) / target - 1) ** 2).sum())
        if (found >= 0).all() and (best is None or error < best[0]):
            best = error, found
    if best is None:
        raise EdgeAdaptError(f"no memory model fits the measurements {dict(zip(shapes, beyond, strict=True))}")
    return MemoryModel(*best[1].tolist())


def shapes_to_measure(max_tokens: int, fixed: bool = False) -> list[tuple[int, int]]:
    """Batch and tokens that tell the three numbers of the line apart, none beyond what the bundle takes; `fixed`: all
    examples have the same number of tokens, as images do.
    """
    if fixed:
        return [(batch, max_tokens) for batch in (1, 2, 4, 8)]
    longest = min(max_tokens, LONGEST_MEASURED)
    short, middle = max(1, longest // 8), max(1, longest // 2)
    return [(1, short), (8, short), (4, middle), (8, middle), (16, middle), (8, longest)]


def calibrate(folder: Path, max_tokens: int, threads: int = 1, fixed: bool = False) -> dict[str, float]:
    """The manifest's `plan`: measure the peaks of some shapes, each in a process of its own, and fit the line."""
    shapes = shapes_to_measure(max_tokens, fixed)
    found = [measured(folder, batch, tokens, threads) for batch, tokens in shapes]
    model = fit(shapes, [peaks["peak_bytes"] - peaks["base_bytes"] for peaks in found])
    return {
        "fixed_bytes": round(model.fixed),
        "token_bytes": round(model.per_token, 1),
        "pair_bytes": round(model.per_pair, 3),
        "base_bytes": found[0]["base_bytes"],
        "threads": threads,
    }
