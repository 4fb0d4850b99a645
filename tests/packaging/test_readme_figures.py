"""Figures of the README are those of the recorded runs that it names."""

import importlib.util
import json
from pathlib import Path
from statistics import mean, stdev
from types import ModuleType
from typing import Any

import pytest


def script(root: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, root / "benchmarks" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def main_table(root: Path) -> ModuleType:
    return script(root, "main_table")


@pytest.fixture(scope="module")
def readme(root: Path) -> str:
    return (root / "README.md").read_text(encoding="utf-8")


def test_the_table_of_the_main_job_is_that_of_its_recorded_run(readme: str, main_table: ModuleType) -> None:
    recorded = json.loads(main_table.RESULT.read_text(encoding="utf-8"))
    for row in main_table.rows(recorded["results"]):
        assert row in readme


def test_the_seeds_on_the_chip_are_those_of_the_recorded_runs(readme: str, root: Path) -> None:
    on_chip = script(root, "on_chip")
    plain = readme.replace("**", "")
    told = [row for row in on_chip.rows(json.loads(on_chip.RESULT.read_text(encoding="utf-8"))) if row in plain]
    assert len(told) == plain.count("| on the chip, ") == 3  # at 400 shots the README leaves the 30 days out


def test_energies_have_three_digits(main_table: ModuleType) -> None:
    given = (0.0, 1.8749, 0.1203, 5.0e-3, 5.69e-5, 4.4e-10)
    assert [main_table.joules(value) for value in given] == ["0", "1.87 J", "120 mJ", "5 mJ", "56.9 µJ", "440 pJ"]


def recorded(root: Path, name: str) -> dict[str, Any]:
    return json.loads((root / "benchmarks" / "results" / name).read_text(encoding="utf-8"))


def percent(values: list[float]) -> str:
    return f"{100 * sum(values) / len(values):.1f}"


def test_pairs_and_entities_are_those_of_the_recorded_runs(readme: str, root: Path) -> None:
    text = " ".join(readme.split())
    found = {run["method"]: percent([run["accuracy"]]) for run in recorded(root, "pairs.json")["runs"]}
    assert f"classifier only {found['probe']} %, LoRA {found['lora']} %, PASTA {found['pasta']} %" in text
    found = {run["method"]: percent([run["accuracy"]]) for run in recorded(root, "entities.json")["runs"]}
    assert f"F1 {found['probe']} % by the classifier alone, LoRA {found['lora']} %" in text


def test_mails_are_those_of_the_recorded_runs(readme: str, root: Path) -> None:
    runs = recorded(root, "spam.json")["runs"]
    of = lambda method: percent([run["accuracy"] for run in runs if run["method"] == method])
    said = f"LoRA {of('lora')}, LoRAFusion {of('lorafusion')}, PASTA {of('pasta')}, classifier only {of('probe')}"
    assert said in " ".join(readme.split())


@pytest.mark.parametrize("task", ["elpv-poly", "stamps", "mnist"])
def test_images_are_those_of_the_recorded_runs(readme: str, root: Path, task: str) -> None:
    results = [run for run in recorded(root, "vision.json")["results"] if run["task"] == task]
    of = lambda method: [
        run["accuracy"] for run in sorted(results, key=lambda run: run["seed"]) if run["method"] == method
    ]
    assert {len(of(method)) for method in ("pixels", "regression", "probe", "vpt")} == {3}
    cells = (f"{percent(of(m))} ± {100 * stdev(of(m)):.1f}" for m in ("pixels", "regression", "probe", "vpt"))
    text = readme.replace("**", "")
    assert " | ".join(cells) in text
    gains = [100 * (vpt - probe) for vpt, probe in zip(of("vpt"), of("probe"), strict=True)]
    assert f"{mean(gains):.1f} ± {stdev(gains) / len(gains) ** 0.5:.1f}" in text


def test_a_pool_of_images_is_that_of_the_recorded_runs(readme: str, root: Path) -> None:
    results = [run for run in recorded(root, "vision.json")["results"] if run["task"] == "elpv-mono"]
    fused, probe = ([run["accuracy"] for run in results if run["method"] == name] for name in ("lorafusion", "probe"))
    assert len(fused) == len(probe) == 3
    assert f"reaches {percent(fused)} ± {100 * stdev(fused):.1f} % on monocrystalline cells" in readme
    assert f"the classifier alone {percent(probe)} ± {100 * stdev(probe):.1f}." in readme


def test_mezo_and_drift_on_the_page_of_methods_are_those_of_the_recorded_runs(root: Path) -> None:
    page = (root / "docs" / "methods.md").read_text(encoding="utf-8")
    runs = [run for run in recorded(root, "mezo.json")["runs"] if run["shots"] == 100 and run["seed"] < 3]
    of = lambda method: percent([run["accuracy"] for run in runs if run["method"] == method])
    assert f"no training | 0 | {of('lorafusion:recipe.epochs=0')} % |" in page
    assert f"80 forward pairs | 36 | {of('lorafusion@mezo')} % |" in page
    rows, lost = 0, {}
    for run in recorded(root, "drift_recovery.json"):
        kinds = {(r["method"], r["shots"]) for r in run["results"]}
        for method, shots in kinds:
            mine = [r for r in run["results"] if (r["method"], r["shots"]) == (method, shots)]
            keys = ("accuracy_chip", "accuracy_drifted", "accuracy_readapted")
            line = " | ".join(f"{percent([r[key] for r in mine])} %" for key in keys)
            name = {"lorafusion": "LoRAFusion", "pasta": "PASTA"}[method]
            assert f"| `{run['device']}` | {name}, {shots} | {len(mine)} | {line} |" in page, (method, shots)
            lost[run["device"], method, shots] = [sum(r[key] for r in mine) / len(mine) for key in keys]
            rows += 1
    assert rows == sum(page.count(f"| `{device}` | ") for device in ("reram", "pcm", "pcm-compensated")) == 6
    for method, said in (
        ("lorafusion", "LoRAFusion loses on `pcm` the factors alone give back {1}, with adapting again {2}"),
        ("pasta", "of PASTA's {} they give back {} and {}"),
    ):
        first, floor, _ = lost["pcm", method, 100]
        _, factors, again = lost["pcm-compensated", method, 100]
        points = (f"{100 * (value - floor):.1f}" for value in (first, factors, again))
        assert said.format(*points) in " ".join(page.split())


def test_pasta_beside_full_fine_tuning_is_that_of_the_recorded_runs(root: Path) -> None:
    page = " ".join((root / "docs" / "methods.md").read_text(encoding="utf-8").split())
    runs = recorded(root, "pasta.json")["runs"]
    tasks = list(dict.fromkeys(run["task"] for run in runs))
    of = {
        (method, task): [run["accuracy"] for run in runs if (run["method"], run["task"]) == (method, task)]
        for method in ("pasta", "full")
        for task in tasks
    }
    assert {len(found) for found in of.values()} == {3}
    means = {method: percent([value for task in tasks for value in of[method, task]]) for method in ("pasta", "full")}
    assert f"{means['pasta']} % in the mean of the four tasks" in page
    assert f"full fine-tuning of 10.6 million reaches {means['full']} %" in page
    for task in tasks:
        assert f"`{task}` {percent(of['pasta', task])} and {percent(of['full', task])}" in page
    by = {(run["method"], run["task"], run["seed"]): run["accuracy"] for run in runs}
    pairs = [(task, seed) for task in tasks for seed in range(3)]
    tried = [run for run in recorded(root, "held_out.json")["runs"] if run["method"].startswith("pasta")]
    held = {name: [run["accuracy"] for run in tried if run["method"] == name] for name in {r["method"] for r in tried}}
    assert len(held) == 8 and {len(found) for found in held.values()} == {6}
    second, best = sorted(held, key=lambda name: mean(held[name]))[-2:]
    assert best == f"{second},recipe.head_shrinkage=0.7"
    assert f"one reaches {percent(held['pasta'])} %" in page
    assert f"learning_rates.vectors=0.02` {percent(held[second])} %" in page
    assert f"(`pasta.recipe.head_shrinkage=0.7`) {percent(held[best])} %" in page
    reached = {name: percent([by[name, *pair] for pair in pairs]) for name in (second, best)}
    below = {}
    for name in (second, best, "pasta"):
        gaps = [100 * (by["full", *pair] - by[name, *pair]) for pair in pairs]
        below[name] = f"{mean(gaps):.1f} ± {stdev(gaps) / len(gaps) ** 0.5:.1f}"
    assert (
        f"reach {reached[second]} and {reached[best]} %, which is {below[second]} and {below[best]} points below full "
        f"fine-tuning, where the shipped recipe is {below['pasta']} below" in page
    )


def test_recipes_of_lorafusion_are_those_of_the_recorded_runs(root: Path) -> None:
    page = " ".join((root / "docs" / "methods.md").read_text(encoding="utf-8").split())
    record = recorded(root, "movie.json")
    of = lambda method: percent([run["accuracy"] for run in record["runs"] if run["method"] == method])
    start, former = "lorafusion:recipe.epochs=0", "lorafusion:rate.head=0.003,recipe.head_margin=1.0"

    def difference(first: str, second: str) -> str:
        pairs = [(1, row) for row in record["summary"] if (row["method"], row.get("minus")) == (first, second)]
        pairs += [(-1, row) for row in record["summary"] if (row["method"], row.get("minus")) == (second, first)]
        ((sign, row),) = pairs
        return f"{sign * row['points']:+.1f} ± {row['standard_error']:.1f}"

    assert (
        f"reaches {of(start)} % untrained and {of('lorafusion')} % trained ({difference('lorafusion', start)} points); "
        f"with the head's former rate of 0.003 and margin of 1 it reaches {of(former)} % "
        f"({difference(former, start)})" in page
    )
    heads = recorded(root, "head_rates.json")["rows"]
    on_nyt = {
        (row["head_rate"], row["head_margin"]): f"{row['points']:+.1f} ± {row['standard_error']:.1f}"
        for row in heads if (row["task"], row["start_of"]) == ("nyt", "pool")
    }  # fmt: skip
    assert f"on `nyt` {on_nyt[0.003, 1.0]} points at the former rate, {on_nyt[0.001, 0.5]} at the present one" in page


@pytest.mark.parametrize(("name", "shots"), [("movie.json", 100), ("movie_first.json", 400)])
def test_means_and_spreads_over_seeds_are_those_of_the_recorded_runs(
    readme: str, root: Path, name: str, shots: int
) -> None:
    runs = recorded(root, name)["runs"]
    cells = []
    for method in ("lorafusion", "lora"):
        found = [run["accuracy"] for run in runs if (run["method"], run["shots"]) == (method, shots)]
        assert len(found) == 5
        cells.append(f"{percent(found)} ± {100 * stdev(found):.1f}")
    assert " | ".join(cells) in readme.replace("**", "")
