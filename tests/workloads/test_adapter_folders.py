"""Adapters in peft format: the installed peft is the oracle for what they compute, here and there."""

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from edge_adapt.errors import EdgeAdaptError, UsageError
from edge_adapt.workloads.peft_config import read_config
from edge_adapt.workloads.peft_folder import LoraModule, load_module, save_module
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

peft = pytest.importorskip("peft")

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft calls transformers

SMALL = BertConfig(vocab_size=40, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24)
QUERY = "encoder.layer.0.attention.self.query"


def _model() -> BertModel:
    torch.manual_seed(0)
    return BertModel(SMALL, add_pooling_layer=False).eval()


_SAVED: dict[str, tuple[Any, dict[str, bytes]]] = {}  # peft's model and files of each config, made once


def _save_with_peft(folder: Path, **config: Any) -> Any:
    """An adapter with random A and B, written by peft; returns peft's model, not to be changed."""
    settings = {"r": 4, "lora_alpha": 8, "target_modules": ["query", "value"], "init_lora_weights": False} | config
    key = repr(settings)
    if key not in _SAVED:
        torch.manual_seed(1)
        model = peft.get_peft_model(_model(), peft.LoraConfig(**settings)).eval()
        model.save_pretrained(folder)
        _SAVED[key] = model, {file.name: file.read_bytes() for file in folder.iterdir()}
    model, files = _SAVED[key]
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return model


def _deltas(model: Any) -> dict[str, np.ndarray]:
    """peft's own change of every adapted weight."""
    return {
        name.removeprefix("base_model.model."): module.get_delta_weight("default").detach().numpy()
        for name, module in model.named_modules()
        if hasattr(module, "get_delta_weight")
    }


def _edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _edit_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rslora": {"use_rslora": True, "lora_alpha": 3},
    "all linears": {"target_modules": "all-linear", "r": 2},
    "rank pattern": {"rank_pattern": {"layer.1.attention.self.query": 7, "value": 3}},
    "alpha pattern": {"alpha_pattern": {r"encoder\.layer\.[02]\.attention\.self\.(query|value)": 5, "query": 1}},
    "both patterns, rslora": {
        "use_rslora": True,
        "rank_pattern": {r".*\.2\..*": 6},
        "alpha_pattern": {"^encoder.layer.2.attention.self.query": 40},
    },
    "some layers": {"layers_to_transform": [0, 2], "layers_pattern": "layer"},
    "dropout and gaussian": {"lora_dropout": 0.5, "init_lora_weights": "gaussian"},
    "negative alpha": {"lora_alpha": -6},
    "alpha of both signs, one of them zero": {
        "lora_alpha": -6,
        "alpha_pattern": {"0.attention.self.query": 2, "1.attention.self.value": 0, "2.attention.self.query": -1.5},
    },
    "negative alpha, rslora": {"use_rslora": True, "lora_alpha": -3},
    "orthogonal": {"init_lora_weights": "orthogonal"},
    "left out by a list": {"exclude_modules": ["1.attention.self.query"]},
    "a regular expression": {"target_modules": r".*\.(query|intermediate\.dense)"},
    "weight tying": {"ensure_weight_tying": True},
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_same_change_as_peft(tmp_path: Path, config: dict[str, Any]) -> None:
    expected = _deltas(_save_with_peft(tmp_path / "m", **config))
    module = load_module(tmp_path / "m")
    assert set(module.a) == set(module.b) == set(expected)
    for name, delta in expected.items():
        np.testing.assert_allclose(module.delta(name), delta, rtol=0, atol=1e-6)
        assert module.a[name].dtype == module.b[name].dtype == np.float32


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_same_output_as_peft(tmp_path: Path, config: dict[str, Any]) -> None:
    reference = _save_with_peft(tmp_path / "m", **config)
    module = load_module(tmp_path / "m")
    merged = _model()
    ids = torch.arange(24).view(2, 12)
    with torch.no_grad():
        for name in module.a:
            merged.get_submodule(name).weight += torch.from_numpy(module.delta(name))
        got = merged(input_ids=ids).last_hidden_state
        torch.testing.assert_close(got, reference(input_ids=ids).last_hidden_state, rtol=0, atol=1e-5)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_peft_reads_what_is_written_here(tmp_path: Path, config: dict[str, Any]) -> None:
    expected = _deltas(_save_with_peft(tmp_path / "m", **config))
    save_module(tmp_path / "again", load_module(tmp_path / "m"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # peft's word for keys it does not know or tensors it misses
        got = _deltas(peft.PeftModel.from_pretrained(_model(), tmp_path / "again"))
    assert set(got) == set(expected)
    for name, delta in expected.items():
        np.testing.assert_allclose(got[name], delta, rtol=0, atol=1e-6)


def _module(**changes: Any) -> LoraModule:
    rng = np.random.default_rng(0)
    a = {QUERY: rng.normal(size=(4, 16)).astype(np.float32)}
    b = {QUERY: rng.normal(size=(16, 4)).astype(np.float32)}
    plain = {"name": "m", "rank": 4, "scale": 2.0, "a": a, "b": b, "task": "movie", "base_model": "small"}
    return LoraModule(**(plain | {"base_fingerprint": "abc"} | changes))


def test_written_and_read_back(tmp_path: Path) -> None:
    module = _module()
    save_module(tmp_path / "m", module)
    back = load_module(tmp_path / "m")
    assert (back.name, back.rank, back.scale) == ("m", 4, 2.0)
    assert (back.task, back.base_model, back.base_fingerprint, back.messages) == ("movie", "small", "abc", ())
    np.testing.assert_array_equal(back.a[QUERY], module.a[QUERY])
    np.testing.assert_array_equal(back.b[QUERY], module.b[QUERY])


def test_half_precision(tmp_path: Path) -> None:
    module = _module()
    save_module(tmp_path / "m", module, dtype="float16")
    back = load_module(tmp_path / "m")
    assert back.a[QUERY].dtype == np.float32
    np.testing.assert_array_equal(back.a[QUERY], module.a[QUERY].astype(np.float16).astype(np.float32))
    assert (tmp_path / "m/adapter_model.safetensors").stat().st_size < 800


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_stored_precisions(tmp_path: Path, dtype: torch.dtype) -> None:
    _save_with_peft(tmp_path / "m")
    _edit_tensors(tmp_path / "m", lambda t: t.update({k: v.to(dtype) for k, v in t.items()}))
    expected = load_file(tmp_path / "m/adapter_model.safetensors")[f"base_model.model.{QUERY}.lora_A.weight"].float()
    np.testing.assert_array_equal(load_module(tmp_path / "m").a[QUERY], expected.numpy())


def test_writing_replaces_an_old_adapter_and_leaves_nothing_else(tmp_path: Path) -> None:
    save_module(tmp_path / "pool/m", _module(task="old"))
    save_module(tmp_path / "pool/m", _module(task="new"))
    assert load_module(tmp_path / "pool/m").task == "new"
    assert [path.name for path in (tmp_path / "pool").iterdir()] == ["m"]


def test_a_write_that_fails_keeps_the_old_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_adapt.workloads import peft_folder

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    save_module(tmp_path / "m", _module(task="old"))
    monkeypatch.setattr(peft_folder, "save", full)
    with pytest.raises(EdgeAdaptError, match=r"cannot write the adapter .*No space left"):
        save_module(tmp_path / "m", _module(task="new"))
    assert load_module(tmp_path / "m").task == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_dora_is_refused_by_name(tmp_path: Path) -> None:
    _save_with_peft(tmp_path / "m", use_dora=True)
    with pytest.raises(UsageError, match=r"use_dora = true is not supported: .* train the adapter with use_dora=False"):
        load_module(tmp_path / "m")


def test_trained_biases_are_refused_by_name(tmp_path: Path) -> None:
    _save_with_peft(tmp_path / "m", bias="lora_only")
    with pytest.raises(UsageError, match='bias = "lora_only" is not supported'):
        load_module(tmp_path / "m")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fan_in_fan_out", True),
        ("lora_bias", True),
        ("layer_replication", [[0, 2], [1, 3]]),
        ("target_parameters", ["x.weight"]),
        ("trainable_token_indices", [1, 2]),
        ("alora_invocation_tokens", [5]),
        ("velora_config", {"groups": 4}),
        ("use_bdlora", {"a": 1}),
        ("use_qalora", True),
        ("arrow_config", {"top_k": 2}),
        ("something_new", 1),
        ("init_lora_weights", "pissa_niter_16"),
        ("init_lora_weights", "olora"),
        ("init_lora_weights", "loftq"),
        ("init_lora_weights", "corda"),
        ("init_lora_weights", "lora_ga"),
    ],
)
def test_what_changes_the_maths_is_refused_with_the_key(tmp_path: Path, key: str, value: object) -> None:
    _save_with_peft(tmp_path / "m")
    _edit_config(tmp_path / "m", **{key: value})
    with pytest.raises(UsageError, match=f"{key} = .* is not supported"):
        load_module(tmp_path / "m")


@pytest.mark.parametrize("value", [None, False, {}, [], ""])
def test_unknown_keys_that_are_off_are_dropped(tmp_path: Path, value: object) -> None:
    _save_with_peft(tmp_path / "m")
    _edit_config(tmp_path / "m", something_new=value)
    load_module(tmp_path / "m")


def test_every_key_of_the_installed_peft_is_accepted_at_its_default(tmp_path: Path) -> None:
    _save_with_peft(tmp_path / "m")
    config = peft.LoraConfig(target_modules=["query", "value"], r=4, lora_alpha=8).to_dict()
    for key, value in config.items():
        plain = sorted(value) if isinstance(value, set) else value
        _edit_config(tmp_path / "m", **{key: getattr(plain, "value", plain)})
    load_module(tmp_path / "m")


def _swap(key: str, tensor: torch.Tensor | None) -> Callable[[dict[str, torch.Tensor]], object]:
    full = f"base_model.model.{QUERY}.{key}"
    return lambda tensors: tensors.pop(full) if tensor is None else tensors.update({full: tensor})


def _renamed(old: str, new: str) -> Callable[[dict[str, torch.Tensor]], object]:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        for name in list(tensors):
            tensors[name.replace(old, new)] = tensors.pop(name)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_swap("lora_B.weight", None), f"{QUERY} has a lora_A but no lora_B"),
        (_swap("lora_A.weight", None), f"{QUERY} has a lora_B but no lora_A"),
        (_swap("lora_A.weight", torch.zeros(5, 16)), rf"{QUERY} should have rank 4, but lora_A is \(5, 16\)"),
        (_swap("lora_B.weight", torch.zeros(16, 5)), rf"{QUERY} should have rank 4, but .* lora_B is \(16, 5\)"),
        (_swap("lora_A.weight", torch.zeros(4, 16, 1, 1)), f"{QUERY} has a lora_B but no lora_A"),
        (_swap("lora_A.weight", torch.zeros(4)), f"tensors of {QUERY} are no matrices"),
        (_swap("lora_A.weight", torch.zeros(0)), r"lora_A.weight is empty, of shape \(0,\): DeepSpeed ZeRO-3"),
        (_swap("lora_B.weight", torch.zeros(16, 0)), r"lora_B.weight is empty, of shape \(16, 0\)"),
        (_swap("lora_A.weight", torch.full((4, 16), torch.nan)), "holds values that are not finite"),
        (_swap("lora_B.weight", torch.full((16, 4), -torch.inf)), "holds values that are not finite"),
        (_swap("lora_A.weight", torch.full((4, 16), 1e300, dtype=torch.float64)), "holds values that are not finite"),
        (_swap("lora_A.weight", torch.full((4, 16), 3e38)), f"the change of {QUERY} is too large for float32"),
        (_swap("lora_A.weight", torch.zeros(4, 16, dtype=torch.int8)), "is stored as I8; allowed: F16, BF16"),
        (
            _swap("lora_A.weight", torch.zeros(4, 16).to(torch.float8_e4m3fn)),
            "is stored as F8_E4M3; allowed: F16, BF16",
        ),
        (lambda tensors: tensors.clear(), "holds no LoRA tensors of linear layers"),
        (_renamed(".weight", ".default.weight"), r"holds no LoRA .*its first tensor is .*lora_A\.default\.weight"),
    ],
    ids=[
        "no B",
        "no A",
        "rank A",
        "rank B",
        "conv",
        "vector",
        "ZeRO-3",
        "ZeRO-3 B",
        "nan",
        "inf",
        "float64",
        "huge",
        "int8",
        "float8",
        "empty",
        "state dict",
    ],
)
def test_broken_tensors(tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], object], message: str) -> None:
    _save_with_peft(tmp_path / "m")
    _edit_tensors(tmp_path / "m", change)
    with pytest.raises(EdgeAdaptError, match=message):
        load_module(tmp_path / "m")


def _truncate(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_truncate, "broken or truncated"),
        (lambda f: (f / "adapter_model.safetensors").write_bytes(b""), "broken or truncated"),
        (
            lambda f: (f / "adapter_model.safetensors").unlink(),
            "m holds no adapter_model.safetensors: beside .* README",
        ),
        (lambda f: (f / "adapter_config.json").unlink(), "cannot read .*adapter_config.json"),
        (lambda f: (f / "adapter_config.json").write_text("{"), "not JSON"),
        (lambda f: (f / "adapter_config.json").write_text("[]"), "is not a JSON object"),
        (
            lambda f: (f / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4}'),
            "lacks the key 'lora_alpha'",
        ),
        (lambda f: (f / "adapter_config.json").write_text("[" * 100_000), "not JSON that can be read"),
        (lambda f: (f / "adapter_config.json").write_text(f'{{"r": {10**400}}}'), "a number of 401 digits"),
        (lambda f: (f / "adapter_config.json").write_text('{"r": 4}'), "has no peft_type: only adapters that peft"),
        (
            lambda f: (f / "adapter_model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n"),
            "is not the file but Git LFS's pointer to it; fetch the file: git lfs pull",
        ),
    ],
    ids=[
        "cut",
        "empty",
        "no weights",
        "no config",
        "bad json",
        "list",
        "no alpha",
        "deep json",
        "long number",
        "not peft",
        "git lfs",
    ],
)
def test_broken_folders(tmp_path: Path, harm: Callable[[Path], object], message: str) -> None:
    _save_with_peft(tmp_path / "m")
    harm(tmp_path / "m")
    with pytest.raises(EdgeAdaptError, match=message) as caught:
        load_module(tmp_path / "m")
    assert "\n" not in str(caught.value)


RANK = "must be a whole number, at least 1"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("r", "x", f'r {RANK}; got "x"'),
        ("r", None, f"r {RANK}; got null"),
        ("r", True, f"r {RANK}; got true"),
        ("r", 4.5, f"r {RANK}; got 4.5"),
        ("r", 0, f"r {RANK}; got 0"),
        ("r", 1e300, f"r {RANK}; got 1e+300"),
        ("lora_alpha", "x", 'lora_alpha must be a number other than zero; got "x"'),
        ("lora_alpha", None, "lora_alpha must be a number other than zero; got null"),
        ("lora_alpha", 0, "lora_alpha must be a number other than zero; got 0"),
        ("lora_alpha", float("nan"), "lora_alpha must be a number other than zero; got NaN"),
        ("use_rslora", "false", 'use_rslora must be true or false; got "false"'),
        ("rank_pattern", {"value": "x"}, f'rank_pattern["value"] {RANK}; got "x"'),
        ("rank_pattern", {"value": 0}, f'rank_pattern["value"] {RANK}; got 0'),
        ("rank_pattern", [1], "rank_pattern must be an object of numbers by module path; got [1]"),
        ("rank_pattern", {"(": 3}, 'rank_pattern holds "(", which is no regular expression: missing )'),
        ("alpha_pattern", {"value": None}, 'alpha_pattern["value"] must be a number; got null'),
        ("base_model_name_or_path", 3, "base_model_name_or_path must be a text; got 3"),
        ("modules_to_save", "classifier", 'modules_to_save must be a list of names; got "classifier"'),
        ("layers_to_transform", "0", 'layers_to_transform must be a layer\'s number or a list of them; got "0"'),
        ("layers_pattern", [3], "layers_pattern must be a text or a list of them; got [3]"),
        ("target_modules", "(", 'target_modules holds "(", which is no regular expression: missing )'),
        ("exclude_modules", 3, "exclude_modules must be a text or a list of them; got 3"),
    ],
)
def test_a_wrong_value_is_told_with_file_and_key(tmp_path: Path, key: str, value: object, message: str) -> None:
    _save_with_peft(tmp_path / "m")
    _edit_config(tmp_path / "m", **{key: value})
    with pytest.raises(UsageError, match=re.escape(f"{tmp_path / 'm' / 'adapter_config.json'}: {message}")):
        load_module(tmp_path / "m")


KEYS = [f"encoder.layer.{i}.attention.self.{kind}" for i in range(3) for kind in ("query", "value")]
CHOICES: list[dict[str, Any]] = [
    {"layers_to_transform": [0]},
    {"layers_to_transform": 0},
    {"layers_to_transform": [0, 2], "layers_pattern": "layer"},
    {"layers_to_transform": [0, 1, 2], "layers_pattern": ["other", "layer"]},
    {"layers_to_transform": [0, 1, 2], "layers_pattern": "other"},
    {"layers_to_transform": []},
    {"layers_to_transform": [0], "target_modules": KEYS},
    {"layers_to_transform": [1], "target_modules": ["query", *KEYS[1::2]]},
    {"target_modules": ["query"]},
    {"target_modules": ["self.query", "lf.value"]},
    {"target_modules": r".*\.[02]\.attention\.self\.(query|value)"},
    {"target_modules": r"attention\.self\.query"},
    {"exclude_modules": ["0.attention.self.query", "uery"]},
    {"exclude_modules": r".*\.1\..*"},
]


@pytest.mark.parametrize("choice", CHOICES, ids=map(str, range(len(CHOICES))))
def test_tensors_that_peft_would_ignore_are_refused(tmp_path: Path, choice: dict[str, Any]) -> None:
    """A file with tensors for query and value of every layer, and a config that leaves some of them out."""
    _save_with_peft(tmp_path / "m")
    _edit_config(tmp_path / "m", **choice)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            adapted = set(_deltas(peft.PeftModel.from_pretrained(_model(), tmp_path / "m")))
    except ValueError:  # nothing at all to adapt
        adapted = set()
    targets = read_config(tmp_path / "m").targets
    assert {key for key in KEYS if targets.left_out_by(key) is None} == adapted
    if adapted == set(KEYS):
        assert set(load_module(tmp_path / "m").a) == adapted
        return
    key = next(iter(choice))
    with pytest.raises(
        UsageError, match=rf"holds tensors of encoder.*, which {key} of adapter_config\.json leaves out"
    ):
        load_module(tmp_path / "m")
