"""Models that cannot be used, each refused in one line with the reason, or only in part, which is said."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers as hf
from edge_adapt.errors import EdgeAdaptError, UsageError
from edge_adapt.workloads.models import load_backbone

UNKNOWN = "which is not known here; edge-adapt models families"
REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "albert, unevenly shared": (
        lambda s: hf.AlbertConfig(**s.texts | {"num_hidden_layers": 3}, embedding_size=8, num_hidden_groups=2),
        "3 layers are shared among 2 groups",
    ),
    "mobilebert": (lambda s: hf.MobileBertConfig(**s.texts), UNKNOWN),
    "convbert": (lambda s: hf.ConvBertConfig(**s.texts), UNKNOWN),
    "fnet": (lambda s: hf.FNetConfig(**s.texts), UNKNOWN),
    "funnel": (
        lambda s: hf.FunnelConfig(
            vocab_size=60, block_sizes=[1, 1], num_decoder_layers=1, d_model=16, n_head=2, d_head=8, d_inner=24
        ), UNKNOWN,
    ),
    "squeezebert": (lambda s: hf.SqueezeBertConfig(**s.texts, embedding_size=16), UNKNOWN),
    "xlm": (
        lambda s: hf.XLMConfig(vocab_size=60, emb_dim=16, n_layers=2, n_heads=2, max_position_embeddings=34),
        UNKNOWN,
    ),
    "tapas": (lambda s: hf.TapasConfig(**s.texts), UNKNOWN),
    "longformer": (lambda s: hf.LongformerConfig(**s.texts, attention_window=[4, 4]), UNKNOWN),
    "ibert": (lambda s: hf.IBertConfig(**s.texts), UNKNOWN),
    "luke": (lambda s: hf.LukeConfig(**s.texts, entity_vocab_size=9, entity_emb_size=8), UNKNOWN),
    "deberta with a convolution": (
        lambda s: hf.DebertaV2Config(**s.texts, **s.relative, conv_kernel_size=3, conv_act="gelu"),
        "between its blocks",
    ),
    "gpt2": (lambda s: hf.GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=60), UNKNOWN),
    "grey": (lambda s: hf.ViTConfig(**s.images, num_channels=1), "images of 1 channels; allowed are 3"),
    "rectangular": (
        lambda s: hf.Dinov2Config(**s.images | {"image_size": [8, 12]}), r"image_size .* \[8, 12\].* squares",
    ),
    "swin": (lambda s: hf.SwinConfig(image_size=16, patch_size=4, embed_dim=8, depths=[1], num_heads=[2]), UNKNOWN),
}  # fmt: skip


@pytest.mark.parametrize("family", REFUSED)
def test_others_are_refused_with_the_reason(family: str, model_folder: Callable[[Any], Path], sizes: Any) -> None:
    make, reason = REFUSED[family]
    folder = model_folder(make(sizes))
    with pytest.raises(UsageError, match=reason) as caught:
        load_backbone(folder)
    assert "\n" not in str(caught.value)


def test_a_matrix_in_front_of_the_blocks_is_told_of(family_folder: Callable[[str], Path]) -> None:
    (message,) = load_backbone(family_folder("electra")).messages
    assert "embeddings_project" in message
    assert "not charged" in message


def test_sparse_attention_is_kept_to_texts_that_it_reads_whole(model_folder: Callable[[Any], Path], sizes: Any) -> None:
    """BigBird reads up to 5 + 2 x 3 blocks of 64 tokens with full attention; beyond, padding has a say."""
    backbone = load_backbone(model_folder(hf.BigBirdConfig(**sizes.texts | {"max_position_embeddings": 1024})))
    assert backbone.max_tokens == 704


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"do_rescale": False}, "pixels times 1;"),
        ({"rescale_factor": 1 / 127.5}, "pixels times 0.00784"),
        ({"image_std": [1, 0, 1]}, "image_std must be numbers of three colours from 1e-06 to 1000"),
        ({"image_mean": [1e300, 0, 0]}, "image_mean must be numbers of three colours from -1000 to 1000"),
        ({"image_mean": [True, 0, 0]}, "image_mean must be numbers"),
        ({"do_rescale": ""}, "do_rescale must be true or false, not ''"),
        ({"resample": 7}, "resample is '7'; filters of Pillow are 0 to 5"),
        ({"image_mean": [0.5]}, "three colours"),
    ],
)
def test_a_preprocessor_that_does_something_else(
    settings: dict[str, Any], message: str, model_folder: Callable[[Any], Path], sizes: Any
) -> None:
    folder = model_folder(hf.ViTConfig(**sizes.images))
    given = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_normalize": False}
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(given))
    reader: Any = load_backbone(folder).preprocessor
    assert (reader.mean, reader.deviation) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    path.write_text(json.dumps(given | {"do_normalize": True} | settings))
    with pytest.raises(EdgeAdaptError, match=message):
        load_backbone(folder)
