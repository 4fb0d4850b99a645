"""What a model folder can have wrong with it: refused in one line, and nothing in it is ever run."""

import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from edge_adapt.errors import EdgeAdaptError, UsageError
from edge_adapt.workloads.models import load_backbone
from edge_adapt.workloads.named_shapes import load_shape
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import BertConfig, BertForMaskedLM

SMALL = BertConfig(
    vocab_size=60, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
    max_position_embeddings=34,
)  # fmt: skip
QUERY = "encoder.layer.1.attention.self.query.weight"


@pytest.fixture
def folder(model_folder: Callable[[Any], Path]) -> Path:
    return model_folder(SMALL)


def _change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text() if path.is_file() else "{}") | values))


def _weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.fixture
def hostile(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose Python files say so when they are run, with somebody at the terminal who agrees to everything."""
    code = f"open({str(folder / 'was-run')!r}, 'w').close()\n"
    names = ["configuration_own", "modeling_own", "tokenization_own"]
    for name in names:
        (folder / f"{name}.py").write_text(
            code + "from transformers import BertConfig as OwnConfig, BertModel as OwnModel\n"
            "from transformers import BertTokenizer as OwnTokenizer\n"
        )
    _change(
        folder / "config.json",
        auto_map={"AutoConfig": "configuration_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"},
        custom_pipelines={"own": {"impl": "modeling_own.OwnModel"}},
    )
    _change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["tokenization_own.OwnTokenizer", None]})
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 9))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question was asked"))
    return folder


def _not_run(folder: Path) -> bool:
    return not (folder / "was-run").exists()


def test_code_of_a_known_type_is_not_run_and_the_reader_is_told(hostile: Path) -> None:
    backbone = load_backbone(hostile)
    assert type(backbone.module).__module__ == "transformers.models.bert.modeling_bert"
    assert _not_run(hostile)
    (message,) = backbone.messages
    assert "auto_map" in message
    assert "not run" in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"model_type": ["bert"]}', r"transformers has no model_type \['bert'\]"),
        ('{"model_type": {}}', "transformers has no model_type {}"),
        ("[" * 100_000, "config.json: not JSON that can be read: nested deeper"),
        ('{"model_type": "bert", "hidden_act": "nope"}', "nothing is known by the name 'nope'"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:x\n", "Git LFS's pointer to it; .*git lfs pull"),
    ],
    ids=["list", "object", "deep", "activation", "pointer"],
)
def test_odd_configurations(folder: Path, content: str, said: str) -> None:
    (folder / "config.json").write_text(content)
    for read in (load_backbone, load_shape):
        with pytest.raises(EdgeAdaptError, match=said) as caught:
            read(str(folder))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_pointers_of_git_lfs_are_named(folder: Path, name: str) -> None:
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:x\nsize 3\n")
    with pytest.raises(EdgeAdaptError, match=rf"{name} is not the file but Git LFS's pointer .*git lfs pull"):
        load_backbone(folder)


def test_an_encoder_that_is_told_to_be_a_decoder(folder: Path) -> None:
    _change(folder / "config.json", is_decoder=True)
    with pytest.raises(UsageError, match=r"a 'bert' model is not a text encoder here, as .*\"is_decoder\": true"):
        load_backbone(folder)


def test_a_type_of_its_own_is_refused(hostile: Path) -> None:
    _change(hostile / "config.json", model_type="own")
    with pytest.raises(EdgeAdaptError, match=r"no model_type 'own'; its own code \(auto_map\) is never run"):
        load_backbone(hostile)
    assert _not_run(hostile)


def test_code_of_a_tokenizer_is_not_run(hostile: Path) -> None:
    """Neither beside a vocabulary that transformers can read, nor in place of one."""
    (hostile / "tokenizer.json").unlink()
    with pytest.raises(EdgeAdaptError, match="no vocabulary"):
        load_backbone(hostile)
    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]", *(f"w{i}" for i in range(5, 60))]
    (hostile / "vocab.txt").write_text("\n".join(words) + "\n")
    tokenizer = load_backbone(hostile).tokenizer
    assert tokenizer.token_to_id("w9") == 9
    assert _not_run(hostile)


def test_an_attention_of_the_hub_is_not_fetched(folder: Path) -> None:
    _change(folder / "config.json", attn_implementation="somebody/kernels", _attn_implementation="somebody/kernels")
    assert load_backbone(folder).module.config._attn_implementation in ("sdpa", "eager")


class _Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_pickled_weights_are_not_opened(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Payload(folder / "was-run")))
    with pytest.raises(EdgeAdaptError, match=r"pytorch_model\.bin is pickled.*save_pretrained"):
        load_backbone(folder)
    assert _not_run(folder)


def test_half_precision_becomes_float32(folder: Path) -> None:
    exact = load_backbone(folder).module.get_parameter(QUERY)
    for dtype in (torch.float16, torch.bfloat16):
        _weights(folder, lambda w, dtype=dtype: w.update({n: t.to(dtype) for n, t in w.items()}))
        _change(folder / "config.json", dtype=str(dtype).removeprefix("torch."))
        found = load_backbone(folder).module.get_parameter(QUERY)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, exact, rtol=1e-2, atol=1e-3)


def test_shards_are_put_together(folder: Path) -> None:
    before = load_backbone(folder).fingerprint
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    places = {}
    for number, names in enumerate((sorted(weights)[::2], sorted(weights)[1::2])):
        save_file({n: weights[n] for n in names}, folder / f"part-{number}.safetensors", metadata={"format": "pt"})
        places |= dict.fromkeys(names, f"part-{number}.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    assert load_backbone(folder).fingerprint == before
    (folder / "part-1.safetensors").unlink()
    with pytest.raises(EdgeAdaptError, match=r"part-1\.safetensors, which model\.safetensors\.index\.json"):
        load_backbone(folder)
    index.write_text(json.dumps({"weight_map": dict.fromkeys(places, "../elsewhere.safetensors")}))
    with pytest.raises(EdgeAdaptError, match="no file of the folder"):
        load_backbone(folder)


def _drop(name: str) -> Callable[[Path], None]:
    return lambda folder: _weights(folder, lambda weights: weights.pop(name))


def _put(name: str, value: torch.Tensor) -> Callable[[Path], None]:
    return lambda folder: _weights(folder, lambda weights: weights.update({name: value}))


def _config(**values: Any) -> Callable[[Path], None]:
    return lambda folder: _change(folder / "config.json", **values)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_drop(QUERY), f"lack {QUERY}"),
        (_drop("embeddings.word_embeddings.weight"), "lack embeddings.word_embeddings.weight"),
        (_put(QUERY, torch.zeros(5, 7)), r"another shape for encoder.*\[5, 7\], and config.json makes it \[16, 16\]"),
        (_put(QUERY, torch.full((16, 16), torch.nan)), f"{QUERY} holds NaN"),
        (_put(QUERY, torch.full((16, 16), torch.inf)), f"{QUERY} holds NaN or inf"),
        (_put(QUERY, torch.zeros(16, 16, dtype=torch.int8)), r"is quantised \(I8\)"),
        (_put(QUERY, torch.zeros(16, 16, dtype=torch.float8_e4m3fn)), r"is quantised \(F8_E4M3\)"),
        (_config(num_hidden_layers=3), "lack encoder.layer.2"),
        (_config(num_hidden_layers=1), "hold what config.json has no place for: encoder.layer.1"),
        (_put("encoder.layer.0.attention.self.distance_embedding.weight", torch.zeros(3, 8)), "no place for.*distance"),
        (_config(hidden_size=24, intermediate_size=24), "another shape for"),
        (_config(num_attention_heads=3), "tiny"),
        (_config(hidden_size="wide"), "config.json"),
        (_config(quantization_config={"quant_method": "gptq", "bits": 4}), r"quantised weights \(gptq\)"),
        (_config(model_type=None), "does not say what the model is"),
        (lambda f: (f / "config.json").write_text("[]"), "expected an object, found list"),
        (lambda f: (f / "adapter_config.json").write_text("{}"), "a model and an adapter"),
        (lambda f: (f / "model.safetensors").rename(f / "other.safetensors"), "no model.safetensors"),
    ],
)
def test_weights_that_are_not_the_model_s(folder: Path, harm: Callable[[Path], Any], message: str) -> None:
    harm(folder)
    with pytest.raises(EdgeAdaptError, match=message) as caught:
        load_backbone(folder)
    assert "\n" not in str(caught.value)


def test_a_folder_of_an_adapter_alone(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UsageError, match=r"holds an adapter, not a model.*--pool"):
        load_backbone(tmp_path)


def test_a_pooler_that_is_not_there_is_not_drawn_at_random(model_folder: Callable[[Any], Path]) -> None:
    """LayoutLM always has one, which features do not use; without its weights the model is the same each time."""
    from transformers import LayoutLMConfig

    folder = model_folder(LayoutLMConfig(**{key: getattr(SMALL, key) for key in (
        "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")}))  # fmt: skip
    _weights(folder, lambda weights: [weights.pop(name) for name in list(weights) if name.startswith("pooler")])
    assert load_backbone(folder).fingerprint == load_backbone(folder).fingerprint


def test_the_head_s_model_gives_its_encoder(folder: Path) -> None:
    """Weights under `bert.`, those of the head left out: the same encoder."""
    before = load_backbone(folder)
    model = BertForMaskedLM(SMALL)
    model.bert.load_state_dict(before.module.state_dict())
    model.save_pretrained(folder)
    assert load_backbone(folder).fingerprint == before.fingerprint


def test_ids_beyond_the_table_of_words(folder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens(["extra"])
    tokenizer.save(str(folder / "tokenizer.json"))
    with pytest.raises(EdgeAdaptError, match=r"ids up to 60 \('extra'\), and the model has vectors for 60"):
        load_backbone(folder)


def test_padding_and_truncation_of_the_file_have_no_say(folder: Path) -> None:
    plain = load_backbone(folder).encode([], 8), load_backbone(folder).tokenizer.encode("w4 w5 w6").ids
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding(direction="left", pad_id=0, length=20)
    tokenizer.enable_truncation(4, direction="left")
    tokenizer.save(str(folder / "tokenizer.json"))
    assert load_backbone(folder).tokenizer.encode("w4 w5 w6").ids == plain[1]
    assert np.array_equal(plain[1], [1, 4, 5, 6, 2])
