"""`edge-adapt pool merge`: the folder that it writes, loaded by peft, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from edge_adapt.workloads.pools import Pool, load_pool
from transformers import BertModel

peft = pytest.importorskip("peft")

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft calls transformers

IDS = torch.tensor([[2, 4, 7, 8, 3], [5, 6, 10, 9, 2]])


def hidden_by_hand(model: Path, updates: dict[str, np.ndarray]) -> torch.Tensor:
    """Last hidden states of the model with updates added to its weights."""
    base = BertModel.from_pretrained(model, add_pooling_layer=False).eval()
    with torch.no_grad():
        for name, update in updates.items():
            base.get_submodule(name).weight += torch.as_tensor(update)
        return base(input_ids=IDS).last_hidden_state


def hidden_of_peft(model: Path, adapter: Path) -> torch.Tensor:
    base = BertModel.from_pretrained(model, add_pooling_layer=False)
    with torch.no_grad():
        return peft.PeftModel.from_pretrained(base, adapter).eval()(input_ids=IDS).last_hidden_state


def summed(pool: Pool, weights: tuple[float, ...]) -> dict[str, np.ndarray]:
    return {
        name: sum(w * module.delta(name) for w, module in zip(weights, pool.modules, strict=True))
        for name in pool.target_names
    }


def test_peft_computes_the_merged_update(cli, here, local) -> None:
    outcome = cli("pool", "merge", str(local.pool), "--out", "sum", "--weights=-0.5,2", "--json")
    assert outcome.code == 0, outcome.err
    record = json.loads(outcome.out)
    assert record == json.loads((here / "sum/merge.json").read_text())
    assert (record["how"], record["rank"], record["base_model"]) == ("task-arithmetic", 4, "small-bert")
    assert [module["weight"] for module in record["modules"]] == [-0.5, 2.0]
    assert record["merge_error"]["largest"] < 1e-6
    expected = hidden_by_hand(local.model, summed(load_pool(local.pool), (-0.5, 2.0)))
    plain = hidden_by_hand(local.model, {})
    torch.testing.assert_close(hidden_of_peft(local.model, here / "sum"), expected, rtol=0, atol=1e-5)
    assert (expected - plain).abs().max() > 1e-2
    again = load_pool(here / "sum")
    assert again.modules[0].base_fingerprint == load_pool(local.pool).modules[0].base_fingerprint


def test_every_way_is_written_and_loaded(cli, here, local) -> None:
    """What the record says of the error is what the folder computes."""
    exact = summed(load_pool(local.pool), (0.5, 0.5))
    for how in ("svd", "linear", "ties", "ties-svd", "dare-linear", "breadcrumbs", "slerp", "magnitude-prune"):
        outcome = cli("pool", "merge", str(local.pool), "--out", how, "--how", how)
        assert outcome.code == 0, outcome.err
        record = json.loads((here / how / "merge.json").read_text())
        module = load_pool(here / how).modules[0]
        updates = {name: module.delta(name) for name in module.a}
        got = hidden_of_peft(local.model, here / how)
        torch.testing.assert_close(got, hidden_by_hand(local.model, updates), rtol=0, atol=1e-5)
        assert f"mean {record['merge_error']['mean']:.2g}" in outcome.out
        if how in ("svd", "linear"):
            errors = [np.linalg.norm(updates[n] - exact[n]) / np.linalg.norm(exact[n]) for n in exact]
            np.testing.assert_allclose([m["merge_error"] for m in record["matrices"]], errors, rtol=1e-4)


def test_lines_scales_by_depth(cli, here, local) -> None:
    words = ("pool", "merge", str(local.pool), "--model", str(local.model))
    assert cli(*words, "--out", "plain").code == 0
    assert cli(*words, "--out", "same", "--lines", "1", "0").code == 0
    assert cli(*words, "--out", "deep", "--lines", "0.25", "0.5").code == 0
    plain, same, deep = (load_pool(here / name).modules[0] for name in ("plain", "same", "deep"))
    for name in plain.a:
        np.testing.assert_array_equal(same.delta(name), plain.delta(name))
        factor = {"0": 0.25, "1": 0.75}[name.split(".")[2]]
        np.testing.assert_allclose(deep.delta(name), factor * plain.delta(name), atol=1e-6)
    assert json.loads((here / "deep/merge.json").read_text())["lines"] == {"alpha": 0.25, "beta": 0.5}


def test_only_the_last_block_changes(cli, here, local) -> None:
    """LiNeS with alpha 0 and beta 1: the first block is that of the model, the last one as without."""
    words = ("pool", "merge", str(local.pool), "--model", str(local.model), "--lines", "0", "1")
    assert cli(*words, "--out", "last").code == 0
    exact = {n: u for n, u in summed(load_pool(local.pool), (0.5, 0.5)).items() if ".1." in n}
    assert len(exact) == 2
    expected = hidden_by_hand(local.model, exact)
    torch.testing.assert_close(hidden_of_peft(local.model, here / "last"), expected, rtol=0, atol=1e-5)


def test_folders_of_single_adapters_in_the_order_given(cli, here, local) -> None:
    folders = [str(local.pool / "module-1"), str(local.pool / "module-0")]
    assert cli("pool", "merge", *folders, "--out", "end", "--how", "slerp", "--weights", "1,0").code == 0
    merged, pool = load_pool(here / "end").modules[0], load_pool(local.pool)
    for name in pool.target_names:
        np.testing.assert_allclose(merged.delta(name), pool.modules[1].delta(name), atol=1e-6)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--how", "tise"), "did you mean 'ties'"),
        (("--weights", "1,two"), "'1,two' are no numbers"),
        (("--weights", "1"), "in the order module-0, module-1; got 1 for 2 modules"),
        (("--lines", "1", "0"), "--model"),
        (("--lines", "nan", "0", "--model", "any"), "two finite numbers"),
        (("--how", "linear", "--rank", "3"), "--rank has no effect on linear"),
    ],
)
def test_what_is_refused(cli, here, local, words: tuple[str, ...], said: str) -> None:
    cli("pool", "merge", str(local.pool), "--out", "new", *words).assert_refused(2, said)
    assert not (here / "new").exists()


def test_nothing_is_overwritten(cli, here, local) -> None:
    (here / "thesis").mkdir()
    words = ("pool", "merge", str(local.pool), "--out")
    cli(*words, "thesis").assert_refused(2, "thesis is there already")
    cli(*words, "/proc/new").assert_refused(1, "cannot write /proc/new")
    cli("pool", "merge", "nowhere", "--out", "new").assert_refused(2, "nowhere: no such folder")


def test_adapters_of_another_model(cli, here, local, other_model) -> None:
    words = ("pool", "merge", str(local.pool), "--out", "new", "--model", str(other_model))
    cli(*words).assert_refused(2, "whose weights are not those of the model")
