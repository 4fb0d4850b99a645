"""The study of `edge-adapt repair` on a small model: every way, its price, and what is refused."""

import json

import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.errors import UsageError
from edge_adapt.reports.records import RepairReport, from_plain, plain
from edge_adapt.reports.records.repair import (
    AGAIN,
    COMPENSATED,
    FRESH,
    NOTHING,
    PREPARED,
    REPAIRED,
    WAYS,
    Repaired,
)
from edge_adapt.reports.repair import figure, rows_of_table, summarised, verdict
from edge_adapt.simulator import CostTable, EventCounts
from edge_adapt.studies.config import SimulateConfig
from edge_adapt.studies.repair import RepairConfig, repair_study, unlabelled
from edge_adapt.studies.trial import ChipTrial
from edge_adapt.workloads.task import Example, Task


@pytest.fixture(scope="module")
def config(local):
    fixed = {
        "model": str(local.model), "task": str(local.task), "pool": str(local.pool), "test_examples": 10,
        "shots": (8,), "device": "pcm", "ages": ("1d", "10y"), "method": ("lorafusion",), "readapt": ("none",),
    }  # fmt: skip
    return lambda **options: SimulateConfig(**fixed | options)


@pytest.fixture(scope="module")
def report(config) -> RepairReport:
    return repair_study(RepairConfig(config(), inputs=6, prepared_on=1))


def test_every_way_is_taken_at_every_age(report):
    day, years = 86400, 315576000
    ways = [NOTHING, COMPENSATED, PREPARED, REPAIRED, AGAIN]
    expected = {(0, FRESH)} | {(age, way) for age in (day, years) for way in ways}
    assert {(one.age_seconds, one.way) for one in report.results} == expected
    assert len(report.results) == 2 * len(expected)
    assert next(one.way for one in report.results if one.seed == 1) == FRESH
    assert {row.way for row in report.summary} == set(WAYS)


def test_prices(report):
    """What is free, what is not, what writes: and energies are those of the events."""
    table = CostTable.of(load_chip("pcm"))
    for one in report.results:
        assert one.cells_written == 0
        counts = EventCounts(**one.event_counts)
        assert table.cost(counts).total_joules == pytest.approx(one.energy_joules, rel=1e-9, abs=1e-30)
        assert (one.energy_joules == 0) == (one.way in (FRESH, NOTHING))
        assert bool(counts.reads) == (one.way in (COMPENSATED, REPAIRED, AGAIN))
        assert counts.transposed_reads == 0 or one.way == AGAIN
        assert bool(one.remembered_bytes) == bool(one.first_day_energy_joules) == (one.way == REPAIRED)
    last = {one.way: one for one in report.results if one.seed == 1 and one.age_seconds > 86400}
    assert last[REPAIRED].energy_joules < last[AGAIN].energy_joules
    assert last[REPAIRED].answer_energy_joules > last[NOTHING].answer_energy_joules
    assert last[REPAIRED].answer_energy_joules < 1.2 * last[NOTHING].answer_energy_joules


def test_a_run_does_not_depend_on_the_others(config, report):
    alone = repair_study(RepairConfig(config(seeds=1), inputs=6, prepared_on=1))
    assert alone.results == [one for one in report.results if one.seed == 0]


def test_the_record_is_strict_and_comes_back(report):
    text = json.dumps(plain(report), allow_nan=False)
    assert from_plain(RepairReport, json.loads(text)) == report


def test_words_table_and_figure(report):
    said = verdict(report).replace("\xa0", " ")
    assert said.startswith("After 10 years, lorafusion on pcm scores ")
    assert said.endswith("and no cell written.")
    rows = rows_of_table(report)
    assert len(rows) == len(report.summary) and rows[0][0] == "fresh"
    drawing = figure(report)
    assert drawing.svg.count("</svg>") == 1
    assert "repaired without labels" in drawing.svg


def made(seed: int, age: float, way: str, right: str) -> Repaired:
    share = right.count("1") / len(right)
    return Repaired(
        seed=seed, age_seconds=age, way=way, score=share, right=right, energy_joules=1.0, time_seconds=1.0,
        first_day_energy_joules=0.5, remembered_bytes=0, cells_written=0, answer_energy_joules=1.0, event_counts={},
    )  # fmt: skip


def test_shares_regained_by_hand():
    """80 of 100 right, 60 left, 75 after repair: 15 of 20 points are back; a loss that is not clear has no share."""
    fresh, later, back = "1" * 80 + "0" * 20, "1" * 60 + "0" * 40, "1" * 75 + "0" * 25
    results = [made(0, 0, FRESH, fresh), made(0, 60, NOTHING, later), made(0, 60, REPAIRED, back)]
    rows = {row.way: row for row in summarised(results, "accuracy", True)}
    assert rows[REPAIRED].regained_share == pytest.approx(15 / 20)
    assert rows[REPAIRED].change_points == pytest.approx(15)
    assert rows[NOTHING].lost_points == pytest.approx(-20)
    assert rows[REPAIRED].energy_joules == 1.5
    bits = np.array([int(a) - int(b) for a, b in zip(back, later, strict=True)], float)
    assert rows[REPAIRED].change_error_points == pytest.approx(100 * bits.std(ddof=1) / 10)
    small = [made(0, 0, FRESH, fresh), made(0, 60, NOTHING, "1" * 79 + "0" * 21), made(0, 60, REPAIRED, fresh)]
    assert {row.way: row.regained_share for row in summarised(small, "accuracy", True)}[REPAIRED] is None


def test_what_cannot_be_is_refused(config):
    for options, words in (
        ({"inputs": 0}, "inputs must be at least 1"),
        ({"inputs": 33}, "inputs must be at most 32"),
        ({"prepared_on": 0}, "prepared-on must be at least 1"),
        ({"ways": ("mended",)}, "unknown way"),
    ):
        with pytest.raises(UsageError, match=words):
            RepairConfig(config(), **options)
    with pytest.raises(UsageError, match="one number of shots"):
        RepairConfig(config(shots=(8, 16)))
    with pytest.raises(UsageError, match="one method under one placement"):
        repair_study(RepairConfig(config(method=("lora",))))


def test_unlabelled_inputs_are_neither_trained_nor_tested_on():
    examples = tuple(Example(f"text {n}", n % 2) for n in range(30))
    task = Task("t", ("a", "b"), examples[:24], examples[24:], "source", "licence", 0)
    drawn = task.few_shot(8, 3)
    found = unlabelled(task, 8, 3, 16)
    assert len(set(found)) == 16
    assert not set(found) & {*drawn.train, *drawn.validation, *task.test}
    with pytest.raises(UsageError, match="16 examples beside 8 shots"):
        unlabelled(task, 8, 3, 17)


def test_the_command(cli, here, local):
    words = (
        "repair", "--device", "pcm", "--model", str(local.model), "--task", str(local.task), "--method", "bitfit",
        "--shots", "8", "--seeds", "1", "--test-examples", "10", "--ages", "30d", "--inputs", "4",
        "--ways", "nothing,repaired", "--out", "mended",
    )  # fmt: skip
    printed = cli(*words)
    assert printed.code == 0, printed.err
    assert "repaired without labels" in printed.out
    record = json.loads((here / "mended" / "repair.json").read_text())
    assert [(row["age_seconds"], row["way"]) for row in record["summary"]] == [
        (0, FRESH), (2592000, NOTHING), (2592000, REPAIRED)
    ]  # fmt: skip
    assert (here / "mended" / "repair.svg").read_text().startswith("<?xml")
    again = cli(*words)
    assert (again.code, again.out) == (2, "") and "mended" in again.err
    told = cli(*words[:-1], "other", "--json")
    assert json.loads(told.out)["summary"] == record["summary"]
    wrong = cli(*words[:-3], "mendd", "--out", "third")
    assert wrong.code == 2 and "allowed: again, compensation, nothing" in wrong.err and not (here / "third").exists()


def test_adapting_again_leaves_the_other_ways_as_they_are(config):
    """At the later age, too: their converters are not set anew, and they draw the same noise."""
    both = (NOTHING, REPAIRED)
    alone, beside = (
        repair_study(RepairConfig(config(seeds=1), inputs=6, ways=ways)).results for ways in (both, (*both, AGAIN))
    )
    assert len(alone) == 5
    assert alone == [one for one in beside if one.way != AGAIN]


def test_cells_that_are_trained_at_every_step_are_trained_on_both_chips(config, monkeypatch):
    """With drift compensation the cells must hold what was trained, and not what training began with."""
    errors, adapt = [], ChipTrial.adapt

    def noting(trial, *args, **kwargs):
        cost = adapt(trial, *args, **kwargs)
        for name in trial.trained_cells:
            wanted, held = trial.adaptation.held(name).numpy(), trial.model.effective_weight(name)
            errors.append(float(np.linalg.norm(held - wanted) / np.linalg.norm(wanted)))
        return cost

    monkeypatch.setattr(ChipTrial, "adapt", noting)
    settings = (("lora.recipe.learning_rates.matrices", "0.05"),)
    found = repair_study(
        RepairConfig(config(method=("lora:NVM_STEP",), seeds=1, settings=settings), ways=(NOTHING, COMPENSATED, AGAIN))
    )
    again = [one for one in found.results if one.way == AGAIN]
    assert [one.age_seconds for one in again] == [315576000]
    assert again[0].event_counts["set_pulses"] + again[0].event_counts["reset_pulses"] > 0
    assert len(errors) == 3 * 8  # as deployed, again on the aged chip, as deployed with compensation
    # What was trained, within the errors of programming; B as it begins, zero, would be off by all of it.
    assert max(errors[:8] + errors[16:]) < 0.6, errors
