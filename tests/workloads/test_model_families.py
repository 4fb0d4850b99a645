"""Families of encoders, each as a tiny random model: right, or refused in one line with the reason."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from edge_adapt.errors import EdgeAdaptError, UsageError
from edge_adapt.methods import get_method
from edge_adapt.simulator.autograd import ExactReader
from edge_adapt.studies.encoding import Encoded
from edge_adapt.workloads.batches import encode
from edge_adapt.workloads.encoder_checks import longest_input
from edge_adapt.workloads.models import Backbone, load_backbone
from edge_adapt.workloads.tasks import Example
from tokenizers.processors import TemplateProcessing
from transformers import AutoModel

SIZES: dict[str, Any] = {
    "vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "max_position_embeddings": 34,
}  # fmt: skip
IMAGES: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "image_size": 8,
    "patch_size": 4,
}  # fmt: skip
IDS: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "cls_token_id": 1, "eos_token_id": 2, "sep_token_id": 2}
RELATIVE: dict[str, Any] = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False}

# Configuration, linears in cells, longest input: the table of positions has 34 rows, of which RoBERTa's kind leaves
# those up to the padding index out.
RIGHT: dict[str, tuple[Callable[[], Any], int, int | None]] = {
    "bert": (lambda: hf.BertConfig(**SIZES), 12, 34),
    "roberta": (lambda: hf.RobertaConfig(**SIZES, pad_token_id=1), 12, 32),
    "xlm-roberta": (lambda: hf.XLMRobertaConfig(**SIZES, pad_token_id=1), 12, 32),
    "camembert": (lambda: hf.CamembertConfig(**SIZES, pad_token_id=1), 12, 32),
    "mpnet": (lambda: hf.MPNetConfig(**SIZES), 12, 32),
    "data2vec-text": (lambda: hf.Data2VecTextConfig(**SIZES, pad_token_id=1), 12, 32),
    "esm": (lambda: hf.EsmConfig(**SIZES, pad_token_id=1, mask_token_id=3), 12, 32),
    "distilbert": (
        lambda: hf.DistilBertConfig(
            vocab_size=60, dim=16, n_layers=2, n_heads=2, hidden_dim=24, max_position_embeddings=34
        ), 12, 34,
    ),
    "electra": (lambda: hf.ElectraConfig(**SIZES, embedding_size=8), 12, 34),
    "albert": (lambda: hf.AlbertConfig(**SIZES, embedding_size=8, num_hidden_groups=2), 12, 34),
    "deberta": (lambda: hf.DebertaV2Config(**SIZES), 12, 34),
    "deberta-v3": (
        lambda: hf.DebertaV2Config(
            **SIZES, **RELATIVE, share_att_key=True, norm_rel_ebd="layer_norm", position_buckets=8
        ), 12, None,
    ),
    "modernbert": (
        lambda: hf.ModernBertConfig(
            **SIZES | {"num_hidden_layers": 3}, **IDS, local_attention=4, global_attn_every_n_layers=3
        ), 12, None,
    ),
    "big_bird": (lambda: hf.BigBirdConfig(**SIZES), 12, 34),
    "roformer": (lambda: hf.RoFormerConfig(**SIZES, embedding_size=16), 12, 34),
    "rembert": (lambda: hf.RemBertConfig(**SIZES, input_embedding_size=8), 12, 34),
    "megatron-bert": (lambda: hf.MegatronBertConfig(**SIZES), 12, 34),
}  # fmt: skip

REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "albert, shared": (lambda: hf.AlbertConfig(**SIZES, embedding_size=8), "its layers share their weights"),
    "mobilebert": (lambda: hf.MobileBertConfig(**SIZES), "depends on the other texts of the batch"),
    "convbert": (lambda: hf.ConvBertConfig(**SIZES), "depends on the other texts of the batch"),
    "fnet": (lambda: hf.FNetConfig(**SIZES), "depends on the other texts of the batch"),
    "funnel": (
        lambda: hf.FunnelConfig(
            vocab_size=60, block_sizes=[1, 1], num_decoder_layers=1, d_model=16, n_head=2, d_head=8, d_inner=24
        ), "depends on the other texts of the batch",
    ),
    "squeezebert": (
        lambda: hf.SqueezeBertConfig(**SIZES, embedding_size=16), r"no linear layer \(nn.Linear\), but Conv1d",
    ),
    "xlm": (
        lambda: hf.XLMConfig(vocab_size=60, emb_dim=16, n_layers=2, n_heads=2, max_position_embeddings=34),
        "multiplies by ffns.0.lin1 between its blocks",
    ),
    "ibert": (lambda: hf.IBertConfig(**SIZES), "is a QuantLinear"),
    "luke": (lambda: hf.LukeConfig(**SIZES, entity_vocab_size=9, entity_emb_size=8), "takes more than token ids"),
    "deberta with a convolution": (
        lambda: hf.DebertaV2Config(**SIZES, **RELATIVE, conv_kernel_size=3, conv_act="gelu"), "between its blocks",
    ),
    "gpt2": (lambda: hf.GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=60), "not a text encoder"),
    "grey": (lambda: hf.ViTConfig(**IMAGES, num_channels=1), "images of 1 channels; allowed are 3"),
    "rectangular": (lambda: hf.Dinov2Config(**IMAGES | {"image_size": [8, 12]}), r"image_size .* \[8, 12\].* squares"),
    "swin": (lambda: hf.SwinConfig(image_size=16, patch_size=4, embed_dim=8, depths=[1], num_heads=[2]), "vision enc"),
}  # fmt: skip

TEXTS = ["w4 w9", "w30 w31 w32 w33 w40 w41", "w50", "w10 w20 w30 w40 w50 w12 w13 w14"]


def _features(backbone: Backbone, ids: list[list[int]]) -> torch.Tensor:
    """What a head sees of a batch, with the reader that leaves padding out."""
    adaptation = get_method("probe").attach(backbone, 2, np.random.default_rng(0))
    reader = ExactReader()
    adaptation.use(reader)
    reader.watch(adaptation.module.encoder)
    width = max(map(len, ids))
    padded = torch.tensor([[*row, *[0] * (width - len(row))] for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
    with torch.no_grad():
        return adaptation.module.features(padded, mask)


@pytest.mark.parametrize("family", RIGHT)
def test_features_are_those_of_transformers(family: str, model_folder: Callable[[Any], Path]) -> None:
    make, linears, longest = RIGHT[family]
    folder = model_folder(make())
    backbone = load_backbone(folder)
    own = AutoModel.from_pretrained(folder).eval()
    ids = encode(backbone.tokenizer, TEXTS, 32)
    found = _features(backbone, ids)
    with torch.no_grad():
        expected = torch.stack([own(input_ids=torch.tensor([row])).last_hidden_state[0].mean(0) for row in ids])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    names = backbone.linear_names()
    assert len(names) == len(set(names)) == linears
    assert backbone.max_tokens == longest
    if longest is not None:
        assert longest_input(backbone.module, []) == longest  # by the table's name alone, as `count` finds it


@pytest.mark.parametrize("family", [name for name, (_, _, longest) in RIGHT.items() if longest])
def test_the_longest_text_is_read_and_longer_ones_are_cut(family: str, model_folder: Callable[[Any], Path]) -> None:
    make, _, longest = RIGHT[family]
    assert longest is not None
    backbone = load_backbone(model_folder(make()))
    long = Example(" ".join(["w7"] * 200), 0)
    (ids,) = Encoded.of(backbone, _single_texts(), [long], 64).ids
    assert len(ids) == longest
    assert bool(torch.isfinite(_features(backbone, [ids, ids[:5]])).all())
    assert backbone.within(64) == longest
    assert f"cut to {longest} tokens, not 64" in str(backbone.cut_message(64))
    assert backbone.cut_message(longest) is None
    assert backbone.within(64, added=8) == longest - 8
    with pytest.raises(UsageError, match="31 prompts leave no room"):
        backbone.within(64, added=31)


def _single_texts() -> Any:
    """A task of single texts: nothing of it but its kind is looked at."""
    return type("Task", (), {"tagged": False, "augment": False})()


def test_positions_that_are_not_counted_have_no_end(model_folder: Callable[[Any], Path]) -> None:
    backbone = load_backbone(model_folder(RIGHT["deberta-v3"][0]()))
    assert backbone.within(10_000) == 10_000
    assert len(backbone.tokenizer.encode(" ".join(["w7"] * 700)).ids) == 702


@pytest.mark.parametrize("family", REFUSED)
def test_others_are_refused_with_the_reason(family: str, model_folder: Callable[[Any], Path]) -> None:
    make, reason = REFUSED[family]
    folder = model_folder(make())
    with pytest.raises(UsageError, match=reason) as caught:
        load_backbone(folder)
    assert "\n" not in str(caught.value)


def test_a_matrix_in_front_of_the_blocks_is_told_of(model_folder: Callable[[Any], Path]) -> None:
    (message,) = load_backbone(model_folder(RIGHT["electra"][0]())).messages
    assert "embeddings_project" in message
    assert "not charged" in message


@pytest.mark.parametrize("make", [hf.ViTConfig, hf.Dinov2Config], ids=["vit", "dinov2"])
def test_images(make: Any, model_folder: Callable[[Any], Path]) -> None:
    backbone = load_backbone(model_folder(make(**IMAGES)))
    assert (backbone.kind, len(backbone.linear_names()), backbone.messages) == ("image", 12, ())


def test_pairs_are_told_apart_as_the_tokenizer_does(model_folder: Callable[[Any], Path]) -> None:
    backbone = replace(load_backbone(model_folder(RIGHT["bert"][0]())), paired=True)
    assert backbone.separator == 2
    encoding = backbone.tokenizer.encode("w4 w5", "w6")
    model = get_method("probe").attach(backbone, 2, np.random.default_rng(0)).module
    assert model.token_types(torch.tensor([encoding.ids]))["token_type_ids"].tolist() == [encoding.type_ids]


def test_a_tokenizer_that_puts_nothing_between_two_texts(model_folder: Callable[[Any], Path]) -> None:
    backbone = load_backbone(model_folder(RIGHT["bert"][0]()))
    backbone.tokenizer.post_processor = TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    assert replace(backbone, paired=True).separator is None


def test_sparse_attention_is_kept_to_texts_that_it_reads_whole(model_folder: Callable[[Any], Path]) -> None:
    """BigBird reads up to 5 + 2 x 3 blocks of 64 tokens with full attention; beyond, padding has a say."""
    backbone = load_backbone(model_folder(hf.BigBirdConfig(**SIZES | {"max_position_embeddings": 1024})))
    assert backbone.max_tokens == 704


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"do_rescale": False}, "pixels times 1;"),
        ({"rescale_factor": 1 / 127.5}, "pixels times 0.00784"),
        ({"image_std": [1, 0, 1]}, "deviation"),
        ({"image_mean": [0.5]}, "three colours"),
    ],
)
def test_a_preprocessor_that_does_something_else(
    settings: dict[str, Any], message: str, model_folder: Callable[[Any], Path]
) -> None:
    folder = model_folder(hf.ViTConfig(**IMAGES))
    given = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_normalize": False}
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(given))
    reader: Any = load_backbone(folder).preprocessor
    assert (reader.mean, reader.deviation) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    path.write_text(json.dumps(given | {"do_normalize": True} | settings))
    with pytest.raises(EdgeAdaptError, match=message):
        load_backbone(folder)
