"""What `save_pretrained`, trainers and other programs leave on a disk: all of it is loaded, or named, or refused."""

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from edge_adapt.errors import EdgeAdaptError, UsageError
from edge_adapt.workloads.peft_folder import CONVERT, LoraModule, save_module
from edge_adapt.workloads.pools import load_pool
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

peft = pytest.importorskip("peft")

pytestmark = pytest.mark.filterwarnings("ignore")  # peft's and torch's words about what these tests do

SMALL = BertConfig(vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24)
NAME = "encoder.layer.0.attention.self.query"
CONFIG, WEIGHTS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"


def _adapter(folder: Path, seed: int = 0, **more: Any) -> Path:
    """An adapter of one matrix."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, 16)).astype(np.float32), rng.normal(size=(16, 2)).astype(np.float32)
    save_module(folder, LoraModule(folder.name, 2, 1.0, {NAME: a}, {NAME: b}, **more))
    return folder


def _with_peft(*names: str) -> Any:
    """peft's model with one adapter for each name."""
    torch.manual_seed(0)
    config = peft.LoraConfig(r=2, target_modules=["query"], init_lora_weights=False)
    model = peft.get_peft_model(BertModel(SMALL, add_pooling_layer=False), config, adapter_name=names[0])
    for name in names[1:]:
        model.add_adapter(name, config)
    return model


def _names(path: Path) -> list[str]:
    return [module.name for module in load_pool(path).modules]


@pytest.fixture
def delta() -> Callable[[Path], np.ndarray]:
    return lambda path: load_pool(path).modules[0].delta(NAME)


def test_several_adapters_of_one_model(tmp_path: Path) -> None:
    """peft puts "default" into the folder itself and the others into sub-folders."""
    model = _with_peft("default", "movie", "news")
    model.save_pretrained(tmp_path / "pool")
    pool = load_pool(tmp_path / "pool")
    assert [module.name for module in pool.modules] == ["pool", "movie", "news"]
    for module, name in zip(pool.modules, ("default", "movie", "news"), strict=True):
        expected = model.get_submodule(f"base_model.model.{NAME}").get_delta_weight(name).detach().numpy()
        np.testing.assert_allclose(module.delta(NAME), expected, atol=1e-6)
    assert pool.messages == (
        f"{tmp_path / 'pool'} is an adapter and holds others, which are in the pool too: movie, news",
    )


def test_adapters_with_names_lie_one_folder_deeper(tmp_path: Path) -> None:
    for name in ("movie", "news"):
        _with_peft(name).save_pretrained(tmp_path / "pool" / name)
    assert (tmp_path / "pool/movie/movie" / CONFIG).is_file()
    assert _names(tmp_path / "pool") == ["movie", "news"]


def test_checkpoints_of_a_finished_run_are_left_out_by_name(tmp_path: Path) -> None:
    run = _adapter(tmp_path / "pool/movie")
    for step in (100, 20):
        _adapter(run / f"checkpoint-{step}", step)
        (run / f"checkpoint-{step}/optimizer.pt").write_bytes(b"state")
    (run / "runs").mkdir()
    pool = load_pool(tmp_path / "pool")
    assert [module.name for module in pool.modules] == ["movie"]
    assert pool.messages == (f"checkpoints in {run} are left out: checkpoint-20, checkpoint-100",)
    assert load_pool(run).messages == pool.messages
    assert _names(run / "checkpoint-20") == ["checkpoint-20"]  # asked for, it is an adapter as any


def test_checkpoints_alone(tmp_path: Path) -> None:
    _adapter(tmp_path / "run/checkpoint-90")
    assert _names(tmp_path / "run") == ["checkpoint-90"]
    _adapter(tmp_path / "run/checkpoint-100", 1)
    with pytest.raises(
        UsageError, match=r"2 checkpoints of one .* \(checkpoint-90, checkpoint-100\) .* e\.g\. .*-100$"
    ):
        load_pool(tmp_path / "run")


def test_one_adapter_that_holds_no_others(tmp_path: Path) -> None:
    folder = _adapter(tmp_path / "m")
    for name in ("README.md", "optimizer.pt", "training_args.bin", "tokenizer.json", f"._{WEIGHTS}", f"._{CONFIG}"):
        (folder / name).write_bytes(b"x")
    pool = load_pool(folder)
    assert [module.name for module in pool.modules] == ["m"]
    assert pool.messages == ()


def test_folders_without_an_adapter_are_named(tmp_path: Path) -> None:
    _adapter(tmp_path / "pool/movie")
    for name in ("notes", "empty", ".hidden", "__MACOSX", "__pycache__"):
        (tmp_path / "pool" / name).mkdir()
    (tmp_path / "pool/notes/README.md").write_text("none here")
    (tmp_path / "pool/__MACOSX" / f"._{CONFIG}").write_text("x")
    pool = load_pool(tmp_path / "pool")
    assert [module.name for module in pool.modules] == ["movie"]
    assert pool.messages == (f"folders in {tmp_path / 'pool'} without an adapter: empty, notes",)


def test_a_readme_is_no_pool(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("weights follow")
    with pytest.raises(UsageError, match=r"neither an adapter \(adapter_config\.json\) nor a folder of adapters"):
        load_pool(tmp_path)


def test_a_file_is_no_pool(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is a file; give the folder of the adapter, or a folder of adapters"):
        load_pool(_adapter(tmp_path / "m") / WEIGHTS)


def test_links_keep_their_own_names(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    for number, name in enumerate(("movie", "news")):
        _adapter(tmp_path / f"runs/{number}/final", number)
        (tmp_path / "pool" / name).symlink_to(tmp_path / f"runs/{number}/final")
    (tmp_path / "pool/up").symlink_to(tmp_path)  # round in a circle
    assert _names(tmp_path / "pool") == ["movie", "news"]


def test_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    _adapter(tmp_path / "movie")
    (tmp_path / "news").symlink_to("gone")
    with pytest.raises(UsageError, match=r"news is a link to gone, which is not there"):
        load_pool(tmp_path)


@pytest.mark.parametrize("name", [b"\xff", b"a\nb", b"a\x1b[31m"])
def test_names_that_no_report_can_hold(tmp_path: Path, name: bytes) -> None:
    folder = tmp_path / os.fsdecode(name)
    _adapter(folder)
    with pytest.raises(
        UsageError, match=r"the folder name '.*\\.*' holds signs that no report can; rename it"
    ) as caught:
        load_pool(folder.parent)
    assert "\n" not in str(caught.value)


def test_names_in_any_script_are_names(tmp_path: Path) -> None:
    for number, name in enumerate(("Фильмы", "映画", "a b", "a\xa0b", "👩\u200d🔬")):
        _adapter(tmp_path / name, number)
    assert len(_names(tmp_path)) == 5


def test_the_working_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(_adapter(tmp_path / "movie"))
    assert _names(Path()) == ["movie"]


def test_shards_are_joined(tmp_path: Path, delta: Callable[[Path], np.ndarray]) -> None:
    whole = _adapter(tmp_path / "whole")
    shutil.copytree(whole, tmp_path / "m")
    (tmp_path / "m" / WEIGHTS).unlink()
    for number, (name, tensor) in enumerate(load_file(whole / WEIGHTS).items(), 1):
        save_file({name: tensor}, tmp_path / f"m/adapter_model-0000{number}-of-00002.safetensors")
    np.testing.assert_array_equal(delta(tmp_path / "m"), delta(whole))
    (tmp_path / "m/adapter_model-00001-of-00002.safetensors").unlink()
    with pytest.raises(EdgeAdaptError, match=r"m lacks 1 of the 2 files of its adapter: no\. 1"):
        load_pool(tmp_path / "m")


def test_older_weights_beside_the_new_are_named(tmp_path: Path) -> None:
    (_adapter(tmp_path / "m") / PICKLE).write_bytes(b"not opened")
    assert load_pool(tmp_path / "m").messages == (f"adapter m: {PICKLE} is left aside: {WEIGHTS} is read",)


class _Touch:
    """Unpickled, it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("harmful", [False, True], ids=["of peft", "of an attacker"])
def test_a_pickle_is_never_opened_and_its_conversion_runs_no_code(
    tmp_path: Path, delta: Callable[[Path], np.ndarray], harmful: bool
) -> None:
    folder, trace = tmp_path / "a folder", tmp_path / "trace"
    model = _with_peft("default")
    model.save_pretrained(folder, safe_serialization=False)
    if harmful:
        torch.save({"x": _Touch(trace)}, folder / PICKLE)
        pickle.loads(pickle.dumps(_Touch(tmp_path / "proof"))).close()
        assert (tmp_path / "proof").exists()
    with pytest.raises(
        UsageError, match=r"holds adapter_model\.bin, a pickle, which could run code .* python"
    ) as caught:
        load_pool(folder)
    command = str(caught.value).partition(f"{WEIGHTS}: ")[2]
    assert command.endswith(CONVERT)
    python = command.replace("python -c", f"{sys.executable} -c")
    done = subprocess.run(["sh", "-c", python], capture_output=True, text=True, check=False)
    assert not trace.exists()
    if harmful:
        assert done.returncode != 0
        assert "weights_only" in done.stderr.lower() or "Unsupported" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    expected = model.get_submodule(f"base_model.model.{NAME}").get_delta_weight("default").detach().numpy()
    np.testing.assert_allclose(delta(folder), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (None, r"m holds no adapter_model\.safetensors: it holds only adapter_config\.json; save"),
        ("model.safetensors", r"beside adapter_config\.json lie only model\.safetensors; save"),
        ("adapter_model.pt", r"beside adapter_config\.json lie only adapter_model\.pt; save"),
    ],
)
def test_weights_that_are_not_there(tmp_path: Path, file: str | None, message: str) -> None:
    folder = _adapter(tmp_path / "m")
    (folder / WEIGHTS).unlink()
    if file is not None:
        (folder / file).write_bytes(b"x")
    with pytest.raises(EdgeAdaptError, match=message):
        load_pool(folder)


def test_untrained_and_equal_adapters_are_named(tmp_path: Path) -> None:
    _adapter(tmp_path / "a", 1)
    _adapter(tmp_path / "b", 2)
    _adapter(tmp_path / "c", 1)
    fresh = peft.get_peft_model(BertModel(SMALL), peft.LoraConfig(r=2, target_modules=["query"]))
    for name in ("d", "e"):
        fresh.save_pretrained(tmp_path / name)
    assert load_pool(tmp_path).messages == (
        "adapter d changes nothing: all its updates are zero, as before training",
        "adapter e changes nothing: all its updates are zero, as before training",
        "adapters a, c are one and the same: their weights are equal",
    )


def test_one_base_under_several_names(tmp_path: Path) -> None:
    for number, base in enumerate(
        ("owner/Some-Model", "/data/models/some-model/", r"C:\models\some-model",
         "/cache/models--owner--some-model/snapshots/0a1b")
    ):  # fmt: skip
        _adapter(tmp_path / f"m{number}", number, base_model=base)
    assert len(load_pool(tmp_path).modules) == 4
    _adapter(tmp_path / "other", 9, base_model="owner/other-model")
    with pytest.raises(UsageError, match=r"different base models: 'm\d' of '.*', 'other' of 'owner/other-model'"):
        load_pool(tmp_path)
