"""`tokenizer.json` of a bundle or a model folder: read where it cannot do more than tokenise."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from ..errors import EdgeAdaptError
from ..inputs import require_file
from .manifest import BundleError

TOKENIZER_BYTES = 40 << 20
"""No tokenizer file that is read here is longer: one of 256,000 words in all languages has 33 MB."""
_GROWTH = 64
"""By so much a tokenizer may lengthen a text before it cuts it into words: a letter may become a few."""


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in a file. Raises `BundleError` for one that cannot be read, or would blow texts up."""
    try:
        require_file(path, TOKENIZER_BYTES)
    except OSError as error:
        raise BundleError(f"{path} is no tokenizer: {error.strerror}") from error
    with working(path):
        tokenizer = Tokenizer.from_file(str(path))
        normalizer = tokenizer.normalizer
        if normalizer is not None and (growth := _growth(json.loads(normalizer.__getstate__()))) > _GROWTH:
            raise EdgeAdaptError(f"its normalizer makes texts up to {growth} times as long, more than {_GROWTH}")
    return tokenizer


@contextmanager
def working(path: Path) -> Iterator[None]:
    """Inside, whatever the tokenizer of a file breaks on is a `BundleError` that names it."""
    try:
        yield
    except BaseException as error:
        # The library raises the bare class, and what its Rust code panics with is no Exception at all.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        said = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise BundleError(f"{path} is no tokenizer that can be used: {said}") from error


def _growth(normalizer: dict[str, Any]) -> int:
    """How many times as long a normalizer can make a text of one letter."""
    if normalizer.get("type") == "Sequence":
        product = 1
        for part in normalizer.get("normalizers", ()):
            product *= min(_growth(part), 1 << 20)
        return product
    if normalizer.get("type") == "Replace":
        return max(1, len(str(normalizer.get("content", ""))))
    return 1 + len(str(normalizer.get("prepend", ""))) if normalizer.get("type") == "Prepend" else 1
