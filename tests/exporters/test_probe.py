"""A model that no graph can be made of is refused before anything is trained, with the operator in the way."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from edge_adapt.errors import EdgeAdaptError, UsageError
from edge_adapt.exporters import bundle as bundles
from edge_adapt.exporters import graph, probe
from edge_adapt.exporters.bundle import ExportConfig, export_bundle
from edge_adapt.exporters.probe import _first_block
from edge_adapt.methods import get_method
from edge_adapt.runtime.manifest import read_manifest
from edge_adapt.workloads.families import FAMILIES
from edge_adapt.workloads.models import Backbone, load_backbone
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import BertConfig, BertModel

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "plot", "cast", "the", "was", "very", "so"]
SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}


def _folder(folder: Path, module: torch.nn.Module) -> Path:
    module.save_pretrained(folder)  # type: ignore[operator]
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def _small(folder: Path, blocks: int = 3) -> Path:
    return _folder(folder, BertModel(BertConfig(**SIZES | {"num_hidden_layers": blocks}, vocab_size=len(WORDS))))


def test_what_the_exporter_cannot_translate_is_refused_first(
    inputs: Path, tmp_path: Path, silent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def untranslated(program: Any) -> None:
        raise RuntimeError("No decompositions registered for aten.some_op.default")

    monkeypatch.setattr(graph, "with_gradients", untranslated)
    monkeypatch.setattr(bundles, "attach", lambda *_: pytest.fail("work went on"))
    config = ExportConfig(get_method("probe"), str(_small(tmp_path / "m", 7)), str(inputs / "reviews.csv"))
    with pytest.raises(EdgeAdaptError, match=r"'bert' cannot be exported .* aten.some_op") as caught:
        export_bundle(config, tmp_path / "bundle", silent)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "bundle").exists()


def test_a_family_that_the_table_rules_out_is_refused_without_tracing(
    inputs: Path, tmp_path: Path, silent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ruled_out = replace(FAMILIES["bert"], no_bundle="its heads are counted at random")
    monkeypatch.setattr(probe, "FAMILIES", {**FAMILIES, "bert": ruled_out})
    monkeypatch.setattr(bundles, "require_exportable", lambda *_: pytest.fail("it was tried"))
    config = ExportConfig(get_method("probe"), str(_small(tmp_path / "m")), str(inputs / "reviews.csv"))
    with pytest.raises(EdgeAdaptError, match="'bert' cannot be exported: its heads are counted at random") as caught:
        export_bundle(config, tmp_path / "bundle", silent)
    assert "\n" not in str(caught.value)


def test_a_method_of_images_is_refused_before_a_text_model_is_tried(
    inputs: Path, tmp_path: Path, silent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "require_exportable", lambda *_: pytest.fail("it was tried"))
    config = ExportConfig(get_method("vpt"), str(_small(tmp_path / "m")), str(inputs / "reviews.csv"))
    with pytest.raises(UsageError, match="vpt is for models of images"):
        export_bundle(config, tmp_path / "bundle", silent)


@pytest.mark.parametrize(("blocks", "chip", "tried"), [(6, None, False), (7, None, True), (3, "reram", True)])
def test_where_tracing_follows_soon_nothing_is_tried_before(
    inputs: Path,
    tmp_path: Path,
    silent: Any,
    monkeypatch: pytest.MonkeyPatch,
    blocks: int,
    chip: str | None,
    tried: bool,
) -> None:
    class Stop(Exception):
        pass

    seen = []
    monkeypatch.setattr(bundles, "require_exportable", lambda backbone: seen.append(backbone.blocks))
    monkeypatch.setattr(bundles, "attach", lambda *_: (_ for _ in ()).throw(Stop))
    model = str(_small(tmp_path / "m", blocks))
    config = ExportConfig(get_method("probe"), model, str(inputs / "reviews.csv"), chip=chip)
    with pytest.raises(Stop):
        export_bundle(config, tmp_path / "bundle", silent)
    assert seen == ([blocks] if tried else [])


@pytest.fixture
def backbone(tmp_path: Path) -> Backbone:
    return load_backbone(_folder(tmp_path / "plain", BertModel(BertConfig(**SIZES, vocab_size=len(WORDS)))))


def test_the_first_block_alone_is_probed(backbone: Backbone) -> None:
    short = _first_block(backbone)
    assert len(short.get_submodule("encoder.layer")) == 1  # type: ignore[arg-type]
    assert len(backbone.module.get_submodule("encoder.layer")) == 3  # type: ignore[arg-type]
    assert backbone.module.config.num_hidden_layers == 3  # type: ignore[union-attr]
    name = "encoder.layer.0.attention.self.query.weight"
    assert short.get_parameter(name) is backbone.module.get_parameter(name)
    ids = torch.tensor([[2, 4, 5, 3]])
    with torch.no_grad():
        states = backbone.module(input_ids=ids, output_hidden_states=True).hidden_states
        torch.testing.assert_close(short(input_ids=ids).last_hidden_state, states[1])


def _traced_in_vain(adaptation: Any, error: Exception) -> None:
    with graph._tracing(adaptation):
        try:
            raise error
        except Exception as inner:
            raise RuntimeError("the exporter failed\nwith a long story") from inner


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("No decompositions registered for aten.some_op.default in\nthe table"), "aten.some_op.default"),
        (KeyError("a view"), "'a view'"),
        (ValueError(""), "ValueError"),
    ],
)
def test_any_exception_of_the_exporter_becomes_one_line(backbone: Backbone, error: Exception, reason: str) -> None:
    adaptation = get_method("probe").attach(backbone, 2, np.random.default_rng(0))
    with pytest.raises(EdgeAdaptError, match="'bert' cannot be exported") as caught:
        _traced_in_vain(adaptation, error)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_texts_are_cut_to_the_model_s_positions(
    inputs: Path, tmp_path: Path, silent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle says so to the device too."""
    shape = BertConfig(**SIZES | {"num_hidden_layers": 1}, vocab_size=len(WORDS), max_position_embeddings=16)
    model = _folder(tmp_path / "short", BertModel(shape, add_pooling_layer=False))
    monkeypatch.setattr(bundles, "calibrate", lambda *_, **__: {})
    config = ExportConfig(get_method("probe"), str(model), str(inputs / "reviews.csv"))
    record = export_bundle(config, tmp_path / "bundle", silent)
    assert any("cut to 16 tokens, not 64" in message for message in record["messages"])
    manifest = read_manifest(tmp_path / "bundle")
    assert manifest.tokenizer is not None
    assert manifest.tokenizer.max_tokens == 16
