"""Processes that share the work: same results as one, failures told, nothing left behind."""

import signal
import subprocess
import sys
from collections import Counter

import pytest
from edge_adapt.errors import EdgeAdaptError, UsageError
from edge_adapt.studies import crew
from edge_adapt.studies import simulate as module
from edge_adapt.studies.config import SimulateConfig
from edge_adapt.studies.parts import parts_of
from edge_adapt.studies.progress import Progress
from edge_adapt.studies.simulate import simulate


class Heard(Progress):
    def __init__(self):
        self.work, self.done, self.calls, self.stages = {}, Counter(), Counter(), []

    def start(self, work):
        self.work = work

    def stage(self, text):
        self.stages.append(text)

    def advance(self, units=1, kind=""):
        self.done[kind] += units
        self.calls[kind] += 1


def small(local, **options) -> SimulateConfig:
    return SimulateConfig(model=str(local.model), task=str(local.task), test_examples=4, shots=(8,), **options)


def test_results_do_not_depend_on_the_number_of_processes(local):
    config = small(local, method=("frozen", "probe", "lora:DIGITAL"))
    heard = Heard()
    alone, shared = simulate(config), simulate(config, heard, jobs=3)
    for report in (alone, shared):
        del report["created"], report["environment"]
    assert alone == shared
    assert {kind: units for kind, (units, _) in heard.work.items() if units} == pytest.approx(dict(heard.done))
    assert any("lora" in stage for stage in heard.stages)
    assert heard.calls["training"] >= 8  # LoRA's steps, one by one


def test_results_do_not_depend_on_the_order_of_the_parts(local, monkeypatch):
    """Chips of two runs, aged twice, with drift compensation: nothing of one part may stay for the next."""
    methods = ("frozen", "pool", "lora:DIGITAL", "lora:NVM_TASK")
    config = small(local, pool=str(local.pool), device="pcm-compensated", ages=("1h", "30d"), method=methods)
    before = simulate(config)
    monkeypatch.setattr(module, "parts_of", lambda bench: parts_of(bench)[::-1])
    after = simulate(config)
    assert after["results_digest"] == before["results_digest"]
    for one, other in zip(before["results"], after["results"], strict=True):
        for name in (key for key in one if key.startswith(("right_", "accuracy_"))):
            assert one[name] == other[name], name


def test_a_classifier_answers_the_same_whether_others_run_or_not(local):
    together = simulate(small(local, seeds=1, method=("frozen", "probe")))
    (alone,) = simulate(small(local, seeds=1, method=("probe",)))["results"]
    (among,) = (record for record in together["results"] if record["method"] == "probe")
    for name in (
        "accuracy_exact",
        "right_chip",
        "right_drifted",
        "inference_energy_joules",
        "adaptation_energy_joules",
    ):
        assert alone[name] == among[name], name


def test_a_helper_that_dies_is_told(local, monkeypatch):
    monkeypatch.setattr(crew.sys, "executable", "/bin/false")
    with pytest.raises(EdgeAdaptError, match=r"helper process ended early \(exit status 1.*--jobs 1"):
        simulate(small(local, method=("frozen", "lora")), jobs=2)


def test_a_failure_in_a_helper_is_raised_here(local, tmp_path, monkeypatch):
    """The helper cannot load what this process has loaded already."""
    started = []
    monkeypatch.setattr(crew, "_send", lambda pipe, thing, send=crew._send: send(pipe, broken(thing)))

    def broken(thing):
        if isinstance(thing, SimulateConfig):
            started.append(thing)
            return SimulateConfig(task=str(tmp_path / "gone.csv"))
        return thing

    with pytest.raises(UsageError, match="gone"):
        simulate(small(local, method=("frozen", "lora")), jobs=2)
    assert started


def test_helpers_end_with_their_input():
    helper = subprocess.run(
        [sys.executable, "-m", "edge_adapt.studies.crew"], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert (helper.returncode, helper.stdout, helper.stderr) == (0, b"", b"")


def test_ctrl_c_does_not_reach_helpers_that_have_just_been_started(usual_signals, capfd):
    """A terminal sends it to all: while they import, helpers would print a traceback under the command's own line."""
    with usual_signals(), crew.Crew(1, Progress()) as started:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        (helper,) = started._helpers
        helper.send_signal(signal.SIGINT)
        helper.stdin.close()
        assert helper.wait() == 0
    assert signal.SIGINT not in before  # this process hears it
    assert capfd.readouterr().err == ""


def test_there_is_always_one_job():
    assert crew.default_jobs() >= 1


def test_random_matrices_of_vera_are_programmed_and_read_from_cells(local):
    report = simulate(small(local, method=("vera", "ia3")))
    by_method = {record["method"]: record for record in report["results"]}
    assert report["programming"]["cells"] > report["programming"]["backbone"]["cells"]
    assert report["programming"]["pool"]["cells"] == 0
    reads = {name: record["inference_event_counts"]["read_conversions"] for name, record in by_method.items()}
    assert reads["vera"] > reads["ia3"]
