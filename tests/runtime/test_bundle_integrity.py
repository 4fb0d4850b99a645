"""A changed byte anywhere in a bundle is found and its file named; a damaged slot gives way to the other one."""

import hashlib
import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from edge_adapt.runtime.manifest import (
    BundleError,
    FileDigest,
    Manifest,
    parse_manifest,
    read_manifest,
    verify_files,
    write_manifest,
)
from edge_adapt.runtime.session import Session
from edge_adapt.runtime.state import DamagedStateError, Header, Owner, Snapshot, decode, encode
from edge_adapt.runtime.store import StateStore, create_state
from hypothesis import given
from hypothesis import strategies as st

FLIPS = 2400
SIGNS = st.characters(exclude_categories=("Cc", "Cs"))


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


def open_files(folder: Path) -> None:
    verify_files(folder, read_manifest(folder))


def test_every_flipped_bit_is_found_and_named(bundle: Path) -> None:
    rng = np.random.default_rng(0)
    paths = [path for path in bundle.rglob("*") if path.is_file() and path.parent.name != "state"]
    assert {path.name for path in paths} == {
        "manifest.json", "train.onnx", "infer.onnx", "weights.data", "initial.safetensors", "tokenizer.json",
    }  # fmt: skip
    for path in paths:
        content = path.read_bytes()
        bits = rng.integers(0, 8 * len(content), FLIPS // len(paths)).tolist()
        for bit in [0, 8 * len(content) - 1, *bits]:
            path.write_bytes(flipped(content, bit))
            with pytest.raises(BundleError, match=r"is damaged|is no bundle") as caught:
                open_files(bundle)
            assert str(path) in str(caught.value)
        path.write_bytes(content)
    open_files(bundle)


def test_missing_cut_and_grown_files_are_named(bundle: Path) -> None:
    weights = bundle / "weights.data"
    content = weights.read_bytes()
    for wrong in (content[:-1], content + b"\0", b""):
        weights.write_bytes(wrong)
        with pytest.raises(BundleError, match=rf"weights\.data is damaged: {len(wrong)} bytes, not {len(content)}"):
            Session(bundle)
    weights.unlink()
    with pytest.raises(BundleError, match=r"weights\.data cannot be read: No such file"):
        Session(bundle)
    (bundle / "manifest.json").unlink()
    with pytest.raises(BundleError, match="is no bundle"):
        Session(bundle)


def test_a_newer_schema_is_refused_as_such(bundle: Path) -> None:
    path = bundle / "manifest.json"
    for given_schema in ("edge-adapt/bundle/2", "edge-adapt/bundle/17"):
        path.write_text(json.dumps({"schema": given_schema, "whatever": ["else"]}))
        with pytest.raises(BundleError, match=f"has schema {given_schema}; .* update edge-adapt"):
            Session(bundle)


def resealed(folder: Path, change) -> None:
    """Write a manifest whose contents were changed and whose digest is right all the same."""
    data = json.loads((folder / "manifest.json").read_text())
    change(data)
    data.pop("manifest_sha256")
    data["manifest_sha256"] = "0" * 64
    content = (json.dumps(data, indent=1) + "\n").encode()
    digest = hashlib.sha256(content).hexdigest().encode()
    (folder / "manifest.json").write_bytes(content.replace(b"0" * 64 + b'"\n}\n', digest + b'"\n}\n'))


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        (lambda data: data.update(colour="red"), "unknown key 'colour'"),
        (lambda data: data["recipe"].pop("l1"), "no key 'l1' in the manifest.recipe"),
        (lambda data: data.update(labels=["same", "same"]), "labels"),
        (lambda data: data.update(reserved_classes=5), "head.weight"),
        (lambda data: data["state"][0].update(dtype="float16"), "float32"),
        (lambda data: data["recipe"]["learning_rates"].pop("magnitudes"), "magnitudes"),
        (lambda data: data["files"].update({"../out": {"sha256": "", "bytes": 0}}), "outside the bundle"),
        (lambda data: data["files"].pop("tokenizer.json"), "tokenizer.json"),
        (lambda data: data["graphs"].pop("infer"), "infer"),
        (lambda data: data.update(opset="20"), "opset must be a whole number"),
        (lambda data: data.update(l1_names=["nothing"]), "l1_names"),
    ],
)
def test_a_manifest_that_contradicts_itself(bundle: Path, change, fragment: str) -> None:
    resealed(bundle, change)
    with pytest.raises(BundleError, match=fragment):
        read_manifest(bundle)


def test_the_manifest_survives_writing_and_reading(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    again = write_manifest(bundle, manifest)
    assert again == manifest
    planned = write_manifest(bundle, replace(manifest, plan={"fixed_bytes": 1.5}))
    assert planned == parse_manifest((bundle / "manifest.json").read_bytes()) == read_manifest(bundle)
    assert planned.plan == {"fixed_bytes": 1.5}
    assert replace(planned, plan={}, manifest_sha256=manifest.manifest_sha256) == manifest


shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)
kinds = st.sampled_from([np.float32, np.float64, np.int32, np.int64, np.uint64])


@given(
    st.dictionaries(st.text(SIGNS, min_size=1, max_size=12), st.tuples(shapes, kinds), max_size=5),
    st.integers(0, 2**40),
    st.text(SIGNS, max_size=20),
    st.integers(0, 2**31),
    st.data(),
)
def test_slots_come_back_as_written_and_never_changed(
    layout: dict, counter: int, note: str, seed: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    tensors = {
        name: (rng.normal(size=shape) * 100).astype(kind)
        for name, (shape, kind) in layout.items()
        if name != "__metadata__"
    }
    snapshot = Snapshot(Header(Owner("digest", "model", "method"), counter, note=note, taught=(note,)), tensors)
    content = encode(snapshot)
    back = decode(content)
    assert back.header == snapshot.header
    assert {n: (v.shape, v.dtype, v.tobytes()) for n, v in back.tensors.items()} == {
        n: (v.shape, v.dtype, v.tobytes()) for n, v in tensors.items()
    }
    with pytest.raises(DamagedStateError):
        decode(flipped(content, data.draw(st.integers(0, 8 * len(content) - 1))))
    with pytest.raises(DamagedStateError):
        decode(content[: data.draw(st.integers(0, len(content) - 1))])


def saved_twice(folder: Path) -> StateStore:
    store = StateStore(folder, read_manifest(folder))
    store.lock()
    for step in (1, 2):
        initial = store.initial()
        store.save(Snapshot(replace(initial.header, step=step), initial.tensors))
    store.release()
    return store


def test_every_flipped_bit_of_a_slot_leads_to_the_other(bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = saved_twice(bundle)
    newest = max(store.views(), key=lambda view: view.snapshot.header.step)
    path = store.folder / newest.name
    content = path.read_bytes()
    for bit in np.random.default_rng(1).integers(0, 8 * len(content), 300).tolist():
        path.write_bytes(flipped(content, bit))
        caplog.clear()
        assert StateStore(bundle, store.manifest).read().header.step == 1  # each store says it once
        assert f"{path} is damaged" in caplog.text
        assert "other slot" in caplog.text


def test_both_slots_damaged(bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    store = saved_twice(bundle)
    for name in ("a", "b"):
        (store.folder / name).write_bytes(b"EDGESTA1 and nothing")
    with pytest.raises(BundleError, match=r"no state can be read .*state reset.*rollback"):
        Session(bundle)
    store.lock()
    store.reset()
    assert Session(bundle).snapshot.header.step == 0


def test_a_state_of_another_bundle_is_refused_and_kept(bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(bundle, other)
    manifest = replace(read_manifest(other), model=replace(read_manifest(other).model, name="another"))
    manifest = write_manifest(other, manifest)
    create_state(other, manifest)
    foreign = (other / "state" / "a").read_bytes()
    (bundle / "state" / "b").write_bytes(foreign)
    with pytest.raises(BundleError, match=r"state/b belongs to another bundle \(another, lorafusion"):
        Session(bundle)
    assert (bundle / "state" / "b").read_bytes() == foreign


def test_files_of_the_wrong_kind(bundle: Path) -> None:
    def sealed(name: str, content: bytes) -> Manifest:
        (bundle / name).write_bytes(content)
        return write_manifest(bundle, read_manifest(bundle))

    create_state(bundle, sealed("tokenizer.json", b"{}"))
    with pytest.raises(BundleError, match=r"tokenizer\.json is no tokenizer"):
        Session(bundle)
    shutil.copy(Path(__file__).parents[2] / "LICENSE", bundle / "infer.onnx")
    assert isinstance(read_manifest(bundle).files["infer.onnx"], FileDigest)
