"""What an adapter holds beside the linears of the blocks: left out by name where features do not use it, else refused.

Of adapters that name another model there is a warning.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from edge_adapt.errors import UsageError
from edge_adapt.workloads.models import Backbone, load_backbone
from edge_adapt.workloads.peft_folder import LoraModule, save_module
from edge_adapt.workloads.pools import load_pool
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import nn
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)

peft = pytest.importorskip("peft")

pytestmark = pytest.mark.filterwarnings("ignore")  # peft's words about what these tests do

_SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
SMALL = BertConfig(vocab_size=40, **_SMALL)
QUERY = "encoder.layer.0.attention.self.query"
WEIGHTS = "adapter_model.safetensors"


def _backbone(folder: Path, model: Any) -> Backbone:
    model.save_pretrained(folder)
    Tokenizer(WordLevel({f"w{i}": i for i in range(40)}, unk_token="w0")).save(str(folder / "tokenizer.json"))
    settings = '{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "size": {"height": 8, "width": 8}}'
    (folder / "preprocessor_config.json").write_text(settings)
    return load_backbone(folder)


@pytest.fixture(scope="module")
def bert() -> BertModel:
    torch.manual_seed(0)
    return BertModel(SMALL).eval()


@pytest.fixture(scope="module")
def backbone(bert: BertModel, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return _backbone(tmp_path_factory.mktemp("base") / "small-bert", bert)


def _save(folder: Path, model: Any, **settings: Any) -> Path:
    torch.manual_seed(1)
    plain = {"r": 2, "target_modules": ["query"], "init_lora_weights": False}
    peft.get_peft_model(model, peft.LoraConfig(**(plain | settings))).save_pretrained(folder)
    return folder


def _on(bert: BertModel, kind: Any) -> Any:
    """A task model on the weights of the base."""
    model = kind(SMALL)
    model.bert.load_state_dict(bert.state_dict(), strict=False)
    return model


def _copy(bert: BertModel) -> BertModel:
    model = BertModel(SMALL)
    model.load_state_dict(bert.state_dict())
    return model


@pytest.mark.parametrize("saved", [None, ["classifier"], ["pooler", "classifier"], ["pooler"]])
def test_trained_heads_and_poolers_are_left_out(
    tmp_path: Path, bert: BertModel, backbone: Backbone, saved: list[str] | None
) -> None:
    folder = _save(tmp_path / "m", _on(bert, BertForSequenceClassification), modules_to_save=saved)
    pool = load_pool(folder, backbone)
    assert pool.target_names == (QUERY,)
    left_out = sorted({"pooler": "bert.pooler.dense"}.get(name, name) for name in saved or ())
    said = (f"adapter m: features do not use, and this leaves out: {', '.join(left_out)}",) if saved else ()
    assert pool.messages == said


@pytest.mark.parametrize(
    ("saved", "named"),
    [
        (["embeddings"], "embeddings.LayerNorm, embeddings.position_embeddings, embeddings.token_type_embeddings, "
                         "embeddings.word_embeddings"),
        (["word_embeddings"], "embeddings.word_embeddings"),
        (["attention.output"], "encoder.layer.0.attention.output.LayerNorm, encoder.layer.0.attention.output.dense"),
        (["intermediate"], "encoder.layer.0.intermediate.dense"),
    ],
)  # fmt: skip
def test_trained_parts_of_the_encoder_are_refused(
    tmp_path: Path, bert: BertModel, backbone: Backbone, saved: list[str], named: str
) -> None:
    torch.manual_seed(1)
    config = peft.LoraConfig(r=2, target_modules=["query"], modules_to_save=saved)
    model = peft.get_peft_model(_copy(bert), config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "modules_to_save" in name:
                weight.add_(0.1)
    model.save_pretrained(tmp_path / "m")
    with pytest.raises(UsageError, match=f"adapter 'm' changes {named}, which the features depend on"):
        load_pool(tmp_path / "m", backbone)


def test_layers_that_the_config_names_and_the_file_lacks(tmp_path: Path, bert: BertModel, backbone: Backbone) -> None:
    folder = _save(tmp_path / "m", _copy(bert), target_modules=["query", "value"])
    assert load_pool(folder, backbone).messages == ()
    tensors = load_file(folder / WEIGHTS)
    save_file({name: tensor for name, tensor in tensors.items() if "value" not in name}, folder / WEIGHTS)
    (message,) = load_pool(folder, backbone).messages
    assert message.endswith("has no matrices for, and they stay as they are: encoder.layer.0.attention.self.value")


def test_copies_of_what_the_model_has_are_nothing_new(tmp_path: Path, bert: BertModel, backbone: Backbone) -> None:
    """`save_embedding_layers` writes the embeddings beside the adapter, trained or not."""
    config = peft.LoraConfig(r=2, target_modules=["query"], init_lora_weights=False)
    model = peft.get_peft_model(_copy(bert), config)
    model.save_pretrained(tmp_path / "m", save_embedding_layers=True)
    assert any("word_embeddings" in name for name in load_file(tmp_path / "m" / WEIGHTS))
    assert load_pool(tmp_path / "m", backbone).messages == ()
    with torch.no_grad():
        model.get_input_embeddings().weight.add_(1e-3)
    model.save_pretrained(tmp_path / "trained", save_embedding_layers=True)
    with pytest.raises(UsageError, match=r"changes embeddings\.word_embeddings, which the features depend on"):
        load_pool(tmp_path / "trained", backbone)


def test_adapted_embeddings_are_refused(tmp_path: Path, bert: BertModel, backbone: Backbone) -> None:
    folder = _save(tmp_path / "m", _copy(bert), target_modules=["query", "word_embeddings"])
    with pytest.raises(UsageError, match=r"changes embeddings\.word_embeddings, which the features depend on"):
        load_pool(folder, backbone)


def test_trained_tokens_are_refused(tmp_path: Path, bert: BertModel, backbone: Backbone) -> None:
    folder = _save(tmp_path / "m", _copy(bert), trainable_token_indices={"word_embeddings": [3]})
    with pytest.raises(UsageError, match=r"trainable_token_indices = .* is not supported: .* token embeddings"):
        load_pool(folder, backbone)


def test_a_head_of_words_that_was_trained_is_left_out(tmp_path: Path, bert: BertModel, backbone: Backbone) -> None:
    folder = _save(tmp_path / "m", _on(bert, BertForMaskedLM), modules_to_save=["cls"])
    (message,) = load_pool(folder, backbone).messages
    assert "leaves out: cls.predictions, cls.predictions.decoder, cls.predictions.transform.LayerNorm" in message


def test_the_patches_of_images(tmp_path: Path) -> None:
    """A convolution in the features is refused, one in a head is not used; a classifier of images is left out."""
    config = ViTConfig(**_SMALL, image_size=8, patch_size=4)
    torch.manual_seed(0)
    base = ViTModel(config)
    backbone = _backbone(tmp_path / "base", base)
    model = ViTForImageClassification(config)
    head = _save(tmp_path / "head", model, target_modules=["q_proj", "classifier"])
    assert load_pool(head, backbone).messages == ("adapter head: features do not use, and this leaves out: classifier",)
    patches = _save(tmp_path / "patches", ViTForImageClassification(config), target_modules=["q_proj", "projection"])
    with pytest.raises(UsageError, match=r"changes vit\.embeddings\.patch_embeddings\.projection, which the features"):
        load_pool(patches, backbone)


def test_a_pooler_that_the_encoder_has_is_found_by_the_gradient(tmp_path: Path) -> None:
    """ALBERT is loaded with its pooler, a linear of no block; what comes before the blocks is another matter."""
    torch.manual_seed(0)
    config = AlbertConfig(vocab_size=40, embedding_size=8, **_SMALL)
    backbone = _backbone(tmp_path / "base", AlbertModel(config))
    folder = _save(tmp_path / "m", AlbertModel(config), target_modules=["query", "pooler"])
    assert load_pool(folder, backbone).messages == ("adapter m: features do not use, and this leaves out: pooler",)
    assert all(not weight.requires_grad or weight.grad is None for weight in backbone.module.parameters())
    other = _save(tmp_path / "other", AlbertModel(config), target_modules=["query", "embedding_hidden_mapping_in"])
    with pytest.raises(UsageError, match=r"changes encoder\.embedding_hidden_mapping_in, which the features depend"):
        load_pool(other, backbone)


class _Own(nn.Module):
    """Somebody's own model around two encoders or one, with a head of any name."""

    def __init__(self, *encoders: BertModel) -> None:
        super().__init__()
        for number, encoder in enumerate(encoders):
            self.add_module(f"tower_{number}", encoder)
        self.mlp = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))


def test_heads_of_any_name_are_left_out(tmp_path: Path, bert: BertModel, backbone: Backbone) -> None:
    folder = _save(tmp_path / "m", _Own(_copy(bert)), target_modules=["query", "mlp.0", "mlp.2"])
    pool = load_pool(folder, backbone)
    assert pool.target_names == (QUERY,)
    assert pool.messages == ("adapter m: features do not use, and this leaves out: mlp.0, mlp.2",)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "0.auto_model.", "base_model.model.", "model.text.bert."])
def test_wrappers_of_the_encoder_are_seen_through(
    tmp_path: Path, bert: BertModel, backbone: Backbone, prefix: str
) -> None:
    folder = _save(tmp_path / "m", _copy(bert), target_modules=["query", "dense"])
    plain = load_pool(folder, backbone)
    tensors = load_file(folder / WEIGHTS)
    save_file({n.replace("model.", f"model.{prefix}", 1): t for n, t in tensors.items()}, folder / WEIGHTS)
    wrapped = load_pool(folder, backbone)
    assert wrapped.target_names == plain.target_names
    for name in plain.target_names:
        np.testing.assert_array_equal(wrapped.modules[0].delta(name), plain.modules[0].delta(name))
    assert "leaves out: " in wrapped.messages[0]
    assert "pooler.dense" in wrapped.messages[0]


@pytest.mark.parametrize("family", ["bert", "vit"])
def test_adapters_that_transformers_saves(tmp_path: Path, family: str) -> None:
    """A model of transformers takes adapters without peft's wrapper, and saves them under its names of files."""
    torch.manual_seed(0)
    model = BertModel(SMALL).eval() if family == "bert" else ViTModel(ViTConfig(**_SMALL, image_size=8, patch_size=4))
    backbone = _backbone(tmp_path / "base", model)
    targets = ["query", "value"] if family == "bert" else ["q_proj", "fc1"]
    model.add_adapter(peft.LoraConfig(r=2, target_modules=targets, init_lora_weights=False))
    model.save_pretrained(tmp_path / "m")
    pool = load_pool(tmp_path / "m", backbone)
    assert {name.rpartition(".")[2] for name in pool.target_names} == set(targets)
    for name in pool.target_names:
        expected = model.get_submodule(name).get_delta_weight("default").detach().numpy()
        np.testing.assert_allclose(pool.modules[0].delta(name), expected, atol=1e-6)


def test_two_encoders_are_not_one(tmp_path: Path, bert: BertModel, backbone: Backbone) -> None:
    folder = _save(tmp_path / "m", _Own(_copy(bert), _copy(bert)))
    with pytest.raises(UsageError, match=r"'m' changes several encoders \('tower_0\.', 'tower_1\.'\), and a pool is"):
        load_pool(folder, backbone)


def test_only_a_head_is_no_adapter_of_the_model(tmp_path: Path, bert: BertModel, backbone: Backbone) -> None:
    folder = _save(tmp_path / "m", _on(bert, BertForSequenceClassification), target_modules=["classifier"])
    with pytest.raises(UsageError, match=r"'m' of the pool does not fit the model 'small-bert': unknown linear 'class"):
        load_pool(folder, backbone)


def test_deeper_models_than_ours(tmp_path: Path, backbone: Backbone) -> None:
    """An adapter whose first layers fit and whose others are not there is for another model."""
    deeper = BertModel(BertConfig(vocab_size=40, **(_SMALL | {"num_hidden_layers": 2})))
    with pytest.raises(
        UsageError, match=r"does not fit .*: it changes encoder\.layer\.1\.attention.*, which the model"
    ):
        load_pool(_save(tmp_path / "m", deeper), backbone)


def test_heads_may_be_of_any_type_and_value(tmp_path: Path, bert: BertModel, backbone: Backbone) -> None:
    """What is not used is not judged: quantised heads, or such that broke."""
    folder = _save(tmp_path / "m", _on(bert, BertForSequenceClassification))
    tensors = load_file(folder / WEIGHTS)
    tensors["base_model.model.classifier.weight"] = torch.zeros(2, 16, dtype=torch.int8)
    tensors["base_model.model.classifier.bias"] = torch.full((2,), torch.nan)
    tensors["base_model.model.score.weight"] = torch.zeros(0)
    save_file(tensors, folder / WEIGHTS)
    assert load_pool(folder, backbone).messages == (
        "adapter m: features do not use, and this leaves out: classifier, score",
    )


def test_without_a_model_what_lies_beside_is_named(tmp_path: Path, bert: BertModel) -> None:
    folder = _save(tmp_path / "m", _on(bert, BertForSequenceClassification), modules_to_save=["classifier"])
    assert load_pool(folder).messages == (
        "adapter m: beside LoRA it holds classifier; whether features use it, the model decides",
    )


@pytest.fixture
def named(tmp_path: Path) -> Callable[..., Path]:
    """named("owner/model"): a pool of one adapter that names its base."""

    def make(base: str | None, **more: Any) -> Path:
        rng = np.random.default_rng(0)
        a, b = rng.normal(size=(2, 16)).astype(np.float32), rng.normal(size=(16, 2)).astype(np.float32)
        save_module(tmp_path / "m", LoraModule("m", 2, 1.0, {QUERY: a}, {QUERY: b}, base_model=base, **more))
        return tmp_path

    return make


@pytest.mark.parametrize(
    "base",
    ["small-bert", "owner/small-bert", "Owner/Small-BERT", "/data/small-bert", "./small-bert/", r"D:\models\small-bert",
     "/cache/hub/models--owner--small-bert/snapshots/1f2e3d", None, ""],
)  # fmt: skip
def test_the_same_model_by_another_path(named: Callable[..., Path], backbone: Backbone, base: str | None) -> None:
    assert load_pool(named(base), backbone).messages == ()


@pytest.mark.parametrize("base", ["owner/large-bert", "/data/other", "/cache/hub/models--o--x/snapshots/small-bert"])
def test_another_model_is_warned_of(named: Callable[..., Path], backbone: Backbone, base: str) -> None:
    (message,) = load_pool(named(base), backbone).messages
    assert message == (
        f"trained on {base!r}, while the model here is 'small-bert', by the config of m: adapters fit only the weights "
        "they were trained on"
    )


def test_known_weights_are_the_model_whatever_the_name(named: Callable[..., Path], backbone: Backbone) -> None:
    assert load_pool(named("other", base_fingerprint=backbone.fingerprint), backbone).messages == ()
