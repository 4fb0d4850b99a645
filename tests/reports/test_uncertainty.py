"""Errors of accuracies and the frontier, against closed forms and the report's own comparisons."""

import math
from typing import Any

import pytest
from edge_adapt.reports.figure_recovery import changes, points
from edge_adapt.reports.figures import draw_all
from edge_adapt.reports.frontier import frontier
from edge_adapt.reports.records import fields_of, typed
from edge_adapt.reports.records.compare import ComparedTask
from edge_adapt.reports.records.results import Result
from edge_adapt.reports.rows import Row, rows_of
from edge_adapt.reports.uncertainty import Errors

OWN, SHARED = Errors("accuracy", shared=False), Errors("accuracy", shared=True)


def row(method: str, energy: float, *runs: str | float) -> Row:
    """A row whose runs are given by their answers, or by accuracies alone."""
    records = [
        result(seed, energy, run, None)
        if isinstance(run, float)
        else result(seed, energy, run.count("1") / len(run), run)
        for seed, run in enumerate(runs)
    ]
    return Row(method, "DIGITAL", 100, method, tuple(records))


def result(seed: int, energy: float | None, accuracy: float, bits: str | None) -> Result:
    """A record of which all that matters here is known, and nothing else."""
    nothing: dict[str, Any] = {field.name: None for field in fields_of(Result)}
    known = {"seed": seed, "adaptation_energy_joules": energy, "accuracy_chip": accuracy, "right_chip": bits}
    return Result(**nothing | known)


def test_one_run_has_the_error_of_its_examples():
    found = OWN.mean(row("a", 1.0, "1" * 75 + "0" * 25), "chip")
    assert found == pytest.approx(math.sqrt(0.75 * 0.25 / 99))


def test_runs_that_are_alike_share_the_error_of_all_examples():
    """Two runs of the same accuracy on texts of their own: half the variance of one."""
    answers = "1" * 80 + "0" * 20
    assert OWN.mean(row("a", 1.0, answers, answers), "chip") == pytest.approx(math.sqrt(0.8 * 0.2 / 99 / 2))
    assert SHARED.mean(row("a", 1.0, answers, answers), "chip") == pytest.approx(math.sqrt(0.8 * 0.2 / 99))


def test_runs_that_differ_add_to_the_error():
    alike = OWN.mean(row("a", 1.0, *["1" * 80 + "0" * 20] * 4), "chip")
    apart = OWN.mean(row("a", 1.0, *("1" * n + "0" * (100 - n) for n in (60, 70, 90, 100))), "chip")
    assert apart > 1.5 * alike


def test_scores_need_three_runs():
    """Of scores without answers the spread over the root of the number of runs."""
    assert OWN.mean(row("a", 1.0, 0.7, 0.8), "chip") is None
    assert OWN.mean(row("a", 1.0, 0.6, 0.7, 0.8), "chip") == pytest.approx(0.1 / math.sqrt(3))
    assert OWN.mean(row("a", 1.0), "chip") is None


def test_the_same_texts_make_a_difference_certain():
    """95 of 100 answers are the same: alone, each row has an error of 4 points, their difference one of 2."""
    one, two = row("a", 1.0, "1" * 80 + "0" * 20), row("b", 2.0, "1" * 85 + "0" * 15)
    found = OWN.difference(two, "chip", one, "chip")
    assert found is not None and found.points == pytest.approx(5.0)
    assert found.error == pytest.approx(100 * math.sqrt(0.05 * 0.95 / 99))
    assert OWN.difference(two, "chip", Row("c", "DIGITAL", 100, "c", ()), "chip") is None


def test_differences_are_those_of_the_report(make_report):
    """The figure of recovery states what the report's comparisons state."""
    report = make_report(shots=(100,), seeds=3)
    errors, found = Errors.of(typed(report)), 0
    rows = {(r.method, r.placement): r for r in rows_of(typed(report).results)}
    for entry in report["comparisons"]:
        one, two = (rows[entry[f"{who}method"], entry[f"{who}placement"]] for who in ("", "against_"))
        mine = errors.difference(one, entry["outcome"], two, entry["against_outcome"])
        assert mine is not None
        names = ("difference_points", "standard_error_points", "degrees_of_freedom", "interval_points", "error_of",
                 "runs", "examples", "verdict")  # fmt: skip
        told = (mine.points, mine.error, mine.degrees, mine.interval, mine.error_of, mine.runs, mine.examples)
        assert (*told, mine.verdict) == tuple(entry[name] for name in names)
        if entry["outcome"] != entry["against_outcome"]:
            assert (
                points(changes(one, errors)[1]) in draw_all(typed(report))["drift-recovery"].alt if not found else True
            )
            found += 1
    assert found


def test_a_dearer_method_is_on_the_frontier_only_beyond_the_error():
    cheap, alike = row("cheap", 1.0, "1" * 140 + "0" * 60), row("alike", 2.0, "1" * 142 + "0" * 58)
    clear, dear = row("clear", 3.0, "1" * 170 + "0" * 30), row("dear", 4.0, "1" * 150 + "0" * 50)
    assert frontier([dear, clear, alike, cheap], OWN.better) == [cheap, clear]


def test_of_the_same_energy_the_more_accurate_comes_first():
    low, high = row("low", 1.0, 0.5), row("high", 1.0, 0.6)
    unknown = Row("x", "DIGITAL", 100, "x", (result(0, None, 0.9, None),))
    assert frontier([low, high, unknown], OWN.better) == [high]
    assert frontier([], OWN.better) == []


def test_errors_over_several_tasks_are_of_the_answers_only_where_all_of_them_allow_it():
    task = lambda metric, pool: ComparedTask(
        task="a", name="a", labels=["x"], train_examples=9, test_examples=200, test_pool=pool, source="", metric=metric
    )
    assert Errors.of_tasks([task("accuracy", 200)]) == Errors("accuracy", True)
    assert Errors.of_tasks([task("accuracy", 5000), task("accuracy", 900)]) == Errors("accuracy", False)
    for other in (task("accuracy", 200), task("macro-F1", 5000)):
        assert Errors.of_tasks([task("accuracy", 5000), other]).metric != "accuracy"


def test_the_caption_of_the_recovery_speaks_of_errors_only_where_there_are_some(make_report):
    report = make_report(shots=(100,), seeds=2)
    assert "± one standard error, which the bars show too" in draw_all(typed(report))["drift-recovery"].caption
    for record in report["results"]:
        for name in ("exact", "chip", "drifted", "readapted"):
            bits = record[f"right_{name}"]
            record[f"right_{name}"] = bits and bits[:10]
    for entry in report["test_sets"]:
        entry["examples"] = entry["examples"][:10]
    caption = draw_all(typed(report))["drift-recovery"].caption
    assert "too few to tell an error" in caption and "bars" not in caption
