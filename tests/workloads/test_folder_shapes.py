"""Shapes from a folder's config.json: those of the shipped files, and a count from them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import transformers as hf
from edge_adapt.commands.methods import count_parameters
from edge_adapt.errors import EdgeAdaptError, UsageError
from edge_adapt.studies.count import count
from edge_adapt.studies.count_config import CountConfig
from edge_adapt.workloads.models import load_backbone
from edge_adapt.workloads.named_shapes import load_shape

SMALL: dict[str, Any] = {
    "vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
}  # fmt: skip
MINILM = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}


@pytest.mark.parametrize(
    ("shipped", "config", "longest"),
    [
        ("minilm", hf.BertConfig(**MINILM), 512),
        ("bert-base-uncased", hf.BertConfig(), 512),
        ("roberta-base", hf.RobertaConfig(max_position_embeddings=514), 512),
        (
            "llama-3-8b",
            hf.LlamaConfig(
                hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8,
                intermediate_size=14336,
            ),
            None,
        ),
        (
            "flan-t5-base",
            hf.T5Config(
                d_model=768, num_layers=12, num_decoder_layers=12, num_heads=12, d_kv=64, d_ff=2048,
                feed_forward_proj="gated-gelu",
            ),
            None,
        ),
        ("vit-base-patch16-224", hf.ViTConfig(), None),
        (
            "vit-s",
            hf.Dinov2Config(
                hidden_size=384, num_hidden_layers=12, num_attention_heads=6, patch_size=14, image_size=518
            ),
            None,
        ),
    ],
)  # fmt: skip
def test_the_shape_is_the_shipped_one(shipped: str, config: Any, longest: int | None, tmp_path: Path) -> None:
    config.save_pretrained(tmp_path)
    found, expected = load_shape(tmp_path), load_shape(shipped)
    assert found.blocks == expected.blocks
    own = {"name": "", "title": "", "source": "", "max_tokens": None, "named_norms": None}
    assert replace(found, **own) == replace(expected, **own)
    assert found.max_tokens == longest
    named, made_up = ([(norm.width, norm.bias) for norm in shape.norm_shapes] for shape in (found, expected))
    assert named == made_up


def test_it_is_that_of_the_loaded_model(model_folder: Callable[[Any], Path]) -> None:
    folder = model_folder(hf.MPNetConfig(**SMALL, max_position_embeddings=34))
    backbone, shape = load_backbone(folder), load_shape(folder)
    assert [linear.name for linear in shape.linears] == backbone.linear_names()
    assert (shape.max_tokens, shape.hidden_size) == (backbone.max_tokens, backbone.hidden_size)
    for linear in shape.linears:
        module: Any = backbone.module.get_submodule(linear.name)
        assert (linear.out_features, linear.in_features) == tuple(module.weight.shape)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (hf.GPT2Config(), "edge-adapt models families"),
        (hf.MixtralConfig(num_hidden_layers=1), "edge-adapt models families"),
        (
            hf.AlbertConfig(embedding_size=768, hidden_size=768, num_attention_heads=12),
            "each of its blocks runs 12 times",
        ),
        (hf.ElectraConfig(hidden_size=256, embedding_size=128), "a norm has 128 numbers"),
        (hf.Qwen3Config(num_hidden_layers=1), "a norm has 128 numbers"),
        (hf.WhisperConfig(), "edge-adapt models families"),
        (hf.CLIPConfig(), "edge-adapt models families"),
    ],
)
def test_what_cannot_be_counted(config: Any, message: str, tmp_path: Path) -> None:
    config.save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=message) as caught:
        load_shape(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(EdgeAdaptError, match=r"no config\.json"):
        load_shape(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": {"AutoConfig": "a.B"}}))
    with pytest.raises(EdgeAdaptError, match="is never run"):
        load_shape(tmp_path)


def test_methods_count_takes_a_folder(tmp_path: Path) -> None:
    hf.BertConfig(**MINILM).save_pretrained(tmp_path)
    shipped, own = (count_parameters(model, "lora", 8) for model in ("minilm", str(tmp_path)))
    assert own | {"model": "minilm"} == shipped


def test_count_takes_a_folder_and_cuts_to_its_positions(tmp_path: Path) -> None:
    hf.BertConfig(**MINILM, max_position_embeddings=32).save_pretrained(tmp_path)
    options = {"method": ("probe",), "examples": 4}
    shipped = count(CountConfig(model="minilm", tokens=32, **options))
    own = count(CountConfig(model=str(tmp_path), tokens=64, **options))
    assert own["results"][0]["inference_event_counts"] == shipped["results"][0]["inference_event_counts"]
    assert own["config"]["tokens"] == 32
    assert own["messages"][0].startswith("counted with 32 tokens, not 64")


def test_projections_of_distances_are_not_counted_as_reads_of_tokens(tmp_path: Path) -> None:
    hf.DebertaV2Config(
        **SMALL, relative_attention=True, pos_att_type=["p2c", "c2p"], max_position_embeddings=32
    ).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=r"cannot be counted .* reads distances between tokens"):
        load_shape(tmp_path)
