"""`manifest.json`: what a bundle is made of. Written by the exporter, read and verified on the device.

The digest of the manifest covers every byte of the file, its own 64 digits taken as zeros: no client needs a canonical
form of JSON to check it.
"""

import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from ..errors import UsageError
from ..inputs import near_file, open_file, parse_json, read_bytes
from .schema import Within, build, plain

SCHEMA = "edge-adapt/bundle/1"
MANIFEST = "manifest.json"
STATE_FOLDER = "state"
INITIAL_STATE = "initial.safetensors"
"""The exported state, in the bundle's own files: what `state reset` goes back to."""

UNTAUGHT_BIAS = -1e4
"""Bias of a reserved class before it is taught: softmax gives it exactly 0, and its gradient is exactly 0."""

SESSION_ENTRIES = (
    "session.disable_quant_qdq",
    "session.qdq_matmulnbits_accuracy_level",
    "session.intra_op.allow_spinning",
)
"""What a bundle may tell onnxruntime: other entries have it write files, or load others than the bundle's."""
MOST_RESERVED, MOST_TOKENS, MOST_SIDE = 100_000, 1 << 20, 8192
"""No bundle has room for more classes, takes longer texts, or larger images (pixels on a side)."""
_BYTES = 8 << 20
_NUMBERS = 1 << 27
"""No manifest is longer, and no state has more numbers."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(rb'"manifest_sha256": "([0-9a-f]{64})"\n}\n\Z')
_CHUNK = 1 << 20
_COPY_FILES = "copy the bundle from where its files are, with: cp -rL"


class BundleError(UsageError):
    """What was given as a bundle is none, or it or its state is damaged, from another version, or does not fit."""


@dataclass(frozen=True)
class ModelInfo:
    """The frozen model. `kind` is "text" or "image"; `fingerprint` tells models with the same name apart."""

    name: str
    fingerprint: str
    hidden_size: Annotated[int, Within(1, 1 << 20)]
    blocks: Annotated[int, Within(0, 10_000)]
    kind: str = "text"


@dataclass(frozen=True)
class StateTensor:
    """One tensor of the adaptable state, float32. `group` is its optimiser group, None when it is not trained."""

    name: str
    shape: tuple[Annotated[int, Within(0, _NUMBERS)], ...]
    group: str | None = None
    dtype: str = "float32"

    @property
    def size(self) -> int:
        """Numbers in the tensor."""
        count = 1
        for extent in self.shape:
            count *= extent
        return count


@dataclass(frozen=True)
class Recipe:
    """How the method is trained unless told otherwise: the fields of `methods.base.Recipe`.

    `head_shrinkage` below 1: the head starts from discriminant analysis (`head.class_mean_head`).
    """

    learning_rates: Mapping[str, Annotated[float, Within(0, 1000)]]
    epochs: Annotated[int, Within(0, 100_000)]
    min_steps: Annotated[int, Within(0, 10_000_000)]
    batch_size: Annotated[int, Within(1, 100_000)]
    weight_decay: Annotated[float, Within(0, 1000)]
    clip_norm: Annotated[float, Within(1e-12, 1e12)]
    l1: Annotated[float, Within(0, 1e6)]
    head_margin: Annotated[float, Within(0, 1e6)]
    head_shrinkage: Annotated[float, Within(0, 1)] = 1.0


@dataclass(frozen=True)
class TokenizerInfo:
    """The tokenizer's file, the length at which texts are cut (special tokens counted), and the id used as padding."""

    file: str
    max_tokens: Annotated[int, Within(1, MOST_TOKENS)]
    pad_id: Annotated[int, Within(0, 1 << 31)] = 0


@dataclass(frozen=True)
class ImageInfo:
    """What a vision model does to images: squares of `side` pixels, resized by Pillow's filter `resample` (2 bilinear,
    3 bicubic), channels red, green, blue; of values in 0..1 `mean` is subtracted, then they are divided by `deviation`.

    `tokens` of one image in the model, [CLS] and patches. With `crop_from` images are resized to squares of that side
    instead: training sees random crops of `side`, half of them mirrored, and everything else the middle.
    """

    side: Annotated[int, Within(1, MOST_SIDE)]
    mean: tuple[Annotated[float, Within(-1000, 1000)], ...]
    deviation: tuple[Annotated[float, Within(1e-6, 1000)], ...]
    tokens: Annotated[int, Within(1, 1 << 20)]
    resample: Annotated[int, Within(0, 5)] = 3
    crop_from: Annotated[int | None, Within(1, MOST_SIDE)] = None

    @property
    def stored(self) -> int:
        """Side of the squares that images are resized to."""
        return self.crop_from or self.side


@dataclass(frozen=True)
class SessionSettings:
    """How onnxruntime opens a graph: its session configuration entries, and whether it keeps an arena of memory and
    plans the places of activations by pattern.
    """

    config: Mapping[str, str] = field(default_factory=dict)
    arena: bool = True
    memory_pattern: bool = True


@dataclass(frozen=True)
class Graph:
    """An ONNX file with the names of its inputs and outputs. `inputs` lists the data inputs, not the state."""

    file: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    session: SessionSettings = field(default_factory=SessionSettings)


@dataclass(frozen=True)
class FileDigest:
    """SHA-256 in hexadecimal digits and length of a file."""

    sha256: str
    bytes: Annotated[int, Within(0, 1 << 40)]


@dataclass(frozen=True)
class Manifest:
    """The contents of `manifest.json`; `docs/bundle.md` explains every key.

    `labels` name the first rows of the head; `reserved_classes` more rows are for classes taught on the device.
    `state` lists the tensors in the order in which they are trained. `versions`, `weights`, `parity`, `plan`
    and `origin` are for the reader's information, except that the memory plan uses `plan` (see `runtime.memory`), and
    the export of the state as an adapter uses `origin`.
    """

    method: str
    model: ModelInfo
    task: str
    labels: tuple[str, ...]
    reserved_classes: Annotated[int, Within(0, MOST_RESERVED)]
    state: tuple[StateTensor, ...]
    l1_names: tuple[str, ...]
    recipe: Recipe
    tokenizer: TokenizerInfo | None
    graphs: Mapping[str, Graph]
    opset: Annotated[int, Within(1, 1000)]
    ir_version: Annotated[int, Within(1, 1000)]
    versions: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, Any] = field(default_factory=dict)
    parity: Mapping[str, Any] = field(default_factory=dict)
    plan: Mapping[str, Annotated[float, Within(0, 1e15)]] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)
    images: ImageInfo | None = None
    files: Mapping[str, FileDigest] = field(default_factory=dict)
    schema: str = SCHEMA
    manifest_sha256: str = ""

    @property
    def classes(self) -> int:
        """Rows of the head: labels and reserved classes."""
        return len(self.labels) + self.reserved_classes

    @property
    def trained(self) -> tuple[StateTensor, ...]:
        """The tensors that an optimiser changes."""
        return tuple(tensor for tensor in self.state if tensor.group is not None)


def digest_file(path: Path, expected: int | None = None) -> FileDigest:
    """SHA-256 and length of a file; without the SHA-256 where the length is not the `expected` one."""
    digest, length = hashlib.sha256(), 0
    with open_file(path, sys.maxsize) as file:
        if expected is not None and (size := os.fstat(file.fileno()).st_size) != expected:
            return FileDigest("", size)
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            length += len(chunk)
    return FileDigest(digest.hexdigest(), length)


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Write `manifest.json` over the files that lie in `folder` (all but the manifest and the state slots).

    Returns the manifest with `files` and `manifest_sha256` filled in. The exporter calls it last.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    bundled = {n: path for n, path in names.items() if n != MANIFEST and not n.startswith(f"{STATE_FOLDER}/")}
    manifest = replace(manifest, files={name: digest_file(path) for name, path in bundled.items()})
    _check(manifest)
    data = plain(manifest)
    data["manifest_sha256"] = "0" * 64  # the last field stays the last key
    content = (json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    digest = hashlib.sha256(content).hexdigest()
    sealed = content.replace(b"0" * 64 + b'"\n}\n', digest.encode() + b'"\n}\n')
    (folder / MANIFEST).write_bytes(sealed)
    return parse_manifest(sealed)


def parse_manifest(content: bytes, where: str = MANIFEST) -> Manifest:
    """The manifest in the bytes of its file. Raises `BundleError`: damaged, of a newer schema, or not a manifest."""
    found = _DIGEST.search(content)
    if found is None:
        _refuse_newer_schema(content, where)
        raise BundleError(f"{where} is damaged: it does not end with its own checksum; copy the bundle again")
    zeroed = content[: found.start(1)] + b"0" * 64 + content[found.end(1) :]
    if hashlib.sha256(zeroed).hexdigest() != found.group(1).decode():
        raise BundleError(f"{where} is damaged: its checksum does not match; copy the bundle again")
    _refuse_newer_schema(content, where)
    try:
        manifest = build(Manifest, parse_json(content), "the manifest")
        _check(manifest)
    except ValueError as error:
        raise BundleError(f"{where}: {error}; export the bundle again with this version of edge-adapt") from error
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Read and check `manifest.json`. Raises `BundleError` when there is none, or for a damaged or newer one."""
    path = folder / MANIFEST
    try:
        content = read_bytes(path, _BYTES)
    except OSError as error:
        raise BundleError(_no_bundle(folder, path, error)) from error
    manifest = parse_manifest(content, str(path))
    for name in (MANIFEST, *manifest.files):
        if outside := _link_outside(folder, folder / name):
            raise BundleError(f"{folder}: {outside}")
    return manifest


def verify_files(folder: Path, manifest: Manifest) -> None:
    """Compare every file of the bundle with its SHA-256. Raises `BundleError` that names the first damaged one."""
    for name, expected in manifest.files.items():
        path = folder / name
        try:
            actual = digest_file(path, expected.bytes)
        except OSError as error:
            why = _broken_link(path) or f"{error.strerror}; copy the bundle again"
            raise BundleError(f"{path} cannot be read: {why}") from error
        if actual.bytes != expected.bytes:
            raise BundleError(f"{path} is damaged: {actual.bytes} bytes, not {expected.bytes}; copy the bundle again")
        if actual.sha256 != expected.sha256:
            raise BundleError(f"{path} is damaged: its SHA-256 does not match the manifest; copy the bundle again")


def link_outside(folder: Path) -> str:
    """What is wrong with a bundle one of whose files is a link out of it, or to nothing; "" where none is.

    onnxruntime reads weights only from the folder that its graph lies in.
    """
    for path in sorted(folder.iterdir()):
        if outside := _link_outside(folder, path):
            return outside
        if broken := _broken_link(path):
            return f"{path.name}: {broken}"
    return ""


def _link_outside(folder: Path, path: Path) -> str:
    """What is wrong with a file that is there, but by a link out of the bundle; "" where nothing is."""
    real = os.path.realpath(path)
    if not os.path.exists(real) or Path(real).is_relative_to(os.path.realpath(folder)):
        return ""
    return f"{path.relative_to(folder)} is a link out of the folder, to {real}; {_COPY_FILES}"


def _no_bundle(folder: Path, path: Path, error: OSError) -> str:
    """Why a folder whose manifest cannot be read is no bundle."""
    advice = "give the folder that `edge-adapt export` wrote"
    if broken := _broken_link(folder) or _broken_link(path):
        return f"{folder} is no bundle: {path} cannot be read ({broken})"
    if isinstance(error, (FileNotFoundError, NotADirectoryError)) and not os.path.lexists(folder):
        return f"{folder} is no bundle: there is no such folder{near_file(folder) or f'; {advice}'}"
    if os.path.exists(folder) and not os.path.isdir(folder):
        return f"{folder} is no bundle: it is a file; {advice}"
    why = "there is no such file" if isinstance(error, FileNotFoundError) else error.strerror
    return f"{folder} is no bundle: {path} cannot be read ({why}); {advice}"


def _broken_link(path: Path) -> str:
    if not os.path.islink(path) or os.path.exists(path):  # pathlib raises where a folder may not be searched
        return ""
    return f"it is a link to {path.readlink()}, which is not there; {_COPY_FILES}"


def _refuse_newer_schema(content: bytes, where: str) -> None:
    """A bundle of a newer schema is refused as such, before its keys are looked at."""
    found = re.search(rb'"schema": "edge-adapt/bundle/(\d{1,6})"', content)
    if found and int(found.group(1)) > int(SCHEMA.rpartition("/")[2]):
        raise BundleError(
            f"{where} has schema edge-adapt/bundle/{int(found.group(1))}; this edge-adapt reads up to {SCHEMA}: "
            "update edge-adapt on the device, or export with the same version"
        )


def _check(manifest: Manifest) -> None:
    """Raise `ValueError` for values that contradict each other."""
    if manifest.schema != SCHEMA:
        raise ValueError(f"schema is {manifest.schema!r}, not {SCHEMA!r}")
    _check_reader(manifest)
    _check_files(manifest)
    shapes = {tensor.name: tensor.shape for tensor in manifest.state}
    for name, shape in (
        ("head.weight", (manifest.classes, manifest.model.hidden_size)),
        ("head.bias", (manifest.classes,)),
    ):
        if shapes.get(name) != shape:
            raise ValueError(f"state {name!r} must have shape {shape}, not {shapes.get(name)}")
    if len(shapes) != len(manifest.state):
        raise ValueError("a state tensor is named twice")
    if wrong := [tensor.name for tensor in manifest.state if tensor.dtype != "float32"]:
        raise ValueError(f"state {wrong[0]!r} must be float32")
    if len(set(manifest.labels)) != len(manifest.labels) or len(manifest.labels) < 2:
        raise ValueError("labels must be at least two different names")
    if unknown := set(manifest.l1_names) - shapes.keys():
        raise ValueError(f"l1_names has {min(unknown)!r}, which is no state tensor")
    if missing := {tensor.group for tensor in manifest.trained} - manifest.recipe.learning_rates.keys():
        raise ValueError(f"the recipe has no learning rate for the group {min(map(str, missing))!r}")
    if sum(tensor.size for tensor in manifest.state) > _NUMBERS:
        raise ValueError(f"the state has more than {_NUMBERS:,} numbers")
    beyond_head = any(not tensor.name.startswith("head.") for tensor in manifest.trained)
    if "infer" not in manifest.graphs or (beyond_head and "train" not in manifest.graphs):
        raise ValueError("graphs must have 'infer', and 'train' where more than the head is trained")


def _check_files(manifest: Manifest) -> None:
    """Raise `ValueError` for files that are not there, or lie elsewhere, and for foreign ways to open them."""
    needed = {graph.file for graph in manifest.graphs.values()} | {INITIAL_STATE}
    if manifest.tokenizer:
        needed.add(manifest.tokenizer.file)
    if missing_files := needed - manifest.files.keys():
        raise ValueError(f"the file {min(missing_files)!r} is not in the bundle")
    for name, digest in manifest.files.items():
        parts = name.split("/")
        if {"", ".", ".."} & set(parts) or "\\" in name or parts[0] in (MANIFEST, STATE_FOLDER):
            raise ValueError(f"the file {name!r} lies outside the bundle, or in its state")
        if not _SHA256.fullmatch(digest.sha256):
            raise ValueError(f"the SHA-256 of {name!r} is no such")
    for graph in manifest.graphs.values():
        if foreign := graph.session.config.keys() - set(SESSION_ENTRIES):
            raise ValueError(f"session entry {min(foreign)!r} is none of {', '.join(SESSION_ENTRIES)}")


def _check_reader(manifest: Manifest) -> None:
    """Raise `ValueError` unless it is clear how texts or images are read."""
    images = manifest.images
    if (manifest.tokenizer is None) == (images is None):
        raise ValueError("either tokenizer or images must be there, and not both")
    if images is not None and not len(images.mean) == len(images.deviation) == 3:
        raise ValueError("images need mean and deviation of three channels")
    if images is not None and images.stored < images.side:
        raise ValueError(f"crop_from must be at least the side, {images.side}, not {images.crop_from}")
    if manifest.model.kind not in ("text", "image"):
        raise ValueError(f"model.kind must be 'text' or 'image', not {manifest.model.kind!r}")
