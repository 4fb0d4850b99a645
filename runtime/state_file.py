"""A state in a file of its own, as `edge-adapt state export` writes it: to be kept, sent, merged with others, and read
back into a bundle.

A safetensors file with the tensors by name; as metadata the bundle it belongs to, its labels, the updates since export,
and on how many examples the last run trained it, where one did.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from ..errors import UsageError
from ..inputs import json_text, near_file, parse_json, read_bytes
from .fitting import misfit
from .manifest import Manifest
from .state import CURRENT, Header, Snapshot, prefixed
from .store import StateStore

PAIRS = "mezo/"
"""Begins the names of tensors that tell how a state was trained, and are no part of it."""

_MOST_DIGITS = 15


@dataclass(frozen=True)
class StateFile:
    """What a file holds: a state of the bundle, the names of the classes in use, and on how many examples it was
    trained, where the file says so.
    """

    path: Path
    snapshot: Snapshot
    labels: tuple[str, ...]
    examples: int | None

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """The state by name."""
        return self.snapshot.part(CURRENT)


def metadata(manifest: Manifest, labels: tuple[str, ...], step: int, examples: int | None) -> dict[str, str]:
    """The metadata of a file."""
    found = {
        "bundle": manifest.manifest_sha256,
        "model": manifest.model.name,
        "fingerprint": manifest.model.fingerprint,
        "method": manifest.method,
        "labels": json_text(labels),
        "step": str(step),
    }
    return found if examples is None else found | {"examples": str(examples)}


def examples_of(header: Header) -> int | None:
    """On how many examples the run trained that a state comes from; None where that is not known."""
    count = header.results.get("examples")
    return count if isinstance(count, int) and count > 0 else None


def read_state_file(path: Path, store: StateStore) -> StateFile:
    """The state in a file, which must be one of the store's bundle.

    Raises:
        UsageError: the file cannot be read, holds no state or one of another bundle, or is damaged.
    """
    manifest = store.manifest
    content = _content(path, store.most_bytes)
    told, tensors = _parsed(path, content)
    mine = manifest.manifest_sha256
    if "bundle" not in told:
        raise UsageError(
            f"{path} does not say which bundle it is of; write one that does, with: edge-adapt state export BUNDLE FILE"
        )
    if told["bundle"] != mine:
        given = f"{told.get('model', '')[:60]!r}, {told.get('method', '')[:60]!r}, manifest {told['bundle'][:12]!r}"
        raise UsageError(
            f"{path} is a state of another bundle ({given}), not of {store.bundle} "
            f"({manifest.model.name!r}, {manifest.method!r}, manifest {mine[:12]!r})"
        )
    labels = _labels(path, told.get("labels", ""))
    known = len(manifest.labels)
    if labels[:known] != manifest.labels:
        raise UsageError(f"{path} is damaged: its labels are not those of the bundle")
    header = Header(store.owner, step=_number(path, told, "step") or 0, taught=labels[known:])
    state = {name: value for name, value in tensors.items() if not name.startswith(PAIRS)}
    snapshot = Snapshot(header, prefixed(CURRENT, state))
    if problem := misfit(manifest, snapshot):
        raise UsageError(f"{path} holds no state of this bundle: {problem}")
    return StateFile(path, snapshot, labels, _number(path, told, "examples"))


def _content(path: Path, most_bytes: int) -> bytes:
    try:
        return read_bytes(path, most_bytes, follow=False)
    except OSError as error:
        if isinstance(error, IsADirectoryError):
            raise UsageError(f"{path} is a folder; give the file that `edge-adapt state export` wrote") from error
        near = near_file(path) if isinstance(error, FileNotFoundError) else ""
        raise UsageError(f"{path} cannot be read: {error.strerror or error}{near}") from error


def _parsed(path: Path, content: bytes) -> tuple[Mapping[str, str], dict[str, np.ndarray]]:
    try:
        tensors = load(content)
        (length,) = struct.unpack_from("<Q", content)
        told = parse_json(content[8 : 8 + length]).get("__metadata__", {})
    except (SafetensorError, KeyError, ValueError, struct.error) as error:
        raise UsageError(f"{path} is not a file that `edge-adapt state export` wrote: {error}") from error
    return told, tensors


def _labels(path: Path, text: str) -> tuple[str, ...]:
    try:
        found = parse_json(text)
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(label, str) for label in found):
        raise UsageError(f"{path} is damaged: its labels are no list of names")
    return tuple(found)


def _number(path: Path, told: Mapping[str, str], name: str) -> int | None:
    text = told.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise UsageError(f"{path} is damaged: its {name} is {text[:40]!r}, which is no whole number")
    return int(text)
