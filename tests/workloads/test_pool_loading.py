"""Pools: several adapters of one base model, matched to a backbone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from edge_adapt.errors import EdgeAdaptError, UsageError
from edge_adapt.workloads.family_shapes import module_shape
from edge_adapt.workloads.models import Backbone, weights_fingerprint
from edge_adapt.workloads.pools import LoraModule, default_pool, load_pool, save_module, save_pool_info
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import BertConfig, BertModel

SMALL = BertConfig(vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24)
QUERY, VALUE = (f"encoder.layer.0.attention.self.{name}" for name in ("query", "value"))
UP = "encoder.layer.1.intermediate.dense"


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    torch.manual_seed(0)
    module = BertModel(SMALL, add_pooling_layer=False)
    return Backbone(
        name="small",
        module=module,
        preprocessor=Tokenizer(WordLevel({"a": 0}, unk_token="a")),
        pooling="mean",
        fingerprint=weights_fingerprint(module),
        shape=module_shape(module, "small"),
    )


def _module(name: str, rank: int, shapes: dict[str, tuple[int, int]], **more: str) -> LoraModule:
    rng = np.random.default_rng(rank)
    a = {linear: rng.normal(size=(rank, shape[1])).astype(np.float32) for linear, shape in shapes.items()}
    b = {linear: rng.normal(size=(shape[0], rank)).astype(np.float32) for linear, shape in shapes.items()}
    return LoraModule(name, rank, 2.0, a, b, **more)  # type: ignore[arg-type]


def _pool(folder: Path, *modules: LoraModule) -> Path:
    for module in modules:
        save_module(folder / module.name, module)
    return folder


SQUARE = {QUERY: (16, 16), VALUE: (16, 16)}


def test_a_folder_of_adapters(tmp_path: Path, backbone: Backbone) -> None:
    movie = _module("movie", 4, SQUARE, task="movie")
    news = _module("news", 2, {QUERY: (16, 16), UP: (24, 16)})
    folder = _pool(tmp_path / "pool", news, movie)
    (folder / ".tmp-left").mkdir()
    (folder / "README.md").write_text("not an adapter")
    save_pool_info(folder, {"base_model": "small", "base_fingerprint": backbone.fingerprint, "seed": 3})
    pool = load_pool(folder, backbone)
    assert [(module.name, module.rank, module.task) for module in pool.modules] == [
        ("movie", 4, "movie"),
        ("news", 2, None),
    ]
    assert pool.target_names == (QUERY, VALUE, UP)  # the backbone's order
    assert pool.metadata["seed"] == 3
    assert pool.path == str(folder)
    for module, original in zip(pool.modules, (movie, news), strict=True):
        assert tuple(module.a) == tuple(module.b) == pool.target_names
        for linear in pool.target_names:
            if linear in original.a:
                np.testing.assert_array_equal(module.delta(linear), original.delta(linear))
            else:  # left alone: rank 0, no change
                assert module.a[linear].shape[0] == module.b[linear].shape[1] == 0
                assert not module.delta(linear).any()
    assert pool.modules[0].delta(UP).shape == (24, 16)
    assert pool.weights == 4 * 32 * 2 + 2 * 32 + 2 * 40


def test_one_adapter_and_several_paths(tmp_path: Path) -> None:
    _pool(tmp_path / "one", _module("best", 4, SQUARE), _module("other", 4, SQUARE))
    _pool(tmp_path / "two", _module("best", 3, SQUARE))
    assert [module.name for module in load_pool(tmp_path / "one/other").modules] == ["other"]
    pool = load_pool([tmp_path / "one", tmp_path / "two/best"])
    assert [(module.name, module.rank) for module in pool.modules] == [("one/best", 4), ("other", 4), ("two/best", 3)]
    with pytest.raises(UsageError, match="'one/best' is in the pool twice"):
        load_pool([tmp_path / "one", tmp_path / "one/best"])


def test_prefix_of_a_task_model_is_understood(tmp_path: Path, backbone: Backbone) -> None:
    original = _module("m", 4, {f"bert.{name}": shape for name, shape in SQUARE.items()})
    pool = load_pool(_pool(tmp_path, original), backbone)
    assert pool.target_names == (QUERY, VALUE)
    np.testing.assert_array_equal(pool.modules[0].a[QUERY], original.a[f"bert.{QUERY}"])


def test_different_base_models_are_refused(tmp_path: Path) -> None:
    _pool(tmp_path, _module("a", 4, SQUARE, base_model="bert-x"), _module("b", 4, SQUARE, base_model="bert-y"))
    with pytest.raises(UsageError, match="different base models: 'a' of 'bert-x', 'b' of 'bert-y'"):
        load_pool(tmp_path)


def test_different_fingerprints_are_refused_whatever_the_names(tmp_path: Path) -> None:
    same = {"base_model": "bert-x"}
    _pool(tmp_path, _module("a", 4, SQUARE, base_fingerprint="1" * 64, **same))
    _pool(tmp_path, _module("b", 4, SQUARE, base_fingerprint="2" * 64, **same))
    with pytest.raises(UsageError, match="'a' and 'b' belong to base models with different weights"):
        load_pool(tmp_path)


def test_same_fingerprint_is_the_same_model_under_two_names(tmp_path: Path) -> None:
    for name in ("a", "b"):
        _pool(tmp_path, _module(name, 4, SQUARE, base_fingerprint="1" * 64, base_model=f"path/to/{name}"))
    assert len(load_pool(tmp_path).modules) == 2


@pytest.mark.parametrize("where", ["adapter", "pool.json"])
def test_a_pool_of_another_model_is_refused(tmp_path: Path, backbone: Backbone, where: str) -> None:
    module = _module("a", 4, SQUARE, base_model="big")
    if where == "adapter":
        module = replace(module, base_fingerprint="1" * 64)
    _pool(tmp_path, module)
    if where == "pool.json":
        save_pool_info(tmp_path, {"base_model": "big", "base_fingerprint": "1" * 64})
    with pytest.raises(UsageError, match="was trained on 'big', whose weights are not those of the model 'small'"):
        load_pool(tmp_path, backbone)


def test_shapes_of_the_backbone_decide(tmp_path: Path, backbone: Backbone) -> None:
    _pool(tmp_path, _module("a", 4, {QUERY: (16, 12)}))
    with pytest.raises(UsageError, match=rf"{QUERY} of shape \(16, 12\) .* 'small' is \(16, 16\)"):
        load_pool(tmp_path, backbone)


def test_linear_that_the_backbone_lacks(tmp_path: Path, backbone: Backbone) -> None:
    _pool(tmp_path, _module("a", 4, {"layers.0.q_proj": (16, 16)}))
    with pytest.raises(UsageError, match=r"does not fit the model 'small': unknown linear 'layers\.0\.q_proj'"):
        load_pool(tmp_path, backbone)


def test_shapes_that_differ_between_adapters(tmp_path: Path) -> None:
    _pool(tmp_path, _module("a", 4, {QUERY: (16, 16)}), _module("b", 4, {QUERY: (8, 8)}))
    with pytest.raises(UsageError, match=rf"'b' has a {QUERY} of shape \(8, 8\) .* others of \(16, 16\)"):
        load_pool(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        load_pool(tmp_path / "gone")
    with pytest.raises(UsageError, match=r"neither an adapter .* nor a folder of adapters"):
        load_pool(tmp_path)


def test_a_member_without_its_config_is_named(tmp_path: Path) -> None:
    _pool(tmp_path / "pool", _module("a", 4, SQUARE), _module("b", 4, SQUARE))
    (tmp_path / "pool/b/adapter_config.json").unlink()
    with pytest.raises(UsageError, match=r"pool/b holds adapter_model\.safetensors but no adapter_config\.json: put"):
        load_pool(tmp_path / "pool")
    with pytest.raises(UsageError, match=r"pool/b holds adapter_model\.safetensors but no adapter_config\.json"):
        load_pool([tmp_path / "pool/a", tmp_path / "pool/b"])


def test_every_module_on_the_list_must_be_there(tmp_path: Path) -> None:
    _pool(tmp_path, _module("a", 4, SQUARE), _module("added", 4, SQUARE))
    save_pool_info(tmp_path, {"modules": [{"name": "a"}]})
    assert [module.name for module in load_pool(tmp_path).modules] == ["a", "added"]
    save_pool_info(tmp_path, {"modules": [{"name": "a"}, {"name": "gone"}]})
    with pytest.raises(UsageError, match=r"pool\.json lists the module 'gone', but there is no adapter in .*gone: put"):
        load_pool(tmp_path)


@pytest.mark.parametrize("modules", [None, "a", ["a"], [{"task": "a"}], [{"name": 1}]])
def test_a_list_of_modules_that_is_none(tmp_path: Path, modules: object) -> None:
    _pool(tmp_path, _module("a", 4, SQUARE))
    save_pool_info(tmp_path, {"modules": modules})
    with pytest.raises(UsageError, match=r"pool\.json: `modules` must be a list"):
        load_pool(tmp_path)


def test_an_accuracy_that_is_no_number(tmp_path: Path) -> None:
    _pool(tmp_path, _module("a", 4, SQUARE))
    save_pool_info(tmp_path, {"modules": [{"name": "a", "held_out_accuracy": "good"}]})
    with pytest.raises(UsageError, match=r"held_out_accuracy of 'a' must be a number or null; got \"good\""):
        load_pool(tmp_path)


def test_broken_pool_file(tmp_path: Path) -> None:
    _pool(tmp_path, _module("a", 4, SQUARE))
    (tmp_path / "pool.json").write_text("{")
    with pytest.raises(EdgeAdaptError, match=r"cannot read .*pool\.json"):
        load_pool(tmp_path)


def test_no_shipped_pool() -> None:
    with pytest.raises(UsageError, match=r"the model 'gpt-5'.*edge-adapt pool train.*--method lora"):
        default_pool("gpt-5")
