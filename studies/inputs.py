"""What a simulation depends on, as SHA-256 digests of contents: equal digests, equal inputs, wherever the files lie.

The digests are taken of what was loaded, not of files: a chip with its cell, periphery and `--set` numbers in place, a
model's weights and tokenizer, a pool's matrices, a task's examples. The time and the place of a file do not count, and
neither does a file that nothing is read from.
"""

import dataclasses
import enum
import hashlib
import importlib.metadata
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..devices import Chip
from ..errors import UsageError
from ..inputs import STATE_BYTES, open_file
from ..paths import expanded
from ..workloads.models import Backbone
from ..workloads.pools import Pool
from ..workloads.task import Example, Task

if TYPE_CHECKING:
    from .variants import Variant

DECIDING = ("numpy", "torch", "numba", "transformers", "tokenizers", "safetensors")
"""Packages whose versions may change a result; those of pictures and bundles come with `versions_that_decide`."""

_CODE = ("devices", "workloads", "simulator", "methods", "exporters", "runtime", "studies")  # rooms that make numbers
_MODEL_NOTES = ("_name_or_path", "transformers_version", "dtype", "torch_dtype")  # of a config: not what it computes
_TASK_PLACE = ("source", "messages")  # name the file: see task_sha256
_POOL_PLACE = ("path", "messages")
# An example is texts and whole numbers, alone or in tuples: `repr` tells any two of them apart, and there are many.
_OF_EXAMPLE = attrgetter(*(field.name for field in dataclasses.fields(Example) if field.name != "image"))


def chip_sha256(chip: Chip) -> str:
    """Of every number of a chip with its source: array, cell, periphery, and what `--set` changed."""
    return _sha256("chip", chip)


def model_sha256(backbone: Backbone) -> str:
    """Of a model as it is loaded: name, weights, buffers, configuration, tokenizer or how images are prepared."""
    from tokenizers import Tokenizer

    reader = backbone.preprocessor
    said: Any = backbone.module.config
    config = {key: value for key, value in said.to_dict().items() if key not in _MODEL_NOTES}
    buffers = {name: buffer.detach().cpu().numpy() for name, buffer in backbone.module.named_buffers()}
    facts = {
        field.name: getattr(backbone, field.name)
        for field in dataclasses.fields(backbone)
        if field.name not in ("module", "preprocessor", "paired", "tagged")
    }
    prepares = reader.to_str() if isinstance(reader, Tokenizer) else reader
    return _sha256("model", [facts, config, buffers, prepares])


def pool_sha256(pool: Pool) -> str:
    """Of the modules of a pool: names, ranks, scales and every number of their matrices."""
    return _sha256("pool", _fields(pool, _POOL_PLACE))


def task_sha256(task: Task) -> str:
    """Of every example of a task, in its order and with its label, of its name, labels, split and messages."""
    messages = [message.replace(task.source, task.name) for message in task.messages]
    return _sha256("task", [_fields(task, _TASK_PLACE), messages])


def methods_sha256(variants: "Iterable[Variant]") -> str:
    """Of methods with their options, recipes and placements, and of the files that they start from."""
    found = []
    for variant in variants:
        method = variant.method
        start = _file_sha256(expanded(method.warm_start)) if method.warm_start else ""
        found.append([method.name, variant.placement, _fields(method, ("warm_start",)), start])
    return _sha256("methods", found)


@cache
def code_sha256() -> str:
    """Of the package's own code that makes numbers: an installation from a working copy changes without a version."""
    root = Path(__file__).parent.parent
    files = sorted(path for room in _CODE for path in (root / room).rglob("*.py"))
    return _sha256("code", {path.relative_to(root).as_posix(): _file_sha256(path) for path in files})


def versions_that_decide(of_images: bool = False, in_bundles: bool = False) -> dict[str, str]:
    """Package name to version, of all whose versions may change a result."""
    names = (*DECIDING, *(("pillow",) if of_images else ()), *(("onnxruntime", "onnx") if in_bundles else ()))
    return {name: importlib.metadata.version(name) for name in names}


def arithmetic() -> str:
    """How this processor multiplies, in words: results agree to the last bit only where this is the same."""
    import torch

    from ..simulator.arithmetic import product_arithmetic

    return f"{torch.backends.cpu.get_cpu_capability()}, products in {product_arithmetic()}"


def _fields(thing: Any, without: Sequence[str]) -> dict[str, Any]:
    return {field.name: getattr(thing, field.name) for field in dataclasses.fields(thing) if field.name not in without}


def _sha256(kind: str, thing: Any) -> str:
    digest = hashlib.sha256(kind.encode())
    _feed(digest, thing)
    return digest.hexdigest()


def _feed(digest: "hashlib._Hash", thing: Any) -> None:
    """Add plain data, arrays and dataclasses, each with its kind and size, so that no two things look the same.

    Fields that a dataclass leaves out of comparison count, too, but for the pictures of examples: their `text` is a
    digest of them. Raises TypeError for anything else, which would be left out silently.
    """
    if isinstance(thing, np.ndarray):
        digest.update(f"array {thing.dtype.str} {thing.shape};".encode())
        digest.update(np.ascontiguousarray(thing).tobytes())
    elif isinstance(thing, Example):
        digest.update(repr(_OF_EXAMPLE(thing)).encode("utf-8", "surrogatepass") + b";")
    elif dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        digest.update(f"{type(thing).__name__} ".encode())
        _feed(digest, _fields(thing, ()))
    elif isinstance(thing, Mapping):
        digest.update(f"mapping {len(thing)};".encode())
        for key in sorted(thing, key=str):
            _feed(digest, key)
            _feed(digest, thing[key])
    elif isinstance(thing, set | frozenset):
        _feed(digest, sorted(thing))
    elif isinstance(thing, list | tuple):
        digest.update(f"list {len(thing)};".encode())
        for item in thing:
            _feed(digest, item)
    elif isinstance(thing, enum.Enum):
        _feed(digest, [type(thing).__name__, thing.value])
    elif thing is None or isinstance(thing, str | bytes | bool | int | float | np.generic):
        text = repr(thing).encode("utf-8", "surrogatepass")
        digest.update(f"{type(thing).__name__} {len(text)};".encode() + text)
    elif isinstance(thing, type):
        _feed(digest, ["class", thing.__name__])
    else:
        raise TypeError(f"no digest of a {type(thing).__name__}")


def _file_sha256(path: Path) -> str:
    try:
        with open_file(path, STATE_BYTES) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
