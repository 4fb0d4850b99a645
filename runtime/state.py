"""What a state slot holds, and its bytes: a fixed head with lengths and SHA-256, a JSON header, tensors as safetensors.

0   8  "EDGESTA1"
8   8  length H of the header, unsigned, little-endian
16  8  length P of the tensors, the same
24  32 SHA-256 of bytes 0..23, header and tensors
56  H  header: JSON, UTF-8
... P  tensors: a safetensors file
"""

import hashlib
import json
import os
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ..inputs import NotJsonError, open_file, parse_json
from .manifest import BundleError, Manifest
from .schema import Within, build, plain
from .start import NOT_KNOWN

MAGIC = b"EDGESTA1"
SCHEMA = "edge-adapt/state/1"
_HEAD = struct.Struct("<8sQQ")
_DIGEST_BYTES = 32
_START = _HEAD.size + _DIGEST_BYTES

Tensors = Mapping[str, np.ndarray]

_MOST = 10**15
Count = Annotated[int, Within(0, _MOST)]
"""How often something was done: a device that saves a thousand times a second needs thirty thousand years for more."""

CURRENT = "state/"
"""Prefix of the tensors that predictions use."""


@dataclass(frozen=True)
class Owner:
    """The bundle a state belongs to: its manifest's digest, and names for the message when it is another one."""

    bundle: str
    model: str
    method: str

    @classmethod
    def of(cls, manifest: Manifest) -> "Owner":
        return cls(manifest.manifest_sha256, manifest.model.name, manifest.method)


@dataclass(frozen=True)
class OptimiserRecord:
    """Where an optimiser stands: `updates` made (AdamW's t), and the factor on its rates after steps were undone."""

    kind: str
    updates: Count = 0
    rate_factor: Annotated[float, Within(0, 1)] = 1.0
    mean_square: Annotated[float, Within(0, sys.float_info.max)] = 0.0


@dataclass(frozen=True)
class RunRecord:
    """An unfinished training run: enough to go on to the same numbers as without the interruption.

    `identity` is a digest of data and options; `random` the generator's state at the start of `epoch`, from which the
    order of its batches follows; `batches_done` of them are done. `best_epoch` is the one with the least held-out loss.
    """

    identity: str
    optimiser: OptimiserRecord
    random: Mapping[str, Any]
    epoch: Count
    batches_done: Count
    best_epoch: Annotated[int, Within(-1, _MOST)] = -1
    best_loss: float = 0.0
    best_updates: Count = 0
    undone: Count = 0


@dataclass(frozen=True)
class Header:
    """The JSON header of a slot.

    `counter` grows by one with every save; the slot with the larger one is the newer. `step` counts optimiser steps of
    the current state since export, `taught` names the reserved classes in use. `results` are figures about the current
    state; `optimiser` belongs to a session that trains step by step, `run` to an unfinished run. `start_sha256` is the
    digest of the state that the training of the current one started from: as exported, imported or reset.
    """

    owner: Owner
    counter: Count = 0
    step: Count = 0
    taught: tuple[str, ...] = ()
    note: str = "exported"
    saved_unix_seconds: Annotated[float, Within(0, 1e11)] = 0.0
    results: Mapping[str, Any] = field(default_factory=dict)
    optimiser: OptimiserRecord | None = None
    run: RunRecord | None = None
    replay_seen: Count = 0
    mezo_rates: Mapping[str, float] = field(default_factory=dict)
    start_sha256: str = NOT_KNOWN
    schema: str = SCHEMA


@dataclass(frozen=True)
class Snapshot:
    """A header and its tensors, by prefixed name (`docs/bundle.md` lists the prefixes)."""

    header: Header
    tensors: Tensors

    def part(self, prefix: str) -> dict[str, np.ndarray]:
        """The tensors under a prefix, without it."""
        return {name[len(prefix) :]: value for name, value in self.tensors.items() if name.startswith(prefix)}

    def alone(self) -> "Snapshot":
        """The current state only: no run, no optimiser, no replayed examples. What history keeps."""
        kept = {name: value for name, value in self.tensors.items() if name.startswith((CURRENT, "mezo/"))}
        return Snapshot(replace(self.header, optimiser=None, run=None, replay_seen=0), kept)


class DamagedStateError(ValueError):
    """The bytes are no slot: cut off, or changed."""


def prefixed(prefix: str, tensors: Tensors) -> dict[str, np.ndarray]:
    """The tensors with `prefix` before their names."""
    return {prefix + name: value for name, value in tensors.items()}


def encode(snapshot: Snapshot) -> bytes:
    """The bytes of a slot file."""
    header = json.dumps(plain(snapshot.header), ensure_ascii=False, allow_nan=False).encode()
    payload = save({name: np.asarray(value, order="C") for name, value in snapshot.tensors.items()})
    head = _HEAD.pack(MAGIC, len(header), len(payload))
    return head + hashlib.sha256(head + header + payload).digest() + header + payload


def read_slot(path: Path, most_bytes: int) -> Snapshot:
    """The snapshot in a slot file, which is not read where it is longer than `most_bytes`, or than it says itself.

    See `decode` for what it raises; `OSError` for a file that cannot be read, or is none.
    """
    with open_file(path, sys.maxsize, follow=False) as file:
        length = os.fstat(file.fileno()).st_size
        _require_length(file.read(_START), length)
        if length > most_bytes:
            raise DamagedStateError(f"{length} bytes, and no state of this bundle takes more than {most_bytes}")
        file.seek(0)
        return decode(file.read(length))


def decode(content: bytes) -> Snapshot:
    """The reverse of `encode`. Raises `DamagedStateError` for bytes that are not exactly what was written.

    Raises `BundleError` for an intact slot of another schema.
    """
    header_length = _require_length(content, len(content))
    digest = hashlib.sha256(content[: _HEAD.size])
    digest.update(memoryview(content)[_START:])
    if digest.digest() != content[_HEAD.size : _START]:
        raise DamagedStateError("the checksum does not match")
    try:
        parsed = parse_json(content[_START : _START + header_length])
    except NotJsonError as error:
        raise DamagedStateError(f"its header is no JSON ({error})") from error
    schema = parsed.get("schema") if isinstance(parsed, dict) else None
    if schema != SCHEMA:
        if isinstance(schema, str) and schema.startswith(SCHEMA.rpartition("/")[0]):
            raise BundleError(f"the state has schema {schema!r}; this edge-adapt reads {SCHEMA!r}: update it")
        raise DamagedStateError("its header names no schema")
    try:
        return Snapshot(build(Header, parsed, "its header"), load(content[_START + header_length :]))
    except ValueError as error:
        raise DamagedStateError(str(error)) from error
    except (SafetensorError, KeyError) as error:
        raise DamagedStateError(f"its tensors are no safetensors file ({error})") from error


def _require_length(head: bytes, length: int) -> int:
    """Raise `DamagedStateError` unless a file of this length can start so; returns the length of its header."""
    if len(head) < _START:
        raise DamagedStateError(f"only {length} bytes")
    magic, header, payload = _HEAD.unpack_from(head)
    if magic != MAGIC:
        raise DamagedStateError("does not start as a state does")
    if length != _START + header + payload:
        raise DamagedStateError(f"{length} bytes, not {_START + header + payload}")
    return int(header)
