"""Spoilt files of a bundle and of examples: an answer, or one line; never a traceback. See `mutants` in conftest.py.

The bundle's files are sealed anew after they were spoilt, as a stranger would: a checksum alone proves nothing.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from edge_adapt.cli import main

Mutants = Callable[[bytes, int], Iterator[bytes]]


def sealed(folder: Path) -> None:
    """Make the digests of the files in a bundle's manifest, and its own, right."""
    path = folder / "manifest.json"
    try:
        data = json.loads(path.read_bytes())
        files = data["files"]
        for name in files:
            content = (folder / name).read_bytes()
            files[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    except (ValueError, KeyError, TypeError, OSError):
        return
    _seal(path, data)


def _seal(path: Path, data: dict) -> None:
    data.pop("manifest_sha256", None)
    data["manifest_sha256"] = "0" * 64
    content = (json.dumps(data, indent=1, ensure_ascii=True) + "\n").encode()
    digest = hashlib.sha256(content).hexdigest().encode()
    path.write_bytes(content.replace(b"0" * 64 + b'"\n}\n', digest + b'"\n}\n'))


def said(capfd: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """Exit code and error of a command, which must end in order."""
    capfd.readouterr()
    try:
        code = main([str(word) for word in words])
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capfd.readouterr()
    assert "Traceback" not in err and code in (0, 1, 2), (code, err)
    assert "\x1b" not in err and "\x1b" not in out
    lines = [line for line in err.splitlines() if line.startswith("edge-adapt: error: ")]
    assert len(lines) == (code != 0), err
    if code == 0 and "--json" in words:
        json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    return code, err


@pytest.mark.parametrize(
    "name", ["manifest.json", "infer.onnx", "weights.data", "initial.safetensors", "tokenizer.json"]
)
def test_spoilt_files_of_a_bundle(bundle: Path, capfd: pytest.CaptureFixture[str], mutants: Mutants, name: str) -> None:
    content, manifest = (bundle / name).read_bytes(), (bundle / "manifest.json").read_bytes()
    texts = bundle.parent / "texts.txt"
    texts.write_text("the good film\n")
    before = sorted(bundle.parent.rglob("*"))
    for mutant in mutants(content, 24):
        (bundle / "manifest.json").write_bytes(manifest)
        (bundle / name).write_bytes(mutant)
        if name == "manifest.json":
            try:
                data = json.loads(mutant)
            except (ValueError, RecursionError):
                data = None
            if isinstance(data, dict):
                _seal(bundle / name, data)
        else:
            sealed(bundle)
        shutil.rmtree(bundle / "state", ignore_errors=True)
        said(capfd, "state", "reset", bundle)
        said(capfd, "predict", bundle, texts, "--json", "--threads", 1)
        shutil.rmtree(bundle / "state", ignore_errors=True)
    left = set(bundle.parent.rglob("*")) - set(before)
    assert not left


def test_spoilt_slots(bundle: Path, capfd: pytest.CaptureFixture[str], mutants: Mutants) -> None:
    slot = bundle / "state" / "a"
    for mutant in mutants(slot.read_bytes(), 40):
        slot.write_bytes(mutant)
        said(capfd, "state", "show", bundle, "--json")


EXAMPLES = {
    "a.jsonl": b"".join(b'{"text": "the good film %d", "label": "up"}\n' % n for n in range(8)),
    "a.csv": b"text,label\n" + b"".join(b'"the bad, film %d",down\n' % n for n in range(8)),
    "a.tsv": b"text\tlabel\n" + b"".join(b"the bad film %d\tdown\n" % n for n in range(8)),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_spoilt_examples(bundle: Path, capfd: pytest.CaptureFixture[str], mutants: Mutants, name: str) -> None:
    path = bundle.parent / name
    for number, mutant in enumerate(mutants(EXAMPLES[name], 40)):
        path.write_bytes(mutant)
        said(capfd, "evaluate", bundle, path, "--json", "--threads", 1, *(("--on-error", "skip") if number % 3 else ()))


OPTIONS = (
    b"epochs: 1\nbatch_size: 4\nlearning_rates: {head: 0.01}\nhead: keep\nhold_out: 0.2\nteach: [so-so]\nseed: 3\n"
)


def test_spoilt_options(bundle: Path, capfd: pytest.CaptureFixture[str], mutants: Mutants) -> None:
    path, nothing = bundle.parent / "options.yaml", bundle.parent / "none.csv"
    for mutant in mutants(OPTIONS, 60):
        path.write_bytes(mutant)
        assert said(capfd, "train", bundle, nothing, "--config", path)[0] == 2


@pytest.mark.parametrize("option", ["data", "--guard", "--config"])
def test_what_is_no_file(bundle: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path, option: str) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    (tmp_path / "folder.csv").mkdir()
    with (tmp_path / "sparse.csv").open("wb") as file:
        file.truncate(3 << 30)
    good = tmp_path / "good.csv"
    good.write_bytes(EXAMPLES["a.csv"])
    for name in ("pipe.csv", "zero.csv", "folder.csv", "sparse.csv"):
        words = [bundle, tmp_path / name] if option == "data" else [bundle, good, option, tmp_path / name]
        assert said(capfd, "train", *words)[0] == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["recipe"].update(batch_size=0), "recipe.batch_size must be from 1 to 100,000, not 0"),
        (lambda d: d["tokenizer"].update(max_tokens=-1), "max_tokens must be from 1 to 1,048,576, not -1"),
        (lambda d: d["tokenizer"].update(max_tokens=10**30), "max_tokens must be from 1 to"),
        (lambda d: d["recipe"].update(epochs=True), "recipe.epochs must be a whole number, not bool"),
        (lambda d: d["recipe"].update(l1=float("nan")), "NaN is no JSON"),
        (lambda d: d["labels"].__setitem__(0, "a\x1b[2J"), "holds a control character"),
        (lambda d: d["files"].update({"../x": d["files"]["infer.onnx"]}), "'../x' lies outside the bundle"),
        (lambda d: d["files"].update({"state/a": d["files"]["infer.onnx"]}), "lies outside the bundle"),
        (lambda d: d["graphs"]["infer"]["session"]["config"].update({"ep.context_enable": "1"}), "session entry"),
        (lambda d: d["state"][0].update(shape=[10**9]), "must be from 0 to 134,217,728"),
        (lambda d: d.update(reserved_classes=10**12), "reserved_classes must be from 0 to"),
    ],
)  # fmt: skip
def test_values_out_of_range(
    bundle: Path, capfd: pytest.CaptureFixture[str], change: Callable[[dict], object], words: str
) -> None:
    data = json.loads((bundle / "manifest.json").read_bytes())
    change(data)
    _seal(bundle / "manifest.json", data)
    code, err = said(capfd, "state", "show", bundle)
    assert code == 1 and words in err, err
