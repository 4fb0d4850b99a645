"""The search for recipes: the same for every method, its errors, and what it has recorded."""

import importlib.util
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from edge_adapt.methods import METHODS, get_method


@pytest.fixture(scope="module")
def scripts(root: Path) -> Iterator[Path]:
    """The folder of the scripts, where they find one another."""
    folder = root / "benchmarks"
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


def script(folder: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def search(scripts: Path) -> ModuleType:
    return script(scripts, "recipe_search")


@pytest.fixture(scope="module")
def measure(scripts: Path) -> ModuleType:
    return script(scripts, "measure")


def test_a_single_draw_has_the_error_of_mcnemars_counts(measure: ModuleType) -> None:
    # 3 texts only the first has right, 1 only the second, of 8: the variance of a share of -1, 0 and 1.
    points, error = measure.paired([("11110110", "00010111")])
    assert points == pytest.approx(100 * (3 - 1) / 8)
    assert error == pytest.approx(100 * math.sqrt(((3 + 1) / 8 - (2 / 8) ** 2) / 8))


def test_draws_that_differ_have_the_error_of_their_spread(measure: ModuleType) -> None:
    draws = [("11" * 50, "00" * 50), ("00" * 50, "11" * 50), ("10" * 50, "10" * 50)]
    points, error = measure.paired(draws)
    assert points == 0.0
    assert error == pytest.approx(100 * 1.0 / math.sqrt(3))  # the sample standard deviation of 1, -1 and 0 is 1


def test_draws_that_agree_by_luck_keep_the_error_of_their_texts(measure: ModuleType) -> None:
    points, error = measure.paired([("1100", "1010"), ("1010", "0110")])
    assert points == 0.0
    assert error == pytest.approx(100 * math.sqrt((4 / 8) / 8))


def test_nothing_is_compared_with_nothing(measure: ModuleType) -> None:
    with pytest.raises(ValueError, match="no answers"):
        measure.paired([])
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        measure.paired([("11", "1")])


def test_every_method_has_as_many_candidates(search: ModuleType) -> None:
    texts = {name for name, method in METHODS.items() if "text" in method.kinds and method.recipe.learning_rates}
    assert search.usual(get_method("bitfit"))[1:3] == [{"rate.biases": rate} for rate in (3e-4, 3e-3)]
    assert METHODS["lora"].candidates and not METHODS["pool"].candidates, "what is made from another has its own"
    for name in texts:
        assert len(search.configurations(name)) == 7
        configured = [search.configured(name, config) for config in search.configurations(name)]
        assert configured[search.START].recipe.epochs == 0
        assert get_method(name) in configured[search.HAD :]
        rates = [made.recipe.learning_rates["head"] for made in configured[search.HAD + 1 :]]
        assert 1e-3 in rates if METHODS[name].recipe.learning_rates["head"] else rates == [0.0] * 5


def test_a_new_method_takes_part_in_the_searches_without_an_edit(
    search: ModuleType, scripts: Path, monkeypatch
) -> None:
    new = replace(
        METHODS["lora"], recipe=replace(METHODS["lora"].recipe, learning_rates={"matrices": 0.01, "head": 1.0})
    )
    monkeypatch.setitem(METHODS, "new", new)
    monkeypatch.setattr(type(new), "candidates", ())
    assert search.configurations("new")[3:5] == [search.STEADY | {"rate.matrices": rate} for rate in (3e-3, 3e-2)]
    monkeypatch.setattr(type(new), "candidates", ({"rank": 2},))
    assert search.configurations("new")[2:] == [search.STEADY | {"rank": 2}]
    vision = script(scripts, "vision")
    assert vision.tries("new") == [{"matrices": 3e-4}, {"matrices": 1e-3}, {"matrices": 3e-3}]
    assert vision.tries("probe") == [{"head": 1e-4}, {"head": 3e-4}, {"head": 1e-3}]
    assert {"task": "stamps", "method": "new", "seed": 3} in vision.wanted("results", [3])
    assert {run["method"] for run in vision.wanted("search", [])} == {*vision.searched()} >= {"new", "vpt", "probe"}


def test_recipes_are_not_chosen_on_the_task_of_the_reports(
    search: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["recipe_search.py", "--tasks", "amazon,movie", "--out", str(tmp_path / "o.json")])
    with pytest.raises(SystemExit):
        search.main()
    assert "it stays unseen" in capsys.readouterr().err


def recorded(root: Path, name: str) -> dict[str, Any]:
    return json.loads((root / "benchmarks" / "results" / name).read_text(encoding="utf-8"))


def test_the_recorded_search_chose_the_recipes_that_are_shipped(root: Path, search: ModuleType) -> None:
    record = recorded(root, "recipe_search.json")
    runs = record["runs"]
    for name in dict.fromkeys(run["method"] for run in runs):
        rows = search.summary(runs, name)
        assert json.loads(json.dumps(rows)) == [row for row in record["summary"] if row["method"] == name]
        if {run["number"] for run in runs if run["method"] == name} <= {search.START, search.HAD}:
            continue  # only looked at: there was nothing to choose from
        best = search.taken(runs, name)
        assert json.loads(json.dumps(get_method(name).recipe.recorded())) == best["recipe"], name
        options = {key: value for key, value in best["config"].items() if "." not in key}
        assert all(getattr(get_method(name), key) == value for key, value in options.items())


def test_the_recorded_differences_are_those_of_the_recorded_answers(root: Path, scripts: Path) -> None:
    record = recorded(root, "movie.json")
    assert json.loads(json.dumps(script(scripts, "accuracy").summary(record["runs"]))) == record["summary"]
    texts = {len(run["right"]) for run in record["runs"]}
    assert texts == {1000}
    assert all(run["accuracy"] == pytest.approx(run["right"].count("1") / 1000) for run in record["runs"])


def test_a_method_that_names_a_search_is_in_its_record(root: Path, search: ModuleType) -> None:
    """And one whose candidates were compared names the record."""
    for name, method in METHODS.items():
        if method.searched:
            record = recorded(root, method.searched)
            assert name in {run["method"] for run in record.get("runs", record.get("trials"))}, name
    runs = recorded(root, "recipe_search.json")["runs"]
    for name in {run["method"] for run in runs}:
        if len({run["number"] for run in runs if run["method"] == name}) < len(search.configurations(name)):
            continue
        assert METHODS[name].searched == "recipe_search.json", name
