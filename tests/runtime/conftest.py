"""A bundle written by hand with onnx nodes, its gradients derived on paper, and the same model in plain numpy.

f = tanh(h * (magnitudes + coefficients @ pool)), h the mean word vector; logits = f W^T + b. Frozen are the word
vectors and the pool (3, 16).
"""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from edge_adapt.cli import main
from edge_adapt.runtime import Session
from edge_adapt.runtime.files import Disk
from edge_adapt.runtime.manifest import (
    UNTAUGHT_BIAS,
    Graph,
    Manifest,
    ModelInfo,
    Recipe,
    StateTensor,
    TokenizerInfo,
    write_manifest,
)
from edge_adapt.runtime.options import TrainOptions
from edge_adapt.runtime.store import create_state
from onnx import TensorProto, helper
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

GOOD, BAD, SO_SO = ("good", "fine", "great"), ("bad", "awful", "poor"), ("average", "usual", "plain")
NEUTRAL = ("film", "plot", "cast", "the", "was", "very", "really")
WORDS = ("[PAD]", "[UNK]", *GOOD, *BAD, *SO_SO, *NEUTRAL)
LABELS = ("down", "up")
WIDTH, POOL, RESERVED, MAX_TOKENS = 16, 3, 2, 12


@dataclass(frozen=True)
class Weights:
    """What is frozen, and the state as exported."""

    vectors: np.ndarray
    pool: np.ndarray
    state: dict[str, np.ndarray]

    @classmethod
    def draw(cls, seed: int) -> "Weights":
        rng = np.random.default_rng(seed)
        rows = len(LABELS) + RESERVED
        bias = np.zeros(rows, np.float32)
        bias[len(LABELS) :] = UNTAUGHT_BIAS
        state = {
            "coefficients": rng.normal(0, 0.3, POOL).astype(np.float32),
            "magnitudes": np.ones(WIDTH, np.float32),
            "head.weight": np.zeros((rows, WIDTH), np.float32),
            "head.bias": bias,
        }
        vectors = rng.normal(0, 1, (len(WORDS), WIDTH)).astype(np.float32)
        return cls(vectors, rng.normal(0, 0.5, (POOL, WIDTH)).astype(np.float32), state)


class Oracle:
    """The model and its gradients in float64 numpy."""

    def __init__(self, weights: Weights) -> None:
        self.vectors, self.pool = weights.vectors.astype(float), weights.pool.astype(float)

    def features(self, state, input_ids, attention_mask):
        mask = attention_mask.astype(float)[:, :, None]
        mean = (self.vectors[input_ids] * mask).sum(1) / np.maximum(mask.sum(1), 1)
        gain = state["magnitudes"] + state["coefficients"] @ self.pool
        return np.tanh(mean * gain), mean

    def logits(self, state, input_ids, attention_mask):
        return self.features(state, input_ids, attention_mask)[0] @ state["head.weight"].T + state["head.bias"]

    def loss_and_gradients(self, state, input_ids, attention_mask, labels):
        f, mean = self.features(state, input_ids, attention_mask)
        logits = f @ state["head.weight"].T + state["head.bias"]
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        rows = np.arange(len(labels))
        loss = -np.log(p[rows, labels]).mean()
        p[rows, labels] -= 1
        p /= len(labels)
        by_gain = (p @ state["head.weight"] * (1 - f**2) * mean).sum(0)
        return loss, {
            "coefficients": self.pool @ by_gain,
            "magnitudes": by_gain,
            "head.weight": p.T @ f,
            "head.bias": p.sum(0),
        }


def _external(name: str, array: np.ndarray, offset: int) -> onnx.TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=array.shape, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "weights.data"), ("offset", offset), ("length", array.nbytes)):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)
    return tensor


def _constant(name: str, values: object, kind: type = np.int64) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(np.array(values, kind), name)


FORWARD = [
    ("Gather", ["vectors", "input_ids"], "words", {"axis": 0}),
    ("Cast", ["attention_mask"], "mask2", {"to": TensorProto.FLOAT}),
    ("Unsqueeze", ["mask2", "last"], "mask", {}),
    ("Mul", ["words", "mask"], "kept", {}),
    ("ReduceSum", ["kept", "one"], "sum", {"keepdims": 0}),
    ("ReduceSum", ["mask", "one"], "count", {"keepdims": 0}),
    ("Max", ["count", "unit"], "divisor", {}),
    ("Div", ["sum", "divisor"], "mean", {}),
    ("MatMul", ["coefficients", "pool"], "mixed", {}),
    ("Add", ["magnitudes", "mixed"], "gain", {}),
    ("Mul", ["mean", "gain"], "u", {}),
    ("Tanh", ["u"], "features", {}),
    ("Gemm", ["features", "head.weight", "head.bias"], "logits", {"transB": 1}),
]
BACKWARD = [
    ("LogSoftmax", ["logits"], "logp", {"axis": 1}),
    ("Shape", ["head.bias"], "classes", {}),
    ("Squeeze", ["classes", "zero"], "depth", {}),
    ("OneHot", ["labels", "depth", "off_on"], "target", {"axis": -1}),
    ("Mul", ["logp", "target"], "picked", {}),
    ("ReduceSum", ["picked"], "total", {"keepdims": 0}),
    ("Shape", ["labels"], "batch1", {}),
    ("Squeeze", ["batch1", "zero"], "batch0", {}),
    ("Cast", ["batch0"], "batch", {"to": TensorProto.FLOAT}),
    ("Div", ["total", "batch"], "mean_logp", {}),
    ("Neg", ["mean_logp"], "loss", {}),
    ("Exp", ["logp"], "p", {}),
    ("Sub", ["p", "target"], "error0", {}),
    ("Div", ["error0", "batch"], "error", {}),
    ("Transpose", ["error"], "error_t", {"perm": [1, 0]}),
    ("MatMul", ["error_t", "features"], "grad/head.weight", {}),
    ("ReduceSum", ["error", "zero"], "grad/head.bias", {"keepdims": 0}),
    ("MatMul", ["error", "head.weight"], "by_f", {}),
    ("Mul", ["features", "features"], "f2", {}),
    ("Sub", ["unit", "f2"], "slope", {}),
    ("Mul", ["by_f", "slope"], "by_u", {}),
    ("Mul", ["by_u", "mean"], "by_gain_each", {}),
    ("ReduceSum", ["by_gain_each", "zero"], "grad/magnitudes", {"keepdims": 0}),
    ("MatMul", ["pool", "grad/magnitudes"], "grad/coefficients", {}),
]


def _graph(nodes: list, inputs: dict, outputs: list[str], weights: Weights, optional_state: bool) -> onnx.ModelProto:
    state = {name: (TensorProto.FLOAT, list(value.shape)) for name, value in weights.state.items()}
    initializers = [
        _external("vectors", weights.vectors, 0),
        _external("pool", weights.pool, weights.vectors.nbytes),
        _constant("zero", [0]), _constant("one", [1]), _constant("last", [-1]),
        _constant("unit", 1, np.float32), _constant("off_on", [0, 1], np.float32),
    ]  # fmt: skip
    if optional_state:
        initializers += [onnx.numpy_helper.from_array(value, name) for name, value in weights.state.items()]
    made = [helper.make_node(kind, given, [result], **attributes) for kind, given, result, attributes in nodes]
    used = {name for node in made for name in node.input}
    graph = helper.make_graph(
        made,
        "by-hand",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in (inputs | state).items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [tensor for tensor in initializers if tensor.name in used],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def write_bundle(folder: Path, seed: int = 0, *, head_only: bool = False, recipe: Recipe | None = None) -> Manifest:
    """Write the whole bundle; with `head_only`, only the head is trained and there is no training graph."""
    weights = Weights.draw(seed)
    folder.mkdir()
    (folder / "weights.data").write_bytes(weights.vectors.tobytes() + weights.pool.tobytes())
    data = {"input_ids": (TensorProto.INT64, ["b", "t"]), "attention_mask": (TensorProto.INT64, ["b", "t"])}
    labels = {"labels": (TensorProto.INT64, ["b"])}
    gradients = [f"grad/{name}" for name in weights.state]
    graphs = {"infer": Graph("infer.onnx", tuple(data), ("logits", "features"))}
    infer = _graph(FORWARD, data, ["logits", "features"], weights, True)
    (folder / "infer.onnx").write_bytes(infer.SerializeToString())
    if not head_only:
        graphs["train"] = Graph("train.onnx", (*data, *labels), ("loss", *gradients))
        joint = _graph(FORWARD + BACKWARD, data | labels, ["loss", *gradients], weights, False)
        (folder / "train.onnx").write_bytes(joint.SerializeToString())
    save_file(weights.state, folder / "initial.safetensors")
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    rates = {"head": 0.05, "coefficients": 0.05, "magnitudes": 0.02}
    group = lambda name: "head" if name.startswith("head.") else None if head_only else name
    manifest = Manifest(
        method="probe" if head_only else "lorafusion",
        model=ModelInfo("by-hand", f"seed-{seed}", WIDTH, 1),
        task="words",
        labels=LABELS,
        reserved_classes=RESERVED,
        state=tuple(StateTensor(name, value.shape, group(name)) for name, value in weights.state.items()),
        l1_names=() if head_only else ("coefficients",),
        recipe=recipe or Recipe(rates, 4, 0, 8, 0.01, 1.0, 0.0 if head_only else 0.001, 1.0),
        tokenizer=TokenizerInfo("tokenizer.json", MAX_TOKENS, 0),
        graphs=graphs,
        opset=20,
        ir_version=10,
    )
    manifest = write_manifest(folder, manifest)
    create_state(folder, manifest)
    return manifest


def sentences(count: int, seed: int, *, classes: int = 2) -> tuple[list[str], list[str]]:
    """Texts and labels; the label shows in one word."""
    rng = np.random.default_rng(seed)
    kinds = ((BAD, "down"), (GOOD, "up"), (SO_SO, "so-so"))
    texts, labels = [], []
    for i in range(count):
        words, label = kinds[i % classes]
        around = rng.choice(NEUTRAL, rng.integers(1, 7)).tolist()
        texts.append(" ".join([*around[:2], str(rng.choice(words)), *around[2:]]))
        labels.append(label)
    return texts, labels


class FailingDisk(Disk):
    """Counts its operations, and fails at the one with the given number, a write half done."""

    def __init__(self, fails_at: int = -1, code: int = 0) -> None:
        self.fails_at, self.code, self.done = fails_at, code, 0
        self.kinds: list[str] = []

    def _count(self, path: object = None) -> None:
        self.done += 1
        self.kinds.append(sys._getframe(1).f_code.co_name)
        if self.done == self.fails_at:
            raise OSError(self.code, os.strerror(self.code), str(path))

    def make_folder(self, path: Path) -> None:
        self._count(path)
        super().make_folder(path)

    def create(self, path: Path) -> int:
        self._count(path)
        return super().create(path)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        if self.done + 1 == self.fails_at:
            super().write(descriptor, data[: len(data) // 2])
        self._count()
        return super().write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        self._count()
        super().sync(descriptor)

    def close(self, descriptor: int) -> None:
        super().close(descriptor)
        self._count()

    def replace(self, source: Path, target: Path) -> None:
        self._count(source)
        super().replace(source, target)

    def sync_folder(self, path: Path) -> None:
        self._count(path)
        super().sync_folder(path)

    def remove(self, path: Path) -> None:
        self._count(path)
        super().remove(path)


@pytest.fixture
def failing_disk() -> type[FailingDisk]:
    return FailingDisk


@pytest.fixture(scope="session")
def texts() -> Callable[..., tuple[list[str], list[str]]]:
    """texts(count, seed, classes=2): sentences and labels."""
    return sentences


@pytest.fixture(scope="session")
def oracle() -> Oracle:
    """The model of the bundle in numpy."""
    return Oracle(Weights.draw(0))


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle not to be changed."""
    folder = tmp_path_factory.mktemp("pristine") / "bundle"
    write_bundle(folder)
    return folder


@pytest.fixture
def bundle(pristine: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(pristine, tmp_path / "bundle"))


@pytest.fixture
def head_bundle(tmp_path: Path) -> Path:
    """A bundle in which only the head is trained."""
    write_bundle(tmp_path / "head-bundle", head_only=True)
    return tmp_path / "head-bundle"


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Exit code, output and errors of a command."""

    def call(*words: object) -> tuple[int, str, str]:
        capfd.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capfd.readouterr()

    return call


@pytest.fixture
def devices(pristine: Path, tmp_path: Path, texts) -> list[Path]:
    """Two copies of a bundle, each trained on half of the same examples; a third as it came."""
    sentences, labels = texts(60, 0)
    homes = [Path(shutil.copytree(pristine, tmp_path / name / "bundle")) for name in ("anna", "bert", "server")]
    for number, share in enumerate((slice(0, 40), slice(40, 60))):
        with Session(homes[number], threads=1) as session:
            session.train(sentences[share], labels[share], TrainOptions(epochs=8))
    return homes


@pytest.fixture
def files(devices: list[Path], command: Callable, tmp_path: Path) -> list[Path]:
    """The states of the two devices."""
    found = [tmp_path / "anna.safetensors", tmp_path / "bert.safetensors"]
    for home, out in zip(devices, found, strict=False):
        assert command("state", "export", home, out)[0] == 0
    return found
