"""docs/bundle.md: a reader written from it alone, with no code of ours, finds what the runtime wrote."""

import dataclasses
import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from edge_adapt.runtime import Session, manifest, state
from edge_adapt.runtime.options import TrainOptions
from edge_adapt.runtime.training import StopTraining

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "bundle.md").read_text(encoding="utf-8")
DTYPES = {"F32": "<f4", "F64": "<f8", "I32": "<i4", "I64": "<i8", "U64": "<u8"}


def safetensors(content: bytes) -> dict[str, np.ndarray]:
    length = struct.unpack_from("<Q", content)[0]
    header = json.loads(content[8 : 8 + length])
    found = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        data = content[8 + length + begin : 8 + length + end]
        found[name] = np.frombuffer(data, DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return found


def read_slot(path: Path) -> tuple[dict, dict[str, np.ndarray]] | None:
    content = path.read_bytes()
    h, p = struct.unpack_from("<QQ", content, 8)
    if content[:8] != b"EDGESTA1" or len(content) != 56 + h + p:
        return None
    if hashlib.sha256(content[:24] + content[56:]).digest() != content[24:56]:
        return None
    return json.loads(content[56 : 56 + h]), safetensors(content[56 + h :])


def test_a_reader_written_from_the_document(bundle: Path, texts) -> None:
    def stop(done: int, _total: int, _loss: float) -> None:
        if done == 4:
            raise StopTraining

    session = Session(bundle, threads=1)
    session.train(*texts(24, 0), TrainOptions(optimizer="mezo", replay=5, save_every=1))
    session.train(*texts(24, 1), TrainOptions(save_every=1), on_update=stop)

    content = (bundle / "manifest.json").read_bytes()
    data = json.loads(content)
    digits = data["manifest_sha256"].encode()
    assert content.endswith(b'"manifest_sha256": "' + digits + b'"\n}\n')
    assert hashlib.sha256(content.replace(digits, b"0" * 64)).hexdigest().encode() == digits
    for name, entry in data["files"].items():
        file = (bundle / name).read_bytes()
        assert (len(file), hashlib.sha256(file).hexdigest()) == (entry["bytes"], entry["sha256"])

    slots = [slot for name in "ab" if (slot := read_slot(bundle / "state" / name)) is not None]
    header, tensors = max(slots, key=lambda slot: slot[0]["counter"])
    assert header["schema"] == "edge-adapt/state/1"
    assert header["owner"]["bundle"] == data["manifest_sha256"]
    assert header["run"]["batches_done"] == 0  # of the second epoch of three updates, before its first
    for name, value in session.state.items():
        assert tensors[f"state/{name}"].tobytes() == value.tobytes()
    prefixes = {"state", "mezo", "replay", "run"}
    assert {name.split("/")[0] for name in tensors} == prefixes
    assert tensors["replay/lengths"].sum() == len(tensors["replay/ids"])
    assert len(tensors["run/losses"]) == 3
    history = [read_slot(path) for path in (bundle / "state" / "history").glob("*")]
    assert history == []


@pytest.mark.parametrize(
    "kind",
    [manifest.Manifest, manifest.ModelInfo, manifest.StateTensor, manifest.Recipe, manifest.TokenizerInfo,
     manifest.ImageInfo, manifest.Graph, manifest.SessionSettings, manifest.FileDigest, state.Header,
     state.Owner, state.RunRecord, state.OptimiserRecord],
)  # fmt: skip
def test_every_key_is_in_the_document(kind: type) -> None:
    for field in dataclasses.fields(kind):
        assert f"`{field.name}`" in DOCUMENT, f"{kind.__name__}.{field.name}"
