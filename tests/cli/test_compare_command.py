"""`edge-adapt compare` on a local model: what is done is kept, failures stay in their place, bad words are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edge_adapt.errors import EdgeAdaptError
from edge_adapt.studies import compare
from edge_adapt.studies.config import SimulateConfig
from edge_adapt.studies.simulate import simulate

METHODS = ("frozen:DIGITAL", "probe:DIGITAL")


@pytest.fixture
def words(local) -> Callable[..., list[str]]:
    def build(*more: str) -> list[str]:
        names = {"--model": str(local.model), "--tasks": str(local.task), "--devices": "reram,sram",
                 "--methods": "frozen,probe", "--shots": "8", "--seeds": "1", "--jobs": "1",
                 "--out": "table"}  # fmt: skip
        given = [word for name, value in names.items() if name not in more for word in (name, value)]
        return ["compare", *given, *more]

    return build


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The devices that are simulated from here on."""
    devices: list[str] = []

    def noted(config: SimulateConfig, *more: Any) -> dict[str, Any]:
        devices.append(config.device)
        return simulate(config, *more)

    monkeypatch.setattr(compare, "simulate", noted)
    return devices


def table(here: Path) -> dict[str, Any]:
    return json.loads((here / "table" / "compare.json").read_text())


def test_what_is_done_is_never_computed_again(cli, here, local, words, ran) -> None:
    outcome = cli(*words("--json"))
    assert outcome.code == 0, outcome.err
    first = json.loads(outcome.out)
    assert first == table(here)
    assert ran == ["reram", "sram"]
    direct = simulate(
        SimulateConfig(device="sram", model=str(local.model), task=str(local.task), shots=(8,), method=METHODS)
    )
    alone = [r | {"device": "sram", "task": str(local.task)} for r in direct["results"]]
    assert [r for r in first["results"] if r["device"] == "sram"] == alone
    ran.clear()
    outcome = cli(*words("--devices", "reram", "pcm,sram"))
    assert outcome.code == 0, outcome.err
    assert ran == ["pcm"]
    again = table(here)
    assert [cell["kept"] for cell in again["cells"]] == [True, False, True]
    assert [r for r in again["results"] if r["device"] != "pcm"] == first["results"]
    assert "table/compare.html" in outcome.out
    assert {path.name for path in (here / "table").iterdir()} == {"cells", "figures", "compare.json", "compare.html"}


def test_one_failure_does_not_stop_the_rest_and_is_tried_again(cli, here, words, ran, monkeypatch) -> None:
    working = compare.simulate

    def failing(config: SimulateConfig, *more: Any) -> dict[str, Any]:
        if config.device == "reram":
            raise EdgeAdaptError("the chip is on fire")
        return working(config, *more)

    monkeypatch.setattr(compare, "simulate", failing)
    outcome = cli(*words())
    assert outcome.code == 0, outcome.err
    assert "the chip is on fire" in outcome.out
    assert [(c["device"], c["status"], c["message"]) for c in table(here)["cells"]] == [
        ("reram", "failed", "the chip is on fire"), ("sram", "done", "")
    ]  # fmt: skip
    outcome = cli(*words("--devices", "reram"))
    assert outcome.code == 1, "every simulation failed"
    assert table(here)["results"] == []
    monkeypatch.setattr(compare, "simulate", working)
    ran.clear()
    assert cli(*words()).code == 0
    assert ran == ["reram"]
    assert {cell["status"] for cell in table(here)["cells"]} == {"done"}


def test_ctrl_c_keeps_what_is_done_and_says_so(cli, here, words, ran, monkeypatch) -> None:
    working = compare.simulate

    def interrupted(config: SimulateConfig, *more: Any) -> dict[str, Any]:
        if config.device == "sram":
            raise KeyboardInterrupt
        return working(config, *more)

    monkeypatch.setattr(compare, "simulate", interrupted)
    outcome = cli(*words())
    assert outcome.code == 1
    assert "stopped; 1 finished simulation kept in table/cells" in outcome.err
    assert "Traceback" not in outcome.err
    assert [path.name for path in (here / "table").iterdir()] == ["cells"]
    monkeypatch.setattr(compare, "simulate", working)
    ran.clear()
    assert cli(*words()).code == 0
    assert ran == ["sram"]


def test_a_method_of_all_that_does_not_fit_is_left_out(cli, here, local, words, ran) -> None:
    """This tokenizer has no special token, so `pasta` has nothing to train; without a pool there is no lorafusion."""
    study = SimulateConfig(model=str(local.model), method=("all",), shots=(8,))
    variants, left_out = compare.check(compare.CompareConfig(("reram",), (str(local.task),), study))
    assert {entry["method"] for entry in left_out} >= {"pasta", "lorafusion"}
    assert all(entry["message"] for entry in left_out)
    assert {variant.method.name for variant in variants} >= {"frozen", "probe", "lora", "full"}
    cli(*words("--methods", "all,pasta")).assert_refused(2, "special token", "pasta")
    assert ran == []
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("more", "fragments"),
    [
        ("--devices reram,rerem", ["'rerem'", "did you mean 'reram'"]),
        ("--tasks moovie", ["'moovie'", "did you mean 'movie'"]),
        ("--methods proob", ["'proob'", "did you mean 'probe'"]),
        ("--methods probe:NVM_STEP", ["probe", "NVM_STEP"]),
        ("--methods lorafusion --pool nowhere", ["nowhere", "no such folder"]),
        ("--shots 1", ["shots must be at least 2"]),
        ("--shots 500", ["500 shots"]),
        ("--seeds 0", ["seeds must be at least 1"]),
        ("--jobs 0", ["jobs"]),
        ("--set chip.adc.bitz=6", ["bitz"]),
        ("--set adc.bits", ["KEY=VALUE"]),
        ("--model nowhere/at/all", ["nowhere/at/all"]),
        ("--devices ,", ["devices must name"]),
        ("--config none.yaml", ["none.yaml"]),
    ],
)
def test_wrong_words(cli, here, words, ran, more: str, fragments: list[str]) -> None:
    cli(*words(*more.split())).assert_refused(2, *fragments)
    assert ran == []
    assert not list(here.iterdir())


def test_a_folder_of_something_else_is_refused(cli, here, words, ran) -> None:
    (here / "table").mkdir()
    (here / "table" / "thesis.txt").write_text("mine")
    cli(*words()).assert_refused(2, "thesis.txt", "--out")
    assert ran == []
