"""A digest changes when, and only when, what a simulation computes with changes."""

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from edge_adapt.devices import load_chip
from edge_adapt.devices.presets import find
from edge_adapt.methods import METHODS
from edge_adapt.studies import inputs
from edge_adapt.studies.variants import choose_variants
from edge_adapt.workloads.models import load_backbone
from edge_adapt.workloads.pools import LoraModule, Pool, load_pool, save_module
from edge_adapt.workloads.tasks import load_task
from PIL import Image
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import BertConfig, BertModel


def copied(source: Path, folder: Path) -> Path:
    """The same files elsewhere, with other times."""
    target = folder / source.name
    (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
    for path in (target, *target.rglob("*")):
        os.utime(path, (1e9, 1e9))
    return target


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    (tmp_path / "elsewhere").mkdir()
    return tmp_path / "elsewhere"


@pytest.fixture
def chip_file(tmp_path: Path) -> Path:
    """An own chip that names an own cell and an own periphery by file."""
    for kind, name in (("cell", "reram"), ("periphery", "isaac-32nm")):
        shutil.copyfile(find(kind, name), tmp_path / f"my-{kind}.yaml")
    text = find("chip", "reram").read_text()
    text = text.replace("cell: reram", "cell: ./my-cell.yaml")
    (tmp_path / "my-chip.yaml").write_text(text.replace("periphery: isaac-32nm", "periphery: ./my-periphery.yaml"))
    return tmp_path / "my-chip.yaml"


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("my-cell.yaml", 'g_max: {value: "40 uS"', 'g_max: {value: "41 uS"'),
        ("my-periphery.yaml", "title: ", "title: another "),
        ("my-chip.yaml", "rows: {value: 128", "rows: {value: 64"),
    ],
)
def test_a_chip_is_its_cell_and_its_periphery_too(chip_file, elsewhere, file, old, new):
    before = inputs.chip_sha256(load_chip(chip_file))
    for name in ("my-cell.yaml", "my-periphery.yaml", "my-chip.yaml"):
        copied(chip_file.parent / name, elsewhere)
    assert inputs.chip_sha256(load_chip(elsewhere / "my-chip.yaml")) == before, "the place and the time do not count"
    text = (chip_file.parent / file).read_text()
    assert old in text
    (chip_file.parent / file).write_text(text.replace(old, new))
    changed = load_chip(chip_file)
    if file == "my-periphery.yaml":  # a title is no number, and the report repeats it
        assert changed.periphery.title.startswith("another")
    assert inputs.chip_sha256(changed) != before


def test_what_set_changes_is_part_of_a_chip():
    assert inputs.chip_sha256(load_chip("reram")) == inputs.chip_sha256(load_chip("reram"))
    digests = {inputs.chip_sha256(load_chip("reram", {"adc.bits": str(n)})) for n in (6, 7, 8)}
    assert len(digests) == 3
    assert inputs.chip_sha256(load_chip("reram")) != inputs.chip_sha256(load_chip("pcm"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "good", "bad"]
    config = BertConfig(
        vocab_size=4, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=16,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path / "model")
    Tokenizer(WordLevel({word: n for n, word in enumerate(words)}, unk_token="[UNK]")).save(
        str(tmp_path / "model" / "tokenizer.json")
    )
    return tmp_path / "model"


def test_a_model_is_weights_configuration_and_tokenizer(model, elsewhere):
    digest = lambda folder: inputs.model_sha256(load_backbone(folder))
    before = digest(model)
    assert digest(copied(model, elsewhere)) == before
    (model / "README.md").write_text("nothing is read from here")
    assert digest(model) == before
    for name, change in (
        ("config.json", lambda text: text.replace('"layer_norm_eps": 1e-12', '"layer_norm_eps": 1e-6')),
        ("tokenizer.json", lambda text: text.replace('"good"', '"fine"')),
    ):
        text = (model / name).read_text()
        assert change(text) != text
        (model / name).write_text(change(text))
        assert digest(model) != before, name
        (model / name).write_text(text)
    assert digest(model) == before
    path = model / "model.safetensors"
    times, weights = path.stat(), load_file(path)
    name = next(iter(weights))
    weights[name].ravel()[0] += 1.0
    save_file(weights, path, {"format": "pt"})
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_size == times.st_size
    assert digest(model) != before, "one weight, with the size and the time of the file as they were"


def test_a_pool_is_every_number_of_its_modules(tmp_path, elsewhere):
    def write(folder: Path, value: float, rank: int = 2) -> Pool:
        a, b = {"x": np.full((rank, 3), value, np.float32)}, {"x": np.ones((4, rank), np.float32)}
        save_module(folder / "one", LoraModule("one", rank, 1.0, a, b, "reviews"))
        return load_pool(folder)

    before = inputs.pool_sha256(write(tmp_path / "pool", 0.5))
    assert inputs.pool_sha256(load_pool(copied(tmp_path / "pool", elsewhere))) == before
    assert inputs.pool_sha256(write(tmp_path / "other", 0.5000001)) != before
    assert inputs.pool_sha256(write(tmp_path / "third", 0.5, rank=3)) != before


def test_a_task_is_its_rows(tmp_path, elsewhere):
    rows = [f"film {n} was {word},{label}" for n in range(6) for word, label in (("good", "up"), ("bad", "down"))]

    def written(lines: list[str]) -> str:
        (tmp_path / "reviews.csv").write_text("\n".join(["text,label", *lines]) + "\n")
        return inputs.task_sha256(load_task(tmp_path / "reviews.csv", 4))

    before = written(rows)
    assert inputs.task_sha256(load_task(copied(tmp_path / "reviews.csv", elsewhere), 4)) == before
    assert inputs.task_sha256(load_task(tmp_path / "reviews.csv", 2)) != before, "another division"
    assert written([*rows[:-1], rows[-1].replace("down", "up")]) != before
    assert written([*rows[:-1], rows[-1].replace("film", "plot")]) != before
    assert written([*rows, rows[0]]) != before, "the report says that a repeated text was left out"
    assert written(rows) == before


def test_a_picture_counts(tmp_path):
    def written(grey: int) -> str:
        for label in ("a", "b"):
            (tmp_path / "pictures" / label).mkdir(parents=True, exist_ok=True)
            for n in range(4):
                shade = grey if (label, n) == ("a", 0) else 40 * n + 3 * (label == "b") + 1
                Image.new("L", (4, 4), shade).save(tmp_path / "pictures" / label / f"{n}.png")
        return inputs.task_sha256(load_task(tmp_path / "pictures", 2))

    assert written(200) == written(200)
    assert written(200) != written(201)


def test_methods_are_their_recipes_and_what_they_start_from(tmp_path):
    digest = lambda names, **settings: inputs.methods_sha256(choose_variants(names, settings))
    assert len({digest((name,)) for name in METHODS}) == len(METHODS)
    assert digest(("lora",)) == digest(("lora",))
    assert digest(("lora",)) != digest(("lora:DIGITAL",))
    for change in ({"lora.rank": "4"}, {"lora.recipe.epochs": "3"}, {"lora.recipe.learning_rates.head": "0.01"},
                   {"lora.recipe.optimiser": "mezo"}, {"recipe.objective": "label-smoothing"}):  # fmt: skip
        assert digest(("lora",), **change) != digest(("lora",))
    smoothed = {share: {"recipe.objective": "label-smoothing", "recipe.smoothing": share} for share in ("0.1", "0.2")}
    assert digest(("lora",), **smoothed["0.1"]) != digest(("lora",), **smoothed["0.2"])
    for n, name in enumerate(("one", "two", "three")):
        (tmp_path / name).write_bytes(b"%d" % (n // 2))
    of_file = lambda name: digest(("vpt",), **{"vpt.warm_start": str(tmp_path / name)})
    assert of_file("one") == of_file("two") != of_file("three")
    assert of_file("one") != digest(("vpt",))


def test_code_and_versions(monkeypatch):
    assert inputs.code_sha256() == inputs.code_sha256()
    assert inputs.versions_that_decide()["torch"] == torch.__version__
    assert {"pillow", "onnxruntime"} <= inputs.versions_that_decide(of_images=True, in_bundles=True).keys()
    assert "pillow" not in inputs.versions_that_decide()
    assert inputs.arithmetic().endswith(("8-bit whole numbers", "float32"))


def test_what_has_no_digest_is_an_error():
    @dataclasses.dataclass
    class Odd:
        thing: object

    with pytest.raises(TypeError, match="no digest of a function"):
        inputs._sha256("odd", Odd(lambda: None))
