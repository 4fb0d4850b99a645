"""A state in a file of its own, as `edge-adapt state export` writes it: to be kept, sent, merged with others, and read
back into a bundle.

A safetensors file with the tensors by name; as metadata the bundle it belongs to, its labels, the updates since export,
on how many examples the last run trained it, where one did, and the digests of the state and of the one that its
training started from.
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
from .start import NOT_KNOWN, is_digest, state_digest
from .state import CURRENT, Header, Snapshot, prefixed
from .store import StateStore, same_state

PAIRS = "mezo/"
"""Begins the names of tensors that tell how a state was trained, and are no part of it."""

_MOST_DIGITS = 15


@dataclass(frozen=True)
class StateFile:
    """What a file holds: a state of the bundle, its digest, the names of the classes in use, and, where the file says
    so, on how many examples it was trained. The snapshot's header has the digest of what it was trained from.
    """

    path: Path
    snapshot: Snapshot
    labels: tuple[str, ...]
    examples: int | None
    digest: str

    @property
    def start(self) -> str:
        """The digest of the state that its training started from; `NOT_KNOWN` in files of earlier versions."""
        return self.snapshot.header.start_sha256

    @property
    def is_trained(self) -> bool:
        """Whether it is not just the state that training starts from."""
        return self.digest != self.start

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """The state by name."""
        return self.snapshot.part(CURRENT)


def metadata(
    manifest: Manifest,
    labels: tuple[str, ...],
    state: Mapping[str, np.ndarray],
    *,
    start: str,
    step: int,
    examples: int | None,
) -> dict[str, str]:
    """The metadata of the file of a state; `start` is the digest of what it was trained from, or `NOT_KNOWN`."""
    found = {
        "bundle": manifest.manifest_sha256,
        "model": manifest.model.name,
        "fingerprint": manifest.model.fingerprint,
        "method": manifest.method,
        "labels": json_text(labels),
        "step": str(step),
        "state_sha256": state_digest(state),
        "start_sha256": start,
        "examples": "" if examples is None else str(examples),
    }
    return {name: text for name, text in found.items() if text}


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
        _refuse_exported(path, tensors, store)
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
    header = Header(
        store.owner, step=_number(path, told, "step") or 0, taught=labels[known:],
        start_sha256=_digest(path, told, "start_sha256"),
    )  # fmt: skip
    state = {name: value for name, value in tensors.items() if not name.startswith(PAIRS)}
    snapshot = Snapshot(header, prefixed(CURRENT, state))
    if problem := misfit(manifest, snapshot):
        raise UsageError(f"{path} holds no state of this bundle: {problem}")
    digest = state_digest(state)
    if _digest(path, told, "state_sha256") not in (NOT_KNOWN, digest):
        raise UsageError(f"{path} is damaged: its tensors are not those that were written; export the state again")
    return StateFile(path, snapshot, labels, _number(path, told, "examples"), digest)


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


def _refuse_exported(path: Path, tensors: Mapping[str, np.ndarray], store: StateStore) -> None:
    """Raise `UsageError` where the tensors are those of the bundle's `initial.safetensors`."""
    initial = store.initial()
    if same_state(initial, Snapshot(initial.header, prefixed(CURRENT, tensors))):
        raise UsageError(
            f"{path} is the state as exported, which was never trained: there is nothing in it to merge, and "
            f"`edge-adapt state reset {store.bundle}` makes it current"
        )


def _digest(path: Path, told: Mapping[str, str], name: str) -> str:
    text = told.get(name, NOT_KNOWN)
    if text == NOT_KNOWN or is_digest(text):
        return text
    raise UsageError(f"{path} is damaged: its {name} is {text[:40]!r}, which is no digest")


def _number(path: Path, told: Mapping[str, str], name: str) -> int | None:
    text = told.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise UsageError(f"{path} is damaged: its {name} is {text[:40]!r}, which is no whole number")
    return int(text)
