"""An exported bundle of a tiny random model: what is in it, and what is left when an export fails."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from edge_adapt.errors import EdgeAdaptError, UsageError
from edge_adapt.exporters import parity
from edge_adapt.exporters.bundle import ExportConfig, export_bundle
from edge_adapt.methods import get_method
from edge_adapt.runtime.manifest import UNTAUGHT_BIAS, read_manifest, verify_files
from onnx import external_data_helper as external
from safetensors.numpy import load_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import BertConfig, BertModel

WORDS = ["[PAD]", "[UNK]", "good", "bad", "film", "plot", "cast", "the", "was", "very", "so"]


class Silent:
    """No progress shown."""

    def start(self, total: int) -> None: ...
    def stage(self, text: str) -> None: ...
    def advance(self, units: int = 1) -> None: ...


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> ExportConfig:
    """LoRA of rank 4 on a random encoder of width 64, with a task of two labels and one class reserved."""
    folder = tmp_path_factory.mktemp("inputs")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shape = BertConfig(
            vocab_size=len(WORDS), hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=96
        )
        BertModel(shape, add_pooling_layer=False).save_pretrained(folder / "model")
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "model" / "tokenizer.json"))
    rows = [f"the {WORDS[4 + i % 3]} was {word} {'very ' * (i % 4)}{'so ' * (i // 4)},{label}"
            for word, label in (("good", "up"), ("bad", "down")) for i in range(20)]  # fmt: skip
    (folder / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    return ExportConfig(
        get_method("lora", rank=4), str(folder / "model"), str(folder / "reviews.csv"), reserved_classes=1
    )


@pytest.fixture(scope="session")
def bundle(config: ExportConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "bundle"
    export_bundle(config, out, Silent())
    return out


def test_manifest_describes_what_is_there(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    verify_files(bundle, manifest)
    assert manifest.labels == ("down", "up") and manifest.reserved_classes == 1
    initial = load_file(bundle / "initial.safetensors")
    assert {tensor.name: tensor.shape for tensor in manifest.state} == {n: v.shape for n, v in initial.items()}
    np.testing.assert_array_equal(initial["head.bias"], np.float32([0, 0, UNTAUGHT_BIAS]))
    assert 0 < max(manifest.parity[kind] for kind in ("loss", "logits", "gradient")) <= 1e-4
    assert len({tuple(shape) for shape in manifest.parity["batches"]}) > 5
    assert {1} <= set(manifest.parity["threads"])


@pytest.mark.parametrize("name", ["train", "infer"])
def test_graphs_are_plain_onnx_with_free_extents(bundle: Path, name: str) -> None:
    model = onnx.load(bundle / f"{name}.onnx", load_external_data=False)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert not any(node.metadata_props for node in model.graph.node)
    ids = model.graph.input[0].type.tensor_type.shape.dim
    assert [extent.dim_param for extent in ids] == ["batch", "tokens"]


def test_both_graphs_share_one_copy_of_each_weight(bundle: Path) -> None:
    places: Counter[tuple[str, str]] = Counter()
    contents: dict[tuple[str, str], set[str]] = {}
    for name in ("train", "infer"):
        model = onnx.load(bundle / f"{name}.onnx", load_external_data=False)
        for tensor in model.graph.initializer:
            if external.uses_external_data(tensor):
                found = {entry.key: entry.value for entry in tensor.external_data}
                assert found["location"] == "weights.data"
                place = (found["offset"], found["length"])
                places[place] += 1
                contents.setdefault(place, set()).add(tensor.name)
    data = (bundle / "weights.data").read_bytes()
    parts = [data[int(offset) : int(offset) + int(length)] for offset, length in places]
    assert len(set(parts)) == len(parts)  # nothing is there twice
    parameters = 4 * sum(64 * 64 * 4 + 2 * 64 * 96 for _ in range(2))
    assert parameters <= len(data) < 3 * parameters
    assert max(places.values()) == 2


def test_a_failing_comparison_leaves_nothing(
    config: ExportConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity, "TOLERANCE", 0.0)
    with pytest.raises(EdgeAdaptError, match="differs from torch"):
        export_bundle(replace(config, method=get_method("frozen")), tmp_path / "bundle", Silent())
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_overwritten(bundle: Path, config: ExportConfig, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--force"):
        export_bundle(config, bundle, Silent())
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="no bundle"):
        export_bundle(config, tmp_path, Silent(), force=True)


def test_a_method_that_trains_cells_is_refused() -> None:
    with pytest.raises(UsageError, match=r"full.*cells.*lorafusion"):
        ExportConfig(get_method("full"))
