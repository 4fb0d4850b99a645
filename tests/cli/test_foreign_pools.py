"""A pool that peft wrote, of which nothing is known but its weights: a report is written, read and shown."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from edge_adapt.reports import validate
from edge_adapt.studies import simulate as study

peft = pytest.importorskip("peft")

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft calls transformers


@pytest.fixture(scope="module")
def pool(local, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two adapters, saved as anyone would: all linears, and query and value under a classifier."""
    import torch
    from transformers import BertForSequenceClassification, BertModel

    folder = tmp_path_factory.mktemp("foreign") / "pool"
    for name, kind, settings in (
        ("first", BertModel, {"target_modules": "all-linear"}),
        ("second", BertForSequenceClassification, {"target_modules": ["query", "value"], "task_type": "SEQ_CLS"}),
    ):
        torch.manual_seed(3)
        model = peft.get_peft_model(
            kind.from_pretrained(local.model), peft.LoraConfig(r=2, init_lora_weights=False, **settings)
        )
        model.save_pretrained(folder / name)
    return folder


FAST = ("--methods", "lorafusion", "--fidelity", "ideal", "--shots", "8", "--seeds", "1")
UNKNOWN = "unknown whether these modules of the pool were trained on this task: first, second"


def test_simulate_writes_a_report_that_can_be_read(cli, here, local, pool) -> None:
    outcome = cli(*local.words("--pool", str(pool), *FAST[2:4], "--method", "lorafusion", "--out", "report"))
    assert outcome.code == 0, outcome.err
    report = json.loads((here / "report/report.json").read_text())
    validate(report)
    assert [(module["name"], module["task"]) for module in report["pool"]["modules"]] == [
        ("first", None),
        ("second", None),
    ]
    assert UNKNOWN in report["messages"]
    assert "adapter first: features do not use, and this leaves out: pooler.dense" in report["messages"]
    assert "adapter second: features do not use, and this leaves out: classifier" in report["messages"]
    assert "task unknown" in " ".join(outcome.out.split())
    assert "(task unknown)" in (here / "report/report.html").read_text()
    again = cli("explain", "report", "adaptation_energy_joules")
    assert again.code == 0, again.err


def test_compare_shows_it(cli, here, local, pool) -> None:
    outcome = cli(
        "compare", "--model", str(local.model), "--tasks", str(local.task), "--pool", str(pool), "--devices", "reram",
        *FAST, "--jobs", "1", "--out", "table",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "task unknown" in " ".join(outcome.out.split())
    assert "(task unknown)" in (here / "table/compare.html").read_text()


def test_pool_inspect_says_what_it_cannot_know(cli, pool) -> None:
    outcome = cli("pool", "inspect", str(pool))
    assert outcome.code == 0, outcome.err
    assert "unknown" in outcome.out
    assert "adapter second: beside LoRA it holds classifier" in " ".join(outcome.out.split())


def test_what_no_report_can_say_ends_the_run_before_the_work(
    cli: Callable, local, pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked = []
    monkeypatch.setattr(study, "workload", lambda bench: {"pool": {"path": None, "modules": [], "weights_in_cells": 0}})
    monkeypatch.setattr(study, "wire_units", lambda *_: worked.append(1))
    outcome = cli(*local.words("--pool", str(pool), "--method", "lorafusion", "--fidelity", "ideal"))
    outcome.assert_refused(1, "report field pool.path is null")
    assert not worked
