"""Spoilt files of a bundle and of examples: an answer, or one line; never a traceback. See `mutants` in conftest.py.

The bundle's files are sealed anew after they were spoilt, as a stranger would: a checksum alone proves nothing.
"""

import hashlib
import json
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from edge_adapt.cli import main
from edge_adapt.runtime.training import StopTraining, TrainingRun

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


def test_a_graph_that_never_ends_is_refused_at_once(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A loop without a count, whose condition stays true, in the place of the graph that predicts."""
    value = lambda name, kind: onnx.helper.make_tensor_value_info(name, kind, [])
    whole, truth = onnx.TensorProto.INT64, onnx.TensorProto.BOOL
    body = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["go"], ["again"]), onnx.helper.make_node("Add", ["v", "i"], ["w"])],
        "body", [value("i", whole), value("go", truth), value("v", whole)], [value("again", truth), value("w", whole)],
    )  # fmt: skip
    node = onnx.helper.make_node("Loop", ["", "", "x"], ["y"], body=body)
    graph = onnx.helper.make_graph([node], "g", [value("x", whole)], [value("y", whole)])
    (bundle / "infer.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    sealed(bundle)
    shutil.rmtree(bundle / "state", ignore_errors=True)
    said(capfd, "state", "reset", bundle)
    texts = bundle.parent / "texts.txt"
    texts.write_text("the good film\n")
    code, err = said(capfd, "predict", bundle, texts)
    assert code == 2 and "infer.onnx is no graph of a bundle: its operator 'Loop' repeats" in err


def test_spoilt_slots(bundle: Path, capfd: pytest.CaptureFixture[str], mutants: Mutants) -> None:
    slot = bundle / "state" / "a"
    for mutant in mutants(slot.read_bytes(), 40):
        slot.write_bytes(mutant)
        said(capfd, "state", "show", bundle, "--json")


def slot(header: bytes, tensors: bytes) -> bytes:
    """The file of a slot, with a right checksum."""
    head = struct.pack("<8sQQ", b"EDGESTA1", len(header), len(tensors))
    return head + hashlib.sha256(head + header + tensors).digest() + header + tensors


def tensors_with(header: bytes, tensors: bytes) -> bytes:
    """A safetensors file with another header."""
    (length,) = struct.unpack_from("<Q", tensors)
    return struct.pack("<Q", len(header)) + header + tensors[8 + length :]


TRAINING = ("--epochs", 3, "--replay", 3, "--hold-out", 0.3, "--save-every", 1, "--seed", 2, "--threads", 1)


@pytest.fixture
def interrupted(bundle: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle whose newer slot, b, holds an unfinished run, with replayed examples, and can be gone on with; and
    examples beside it.
    """
    data = bundle.parent / "a.csv"
    rows = [b"the %s film %d,%s" % row for n in range(4) for row in ((b"good", n, b"up"), (b"bad", n, b"down"))]
    data.write_bytes(b"\n".join([b"text,label", *rows]))
    assert said(capfd, "train", bundle, data, *TRAINING, "--batch-size", 4)[0] == 0
    update = TrainingRun._update

    def cut_off(run: TrainingRun, places: object) -> None:
        if len(run.report.losses) == 4:
            raise StopTraining
        update(run, places)

    with monkeypatch.context() as patched:
        patched.setattr(TrainingRun, "_update", cut_off)
        assert main(["train", *map(str, (bundle, data, *TRAINING, "--batch-size", 2))]) == 130
    return bundle


@pytest.mark.parametrize("part", ["header", "names", "tensors"])
def test_spoilt_slots_with_right_checksums(
    interrupted: Path, capfd: pytest.CaptureFixture[str], mutants: Mutants, part: str
) -> None:
    """The other slot is used, and it is said; a reset always works."""
    folder, kept = interrupted / "state", interrupted.parent / "kept"
    shutil.copytree(folder, kept)
    newest = max(("a", "b"), key=lambda name: json.loads(headers(kept / name)[0])["counter"])
    header, tensors = headers(kept / newest)
    assert json.loads(header)["run"]["batches_done"]
    (length,) = struct.unpack_from("<Q", tensors)
    spoilt: dict[str, Callable[[bytes], bytes]] = {
        "header": lambda made: slot(made, tensors),
        "names": lambda made: slot(header, tensors_with(made, tensors)),
        "tensors": lambda made: slot(header, tensors[: 8 + length] + made),
    }
    given = {"header": header, "names": tensors[8 : 8 + length], "tensors": tensors[8 + length :]}
    for number, mutant in enumerate(mutants(given[part], 6)):
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
        (folder / newest).write_bytes(spoilt[part](mutant))
        said(capfd, "state", "show", interrupted, *(["--json"] if number % 2 else []))
        said(capfd, "train", interrupted, interrupted.parent / "a.csv", *TRAINING, "--batch-size", 2)
        (folder / newest).write_bytes(spoilt[part](mutant))
        assert said(capfd, "state", "reset", interrupted)[0] == 0
        assert said(capfd, "predict", interrupted, interrupted.parent / "a.csv", "--json", "--threads", 1)[0] == 0


def headers(path: Path) -> tuple[bytes, bytes]:
    """Header and tensors of a slot."""
    content = path.read_bytes()
    _, length, _ = struct.unpack_from("<8sQQ", content)
    return content[56 : 56 + length], content[56 + length :]


@pytest.mark.parametrize("part", ["whole", "header", "metadata"])
def test_spoilt_files_of_states(
    interrupted: Path, capfd: pytest.CaptureFixture[str], mutants: Mutants, part: str
) -> None:
    file, other, out = (interrupted.parent / name for name in ("a.safetensors", "b.safetensors", "c.safetensors"))
    said(capfd, "state", "export", interrupted, file)
    content = file.read_bytes()
    other.write_bytes(content)
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    pieces = {"whole": content, "header": content[8 : 8 + length], "metadata": json.dumps(header["__metadata__"])}
    for number, mutant in enumerate(mutants(encoded(pieces[part]), 40)):
        if part == "metadata":
            try:
                told = json.loads(mutant)
            except (ValueError, RecursionError):
                continue
            made = tensors_with(json.dumps({**header, "__metadata__": told}).encode(), content)
        else:
            made = mutant if part == "whole" else tensors_with(mutant, content)
        file.write_bytes(made)
        if number % 2:
            said(capfd, "state", "import", interrupted, file, "--json")
        said(capfd, "merge-states", interrupted, file, other, "--out", out)
    assert said(capfd, "state", "show", interrupted)[0] == 0


def encoded(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


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


def test_labels_that_turn_the_writing_round(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What is no control character may stand in a label, and is shown by its number where a person reads it."""
    data = json.loads((bundle / "manifest.json").read_bytes())
    data["labels"] = ["a\u202egnp", "b\u2029c"]
    data["model"]["name"] = "m\u2066"
    _seal(bundle / "manifest.json", data)
    shutil.rmtree(bundle / "state")
    texts = bundle.parent / "a.txt"
    texts.write_text("the good film\n")
    labelled = bundle.parent / "a.jsonl"
    labelled.write_text(
        "".join(f'{{"text": "t {n}", "label": "{name}"}}\n' for n, name in enumerate(data["labels"] * 3))
    )
    for words in (
        ("state", "reset", bundle), ("state", "show", bundle), ("state", "history", bundle), ("predict", bundle, texts),
        ("evaluate", bundle, labelled),
    ):  # fmt: skip
        capfd.readouterr()
        assert main([str(word) for word in words]) == 0
        out, err = capfd.readouterr()
        assert all(line.isprintable() for line in out.replace("\t", " ").splitlines()), (words, out)
        assert all(line.isprintable() for line in err.splitlines()), (words, err)
    assert "a\\u202egnp: " in out and "b\\u2029c: " in out


@pytest.mark.parametrize("computed", [False, True])
def test_a_graph_that_asks_for_more_than_there_is(
    bundle: Path, capfd: pytest.CaptureFixture[str], computed: bool
) -> None:
    """Refused where a constant says so; what a graph computes is not known before (docs/bundle.md): one line."""
    import onnx

    graph = onnx.load(str(bundle / "infer.onnx"), load_external_data=False)
    shape = onnx.numpy_helper.from_array(np.array([1 << 20, 1 << 40], np.int64), "huge")
    graph.graph.initializer.append(shape)
    (logits,) = [node for node in graph.graph.node if "logits" in node.output]
    logits.output[0] = "small"
    graph.graph.node.extend([
        onnx.helper.make_node("Neg" if computed else "Identity", ["huge"], ["less"]),
        onnx.helper.make_node("Abs", ["less"], ["again"]),
        onnx.helper.make_node("ConstantOfShape", ["again" if computed else "huge"], ["zeros"]),
        onnx.helper.make_node("ReduceMax", ["zeros"], ["most"], keepdims=0),
        onnx.helper.make_node("Add", ["small", "most"], ["logits"]),
    ])  # fmt: skip
    (bundle / "infer.onnx").write_bytes(graph.SerializeToString())
    sealed(bundle)
    shutil.rmtree(bundle / "state")
    texts = bundle.parent / "a.txt"
    texts.write_text("the good film\n")
    assert said(capfd, "state", "reset", bundle)[0] == 0
    code, err = said(capfd, "predict", bundle, texts)
    assert computed or (code == 2 and f"its constants ask for {10**18:,} numbers" in err)
    assert code in (1, 2)


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
    assert code == 2 and words in err, err
