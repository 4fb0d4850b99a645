"""`edge-adapt pool fit`: what it writes computes in peft what was trained, and what it says can be counted by hand."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from edge_adapt.studies import pool_fit
from edge_adapt.workloads.pools import load_pool
from edge_adapt.workloads.tasks import load_task
from safetensors import safe_open
from safetensors.numpy import load_file
from tokenizers import Tokenizer
from transformers import BertModel

peft = pytest.importorskip("peft")

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft calls transformers

FORMS = [(), ("--no-magnitudes",), ("--no-cross-terms",), ("--no-cross-terms", "--no-magnitudes")]
BY_FORM = pytest.mark.parametrize("form", FORMS, ids=["plain", "lora", "separate", "separate-lora"])


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[pool_fit.Fit]:
    """What a command trains, as torch has it: the command itself hands nothing out."""
    seen: list[pool_fit.Fit] = []
    original = pool_fit.merge_error
    monkeypatch.setattr(pool_fit, "merge_error", lambda fit, *rest: seen.append(fit) or original(fit, *rest))
    return seen


def words(local: Any, *more: str) -> tuple[str, ...]:
    return ("pool", "fit", str(local.pool), "--model", str(local.model), "--task", str(local.task), "--shots", "8",
            "--out", "fit", *more)  # fmt: skip


def logits_of_peft(model: Path, adapter: Path, texts: list[str]) -> np.ndarray:
    """Of texts, by peft and the head that lies in the folder."""
    base = BertModel.from_pretrained(model, add_pooling_layer=False)
    network, head = peft.PeftModel.from_pretrained(base, adapter).eval(), load_file(adapter / "head.safetensors")
    tokenizer, found = Tokenizer.from_file(str(model / "tokenizer.json")), []
    for text in texts:
        with torch.no_grad():
            hidden = network(input_ids=torch.tensor([tokenizer.encode(text).ids])).last_hidden_state
        found.append(hidden[0].mean(0).numpy() @ head["head.weight"].T + head["head.bias"])
    return np.array(found)


@BY_FORM
def test_peft_computes_what_was_trained(cli, here, local, trained, form: tuple[str, ...]) -> None:
    outcome = cli(*words(local, "--json", *form))
    assert outcome.code == 0, outcome.err
    record = json.loads(outcome.out)
    assert record == json.loads((here / "fit/fit.json").read_text())
    assert record["rank"] == (4 if "--no-cross-terms" in form else 2)
    assert record["format"] == ("LoRA" if "--no-magnitudes" in form else "DoRA")
    assert record["merge_error"]["written"]["largest"] < 1e-4
    assert (record["merge_error"]["cross_terms"] is None) == ("--no-cross-terms" in form)
    assert (record["merge_error"]["magnitudes"] is None) == ("--no-magnitudes" in form)

    test = load_task(local.task, 400).test
    logits = logits_of_peft(local.model, here / "fit", [example.text for example in test])
    tokenizer = Tokenizer.from_file(str(local.model / "tokenizer.json"))
    for example, row in zip(test, logits, strict=True):
        ids = torch.tensor([tokenizer.encode(example.text).ids])
        with torch.no_grad():
            expected = trained[0].adaptation.module(ids, torch.ones_like(ids))[0].numpy()
        np.testing.assert_allclose(row, expected, atol=1e-5 * max(1.0, np.abs(expected).max()))
    right = (logits.argmax(1) == [example.label for example in test]).mean()
    after = record["test"]["after"]
    assert record["test"]["examples"] == len(test) == 20
    assert after["accuracy"] == pytest.approx(right)
    assert after["standard_error"] == pytest.approx(math.sqrt(right * (1 - right) / 20))


def test_the_distances_are_those_of_the_files(cli, here, local) -> None:
    """Computed from coefficients, pool and files by the equations of the paper, in float64."""
    assert cli(*words(local)).code == 0
    record = json.loads((here / "fit/fit.json").read_text())
    tensors = load_file(here / "fit/adapter_model.safetensors")
    base = BertModel.from_pretrained(local.model, add_pooling_layer=False)
    coefficients, pool = np.array(record["coefficients"]), load_pool(local.pool)
    cross, plain = [], []
    for name in pool.target_names:
        c = coefficients[:, int(name.split(".")[2])]
        a, b = (np.array([part[name] for part in parts], np.float64)
                for parts in ([m.a for m in pool.modules], [m.b for m in pool.modules]))  # fmt: skip
        update = 2.0 * np.einsum("k,kor->or", c, b) @ np.einsum("k,kri->ri", c, a)
        separate = 2.0 * np.einsum("k,kor,kri->oi", c**2, b, a)
        cross.append(np.linalg.norm(update - separate) / np.linalg.norm(update))
        weight = base.get_submodule(name).weight.detach().double().numpy()
        magnitude = tensors[f"base_model.model.{name}.lora_magnitude_vector"].astype(np.float64)
        trained = magnitude[:, None] * (weight + update) / np.linalg.norm(weight + update, axis=1, keepdims=True)
        plain.append(np.linalg.norm(weight + update - trained) / np.linalg.norm(trained - weight))
    for kind, expected in (("cross_terms", cross), ("magnitudes", plain)):
        assert record["merge_error"][kind]["mean"] == pytest.approx(np.mean(expected), rel=1e-4)
        assert record["merge_error"][kind]["largest"] == pytest.approx(max(expected), rel=1e-4)


def test_what_it_is_held_against(cli, here, local) -> None:
    """The pool before any training, and the model alone; the gain is that of the same examples."""
    outcome = cli(*words(local, "--no-magnitudes"))
    assert outcome.code == 0, outcome.err
    test = json.loads((here / "fit/fit.json").read_text())["test"]
    for name, before in test["before"].items():
        gain, error = test["gain"][name]["accuracy"], test["gain"][name]["standard_error"]
        assert gain == pytest.approx(test["after"]["accuracy"] - before["accuracy"])
        assert abs(gain) * (1 - abs(gain)) / 20 - 1e-12 <= error**2 <= (1 - gain**2) / 20
        assert f"fitted minus {name}: {gain:+.3f}" in outcome.out


def test_standard_error_of_a_paired_difference() -> None:
    """Of b answers gained and c lost in n: the square is (b + c - (b - c)^2 / n) / n^2."""
    before, after = pool_fit.Graded(0.5, "1100110011"), pool_fit.Graded(0.7, "1111100111")
    found = pool_fit._gain(before, after)
    gained, lost, n = 3, 1, 10
    assert found["accuracy"] == pytest.approx((gained - lost) / n)
    assert found["standard_error"] == pytest.approx(math.sqrt(gained + lost - (gained - lost) ** 2 / n) / n)
    assert pool_fit._gain(pool_fit.Graded(0.5, None), after) == {"accuracy": None, "standard_error": None}


def test_a_plain_fit_is_a_module_of_a_pool_and_the_same_seed_gives_it_again(cli, here, local) -> None:
    assert cli(*words(local, "--no-magnitudes", "--seed", "3")).code == 0
    assert cli(*words(local, "--no-magnitudes", "--seed", "3"), "--out", "again").code == 0
    one, again = (load_pool(here / name).modules[0] for name in ("fit", "again"))
    assert (one.task, one.base_model, one.base_fingerprint) == ("reviews", "small-bert", again.base_fingerprint)
    assert all(one.b[name].tobytes() == again.b[name].tobytes() for name in one.b)


def test_a_fit_of_dora_knows_its_model(cli, here, local) -> None:
    assert cli(*words(local)).code == 0
    with safe_open(here / "fit/adapter_model.safetensors", framework="numpy") as file:
        metadata = file.metadata()
    assert metadata["task"] == "reviews"
    assert metadata["base_fingerprint"] == load_pool(local.pool).modules[0].base_fingerprint
    cli("pool", "inspect", "fit").assert_refused(2, "use_dora")


def test_modules_of_the_task_itself_are_left_out(cli, here, local, tmp_path: Path) -> None:
    shutil.copy(local.task, here / "task-1.csv")
    outcome = cli(*words(local, "--task", "task-1.csv"))
    assert outcome.code == 0, outcome.err
    assert "left out of the pool, being trained on this task: module-1" in outcome.out
    assert json.loads((here / "fit/fit.json").read_text())["modules"] == ["module-0"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--shots", "3"), "3 shots are too few"),
        (("--shots", "1000"), "only 20 examples can be trained on"),
        (("--task", "moovie"), "unknown task 'moovie'"),
        (("--seed", "-1"), "--seed must be 0 or more"),
        (("--test-examples", "0"), "test_examples must be at least 1"),
        (("--label-column", "stars"), "stars"),
        (("--model", "nowhere"), "nowhere"),
    ],
)
def test_what_is_refused(cli, here, local, more: tuple[str, ...], said: str) -> None:
    cli(*words(local, *more)).assert_refused(2, said)
    assert not (here / "fit").exists()


def test_nothing_is_overwritten(cli, here, local, other_model) -> None:
    (here / "fit").mkdir()
    cli(*words(local)).assert_refused(2, "fit is there already")
    (here / "fit").rmdir()
    cli(*words(local, "--model", str(other_model))).assert_refused(2, "whose weights are not those of the model")
