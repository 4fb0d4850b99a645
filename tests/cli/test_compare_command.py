"""`edge-adapt compare` on a local model: what is done is kept, failures stay in their place, bad words are refused."""

import argparse
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edge_adapt.cli import build_parser
from edge_adapt.devices.presets import find
from edge_adapt.errors import EdgeAdaptError
from edge_adapt.reports.records import plain
from edge_adapt.studies import compare, compare_keys, inputs
from edge_adapt.studies.compare_config import CompareConfig
from edge_adapt.studies.config import SimulateConfig
from edge_adapt.studies.progress import Progress
from edge_adapt.studies.simulate import simulate
from safetensors.numpy import load_file, save_file

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
        SimulateConfig(device="sram", model=str(local.model), task=str(local.task), shots=(8,), method=METHODS, seeds=1)
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


@pytest.fixture
def own(local, tmp_path: Path) -> Path:
    """A folder with everything that a comparison reads, as the user's own files: a chip that names a cell file."""
    folder = tmp_path / "own"
    folder.mkdir()
    for kind, name in (("cell", "sram"), ("periphery", "isaac-32nm")):
        shutil.copyfile(find(kind, name), folder / f"{kind}.yaml")
    chip = find("chip", "sram").read_text().replace("cell: sram", "cell: ./cell.yaml")
    (folder / "chip.yaml").write_text(chip.replace("periphery: isaac-32nm", "periphery: ./periphery.yaml"))
    shutil.copytree(local.model, folder / "small-bert")
    shutil.copytree(local.pool, folder / "pool")
    for weights in (folder / "pool").glob("*/*.safetensors"):  # without the fingerprint of the model: that will change
        save_file(load_file(weights), weights, {"format": "pt"})
    shutil.copyfile(local.task, folder / "reviews.csv")
    return folder


def changed_text(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, path
    path.write_text(text.replace(old, new))


def changed_weight(path: Path) -> None:
    """One number of a safetensors file, and nothing of its size or time."""
    times, tensors = path.stat(), load_file(path)
    next(iter(tensors.values())).ravel()[0] += 1.0
    save_file(tensors, path, {"format": "pt"})
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_whatever_changes_a_result_makes_it_run_again_and_nothing_else_does(
    cli, here, own, monkeypatch, tmp_path
) -> None:
    """The report of a simulation is made up here: what matters is when one is asked for."""
    ran: list[str] = []

    def made_up(config: SimulateConfig, *_more: Any) -> dict[str, Any]:
        ran.append(config.device)
        return {
            "config": {}, "task": {"source": "before"}, "pool": {"path": "before", "modules": []},
            "created": f"run {len(ran)}", "messages": [], "references": [], "versions": {},
        }  # fmt: skip

    seen: list[dict[str, Any]] = []

    def assembled(config: Any, outcomes: list[Any], *_more: Any) -> dict[str, Any]:
        seen[:] = [plain(outcome.record()) | {"report": outcome.done.report} for outcome in outcomes]
        return {"results": [1]}

    monkeypatch.setattr(compare, "simulate", made_up)
    monkeypatch.setattr(compare, "assemble", assembled)

    def call(*more: str, folder: Path = own) -> list[str]:
        """What ran, and what standard error said."""
        ran.clear()
        given = {"model": "small-bert", "tasks": "reviews.csv", "devices": "chip.yaml", "pool": "pool"}
        words = [word for name, value in given.items() for word in (f"--{name}", str(folder / value))]
        options = vars(build_parser().parse_args(
            ["compare", *words, "--methods", "probe,lorafusion", "--shots", "8", "--seeds", "1", *more]
        ))  # fmt: skip
        from edge_adapt.commands.compare import _options

        said.clear()
        compare.compare(CompareConfig.of(_options(argparse.Namespace(**options))), here / "table", Said())
        return list(ran)

    said: list[str] = []

    class Said(Progress):
        def say(self, text: str) -> None:
            said.append(text)

    assert len(call()) == 1 and said == []
    assert call() == []
    assert said == ["1 of 1 simulation is kept from an earlier call, same inputs"]
    os.utime(own / "cell.yaml", (1e9, 1e9))
    (own / "small-bert" / "README.md").write_text("nothing reads this")
    assert call() == []
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(own, elsewhere)
    assert call(folder=elsewhere) == []
    assert seen[0]["report"]["task"]["source"] == str(elsewhere / "reviews.csv")
    assert seen[0]["report"]["pool"]["path"] == str(elsewhere / "pool")
    assert seen[0]["report"]["config"]["device"] == str(elsewhere / "chip.yaml")

    versions = inputs.versions_that_decide()
    for change, words in (
        (lambda: changed_text(own / "cell.yaml", "unlimited", "1e12"), "the chip"),
        (lambda: changed_text(own / "periphery.yaml", "title: ", "title: my "), "the chip"),
        (lambda: changed_text(own / "chip.yaml", "rows: {value: 128", "rows: {value: 64"), "the chip"),
        (lambda: changed_weight(own / "pool" / "module-1" / "adapter_model.safetensors"), "the pool"),
        (lambda: changed_weight(own / "small-bert" / "model.safetensors"), "the model"),
        (lambda: changed_text(own / "reviews.csv", "good", "fine"), "the task's examples"),
        (lambda: monkeypatch.setattr(compare_keys, "__version__", "99"), "edge-adapt 0."),
        (lambda: monkeypatch.setattr(compare_keys, "FIELDS", compare_keys.FIELDS[:-1]), "the fields of a report"),
        (lambda: monkeypatch.setattr(inputs, "code_sha256", lambda: "new"), "the code of edge-adapt"),
        (lambda: monkeypatch.setattr(inputs, "arithmetic", lambda: "by hand"), "how the processor multiplies"),
        (lambda: monkeypatch.setattr(inputs, "versions_that_decide", lambda *_: versions | {"torch": "9"}), "torch 2."),
    ):
        change()
        assert len(call()) == 1, words
        assert len(said) == 1 and f"reviews.csv runs again; changed: {words}" in said[0], said
        assert seen[0]["changed"] and not seen[0]["kept"]
        assert call() == [], words
    for setting in ("probe.recipe.epochs=3", "chip.adc.bits=6"):
        assert len(call("--set", setting)) == 1
        assert call("--set", setting) == []
    assert call() == [], "what was there before is kept beside"


def test_an_input_that_changes_while_it_is_simulated(cli, here, own, words, ran, monkeypatch) -> None:
    """The result may be of either: it is not kept."""
    working = compare.simulate

    def meanwhile(config: SimulateConfig, *more: Any) -> dict[str, Any]:
        report = working(config, *more)
        changed_text(own / "cell.yaml", "title: ", "title: my ")
        return report

    monkeypatch.setattr(compare, "simulate", meanwhile)
    outcome = cli(*words("--devices", str(own / "chip.yaml"), "--methods", "probe"))
    assert outcome.code == 1
    (cell,) = table(here)["cells"]
    assert "an input changed while it was simulated (the chip (its array, cell or periphery))" in cell["message"]
    assert not (here / "table" / "cells").exists()
    monkeypatch.setattr(compare, "simulate", working)
    ran.clear()
    assert cli(*words("--devices", str(own / "chip.yaml"), "--methods", "probe")).code == 0
    outcome = cli(*words("--devices", str(own / "chip.yaml"), "--methods", "probe"))
    assert "1 of 1 simulation is kept from an earlier call, same inputs" in outcome.err
    assert "1 kept from an earlier call, same inputs" in " ".join(outcome.out.split())


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
    assert outcome.code == 130
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
    variants, left_out, _ = compare.check(compare.CompareConfig(("reram",), (str(local.task),), study))
    assert {entry.method for entry in left_out} >= {"pasta", "lorafusion"}
    assert all(entry.message for entry in left_out)
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
