"""Figures of the README and of docs/results.md are those of the recorded runs that they name."""

import importlib.util
import json
import re
import statistics
from pathlib import Path
from statistics import mean, stdev
from types import ModuleType
from typing import Any

import pytest
from edge_adapt.reports.records import SimulateReport, fields_of
from edge_adapt.reports.records.device import Device


def script(root: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, root / "benchmarks" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def publish(root: Path) -> ModuleType:
    return script(root, "publish")


@pytest.fixture(scope="module")
def results(root: Path) -> str:
    return (root / "docs" / "results.md").read_text(encoding="utf-8")


def test_the_regions_of_the_main_job_are_those_of_its_recorded_run(root: Path, publish: ModuleType) -> None:
    record = json.loads(publish.RESULT.read_text(encoding="utf-8"))
    marked = 0
    for document in publish.DOCUMENTS:
        text = (root / document).read_text(encoding="utf-8")
        folder = "../benchmarks/results" if "/" in document else "benchmarks/results"
        assert publish.filled(text, record, folder) == text, f"python benchmarks/publish.py fills {document}"
        marked += text.count("<!-- begin: main-job")
    assert marked == 7


def whole(cls: type, given: dict[str, Any]) -> dict[str, Any]:
    """An object with every field of a record: those that are not given, here and in the records in it, are null."""
    made: dict[str, Any] = {}
    for field in fields_of(cls):
        value = given.get(field.name)
        if field.record is not None and value is not None:
            inner = field.record
            value = [whole(inner, entry) for entry in value] if isinstance(value, list) else whole(inner, value)
        made[field.name] = value
    return made


def test_a_report_becomes_a_record_and_sentences(publish: ModuleType) -> None:
    """Numbers by hand: one run of 100 answers, and what a comparison of the report says."""
    right = lambda count: "1" * count + "0" * (100 - count)
    record = {
        "method": "lorafusion", "placement": "DIGITAL", "shots": 100, "seed": 0, "trained_parameters": 4644,
        "cells_written": 0, "write_energy_joules": 0.0, "adaptation_energy_joules": 0.12,
        "accuracy_exact": 0.8, "accuracy_chip": 0.72, "accuracy_drifted": 0.6, "accuracy_readapted": 0.7,
        "right_exact": right(80), "right_chip": right(72), "right_drifted": right(60), "right_readapted": right(70),
    }  # fmt: skip
    lora = record | {"method": "lora", "trained_parameters": 147_456, "accuracy_chip": 0.66, "right_chip": right(66)}
    pair = {"method": "lorafusion", "placement": "DIGITAL", "against_method": "lora", "against_placement": "DIGITAL"}
    report = {
        "command": "edge-adapt simulate", "created": "2025-01-31T12:00:00+00:00", "versions": {}, "config_hash": "ab",
        "environment": {"processor": "a processor", "processes": 2, "wall_seconds": 99.6, "commit": "abcdef"},
        "inputs": {}, "results_digest": "0123", "task": {"test_examples": 100, "metric": "accuracy"},
        "test_sets": [{"seed": 0, "examples": list(range(100))}], "results": [lora, record], "break_even": None,
        "programming": {"cells": 23e6, "energy_joules": 2.8e-3, "time_seconds": 0.69, "pool": None},
        "comparisons": [pair | {"shots": 100, "outcome": "chip", "against_outcome": "chip", "difference_points": 6.0,
                                "standard_error_points": 2.39, "verdict": "better"}],
    }  # fmt: skip
    report = whole(SimulateReport, report)
    kept = publish.short(report)
    assert [row["method"] for row in kept["rows"]] == ["lorafusion", "lora"]
    error = (0.72 * 0.28 / 99) ** 0.5
    assert kept["rows"][0]["accuracy"]["chip"] == {"mean": 0.72, "standard_error": pytest.approx(error)}
    texts = publish.regions(kept)
    assert "| **LoRAFusion** | **0** | **72.0 ± 4.5 %** | **60.0 ± 4.9 %** | **70.0 ± 4.6 %** |" in texts["main-job"]
    assert "72.0 ± 4.5 % on the chip. LoRA trains 147,456 and reaches 66.0 ± 4.8 %" in texts["main-job-lessons"]
    assert "a difference of +6.0 ± 2.4 points, more than the error." in texts["main-job-lessons"]
    assert "After 30 days LoRAFusion has 60.0 ± 4.9 % (−12.0 ± 3.3 points)" in texts["main-job-lessons"]
    assert "No memory cells are written." in texts["main-job-lessons"]
    drift = publish.drifting(report | {"device": whole(Device, {"name": "pcm"})})
    said = publish.regions(kept | {"drift": drift})["main-job-lessons"]
    assert "On the `pcm` chip, whose cells drift more, 30 days take it from 72.0 ± 4.5 % to 60.0 ± 4.9 %, and" in said
    assert "gives +10.0 ± 3.0 points back (`edge-adapt simulate`). No memory cells are written." in said
    assert "Processor: a processor, 2 processes, 100 s. Commit abcdef." in texts["main-job-made"]
    assert "Digest of the results: `0123`." in texts["main-job-made"]
    row = "| LoRAFusion, on the chip | LoRA, held digitally, on the chip | +6.0 ± 2.4 | better |"
    assert row in texts["main-job-differences"]
    document = "a\n<!-- begin: main-job-once -->\nold\n<!-- end: main-job-once -->\nb\n"
    filled = publish.filled(document, kept)
    assert filled.splitlines()[2] == "Programming 23.0 M cells once takes 2.8 mJ and 0.69 s."
    assert publish.filled(filled, kept) == filled
    for broken in ("<!-- begin: main-job -->", "<!-- begin: other -->\n<!-- end: other -->"):
        with pytest.raises(ValueError, match="regions begin"):
            publish.filled(broken, kept)


def test_the_readme_is_short(root: Path) -> None:
    """About 600 words without its tables and generated regions, and every link within the tree arrives."""
    text = (root / "README.md").read_text(encoding="utf-8")
    own = re.sub(r"<!-- begin: ([\w-]+) -->.*?<!-- end: \1 -->", "", text, flags=re.DOTALL)
    assert len(own.split()) <= 680
    for document in (
        "README.md",
        *(f"docs/{name}.md" for name in ("results", "limits", "glossary", "library", "options")),
    ):
        path = root / document
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
            assert target.startswith("http") or (path.parent / target).exists(), (document, target)


def test_energies_have_three_digits(publish: ModuleType) -> None:
    given = (0.0, 1.8749, 0.1203, 5.0e-3, 5.69e-5, 4.4e-10)
    assert [publish.joules(value) for value in given] == ["0", "1.87 J", "120 mJ", "5 mJ", "56.9 µJ", "440 pJ"]


def recorded(root: Path, name: str) -> dict[str, Any]:
    return json.loads((root / "benchmarks" / "results" / name).read_text(encoding="utf-8"))


def percent(values: list[float]) -> str:
    return f"{100 * sum(values) / len(values):.1f}"


def test_pairs_and_entities_are_those_of_the_recorded_runs(results: str, root: Path) -> None:
    text = " ".join(results.split())
    found = {run["method"]: percent([run["accuracy"]]) for run in recorded(root, "pairs.json")["runs"]}
    assert f"classifier only {found['probe']} %, LoRA {found['lora']} %, PASTA {found['pasta']} %" in text
    found = {run["method"]: percent([run["accuracy"]]) for run in recorded(root, "entities.json")["runs"]}
    assert f"F1 {found['probe']} % by the classifier alone, LoRA {found['lora']} %" in text


def test_mails_are_those_of_the_recorded_runs(results: str, root: Path) -> None:
    runs = recorded(root, "spam.json")["runs"]
    of = lambda method: percent([run["accuracy"] for run in runs if run["method"] == method])
    said = f"LoRA {of('lora')}, LoRAFusion {of('lorafusion')}, PASTA {of('pasta')}, classifier only {of('probe')}"
    assert said in " ".join(results.split())


@pytest.mark.parametrize("task", ["elpv-poly", "stamps", "mnist"])
def test_images_are_those_of_the_recorded_runs(results: str, root: Path, task: str) -> None:
    found = [run for run in recorded(root, "vision.json")["results"] if run["task"] == task]
    of = lambda method: [
        run["accuracy"] for run in sorted(found, key=lambda run: run["seed"]) if run["method"] == method
    ]
    assert {len(of(method)) for method in ("pixels", "regression", "probe", "vpt")} == {3}
    cells = (f"{percent(of(m))} ± {100 * stdev(of(m)):.1f}" for m in ("pixels", "regression", "probe", "vpt"))
    text = results.replace("**", "")
    assert " | ".join(cells) in text
    gains = [100 * (vpt - probe) for vpt, probe in zip(of("vpt"), of("probe"), strict=True)]
    assert f"{mean(gains):.1f} ± {stdev(gains) / len(gains) ** 0.5:.1f}" in text


def test_a_pool_of_images_is_that_of_the_recorded_runs(results: str, root: Path) -> None:
    text = " ".join(results.split())
    found = [run for run in recorded(root, "vision.json")["results"] if run["task"] == "elpv-mono"]
    fused, probe = ([run["accuracy"] for run in found if run["method"] == name] for name in ("lorafusion", "probe"))
    assert len(fused) == len(probe) == 3
    assert f"reaches {percent(fused)} ± {100 * stdev(fused):.1f} % on monocrystalline cells" in text
    assert f"the classifier alone {percent(probe)} ± {100 * stdev(probe):.1f}." in text


def test_mezo_and_drift_on_the_page_of_results_are_those_of_the_recorded_runs(root: Path) -> None:
    page = (root / "docs" / "results.md").read_text(encoding="utf-8")
    runs = [run for run in recorded(root, "mezo.json")["runs"] if run["shots"] == 100 and run["seed"] < 3]
    of = lambda method: percent([run["accuracy"] for run in runs if run["method"] == method])
    assert f"no training | 0 | {of('lorafusion:recipe.epochs=0')} % |" in page
    assert f"80 forward pairs | 36 | {of('lorafusion@mezo')} % |" in page
    page = page.partition("## After drift")[2]
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
        (
            "lorafusion",
            "LoRAFusion loses {} points on `pcm`. The factors alone give {} points back; the factors and adapting "
            "again give {}.",
        ),
        ("pasta", "PASTA loses {} points; the factors alone give {} back, and with adapting again {}."),
    ):
        first, floor, _ = lost["pcm", method, 100]
        _, factors, again = lost["pcm-compensated", method, 100]
        points = (f"{100 * (value - floor):.1f}" for value in (first, factors, again))
        assert said.format(*points) in " ".join(page.split())


def test_pasta_beside_full_fine_tuning_is_that_of_the_recorded_runs(root: Path) -> None:
    page = " ".join((root / "docs" / "results.md").read_text(encoding="utf-8").split())
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
    assert f"Full fine-tuning of 10.6 million reaches {means['full']} %" in page
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
    page = " ".join((root / "docs" / "results.md").read_text(encoding="utf-8").split())
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
    results: str, root: Path, name: str, shots: int
) -> None:
    runs = recorded(root, name)["runs"]
    cells = []
    for method in ("lorafusion", "lora"):
        found = [run["accuracy"] for run in runs if (run["method"], run["shots"]) == (method, shots)]
        assert len(found) == 5
        cells.append(f"{percent(found)} ± {100 * stdev(found):.1f}")
    assert " | ".join(cells) in results.replace("**", "")


def between(record: dict[str, Any], first: str, second: str) -> tuple[float, float]:
    """Points of `first` minus `second` and their standard error, whichever way round the record has them."""
    for sign, pair in ((1, (first, second)), (-1, (second, first))):
        for row in record["summary"]:
            if (row["method"], row.get("minus")) == pair:
                return sign * row["points"], row["standard_error"]
    raise AssertionError(f"the record does not compare {first} with {second}")


def test_gains_over_the_start_and_over_lora_are_those_of_the_recorded_runs(results: str, root: Path) -> None:
    text = " ".join(results.replace("**", "").split())
    record = recorded(root, "movie.json")
    of = lambda method: [run["accuracy"] for run in record["runs"] if (run["method"], run["shots"]) == (method, 100)]
    start, former = "lorafusion:recipe.epochs=0", "lorafusion:rate.head=0.003,recipe.head_margin=1.0"
    other = "lora:rate.matrices=0.0006,rate.head=0.0003,recipe.head_margin=0.5"
    assert {len(of(method)) for method in ("lorafusion", "lora", start, former, other)} == {5}
    told = lambda points, error: f"{points:.1f} ± {error:.1f}"
    gain, lost = between(record, "lorafusion", start), between(record, start, former)
    assert f"reaches {percent(of(start))} % in the same five draws." in text
    assert f"Training adds {told(*gain)} points to that, a tie; with the former recipe it took {told(*lost)}" in text
    assert gain[0] > 0 and gain[0] < 2 * gain[1] and lost[0] > 0
    assert f"With a smaller head rate LoRA reaches {percent(of(other))} % in the same draws (`{other}`" in text
    over, above = between(record, "lorafusion", other), between(record, "lorafusion", "lora")
    assert f"LoRAFusion is {told(*over)} points above that, and {told(*above)} above the shipped recipe." in text
    halved = {
        method: [run["accuracy"] for run in recorded(root, "mezo.json")["runs"] if run["method"] == method]
        for method in ("lorafusion:initial=0.5", "lorafusion:initial=0.5,recipe.epochs=0")
    }
    trained, untrained = halved.values()
    assert len(trained) == len(untrained) == 3
    points = 100 * (mean(trained) - mean(untrained))
    assert f"training gains {points:.1f} points (coefficients halved, 3 seeds," in text


def test_few_shots_are_those_of_the_recorded_runs(results: str, root: Path) -> None:
    """Means from the answers themselves, and the differences that stand in the record."""
    start = "lorafusion:recipe.epochs=0"
    for record in json.loads((root / "benchmarks" / "results" / "movie_few_shots.json").read_text(encoding="utf-8")):
        means = {
            name: statistics.fmean(run["right"].count("1") / len(run["right"]) for run in runs)
            for name in ("frozen", "lora", start, "lorafusion")
            if (runs := [run for run in record["runs"] if run["method"] == name])
        }
        signs = {
            (entry["method"], entry["minus"]): entry for entry in record["summary"] if entry.get("minus") is not None
        }
        cells = [f"{100 * means[name]:.1f}" for name in ("frozen", "lora", start)] + [
            f"**{100 * means['lorafusion']:.1f}**"
        ]
        for other in ("lora", start):
            entry = signs.get(("lorafusion", other)) or signs[other, "lorafusion"]
            points = entry["points"] if entry["minus"] == other else -entry["points"]
            cells.append(f"{points:+.1f} ± {entry['standard_error']:.1f}".replace("-", "−"))
            assert points == pytest.approx(100 * (means["lorafusion"] - means[other]))
        shots = {run["shots"] for run in record["runs"]}
        assert f"| {shots.pop()} | {' | '.join(cells)} |" in results and not shots


def test_many_answers_on_the_chip_are_those_of_the_recorded_run(results: str, root: Path) -> None:
    """Means and paired differences from the answers themselves."""
    record = recorded(root, "onchip.json")
    names = ("lorafusion", "lora", "pool")
    for outcome, words in script(root, "on_chip").OUTCOMES.items():
        right = {(r["method"], r["seed"]): r[f"right_{outcome}"] for r in record["results"]}
        seeds = sorted({seed for _, seed in right})
        mine = {name: "".join(right[name, seed] for seed in seeds) for name in names}
        assert {len(bits) for bits in mine.values()} == {4 * 600}
        shares = {name: bits.count("1") / len(bits) for name, bits in mine.items()}
        (row,) = re.findall(rf"^\| {words} \| \*\*(.*) \|$", results, flags=re.MULTILINE)
        cells = row.replace("**", "").replace("−", "-").split(" | ")
        assert cells[:3] == [f"{100 * shares[name]:.1f}" for name in names]
        for cell, name in zip(cells[3:], names[1:], strict=True):
            (entry,) = (
                c for c in record["comparisons"]
                if (c["method"], c["against_method"], c["outcome"]) == ("lorafusion", name, outcome)
            )  # fmt: skip
            points = 100 * (shares["lorafusion"] - shares[name])
            assert cell == f"{points:+.1f} ± {entry['standard_error_points']:.1f}"


def test_tasks_far_from_the_pool_are_those_of_the_recorded_runs(results: str, root: Path) -> None:
    """Means from the runs themselves, and paired differences from their answers."""
    plain = results.replace("**", "").replace("−", "-")
    record = recorded(root, "far.json")
    runs = {(run["task"], run["method"], run["modules"], run["seed"]): run for run in record["runs"]}
    seeds = range(4)

    def points(task: str, method: str, modules: str | None = None) -> float:
        return 100 * mean([runs[task, method, modules, seed]["accuracy"] for seed in seeds])

    def minus(task: str, method: str) -> str:
        answers = [[runs[task, name, None, seed]["right"] for name in ("lorafusion", method)] for seed in seeds]
        each = [mean([int(a) - int(b) for a, b in zip(*both, strict=True)]) for both in answers]
        entry = next(
            e for e in record["summary"]
            if (e["task"], e.get("modules")) == (task, None) and {e["method"], e.get("minus")} == {"lorafusion", method}
        )  # fmt: skip
        assert abs(entry["points"]) == pytest.approx(abs(100 * mean(each)))
        return f"{100 * mean(each):+.1f} ± {entry['standard_error']:.1f}"

    gaps, magnitudes, crossed = [], [], []
    for task, title in (("election", "election author"), ("r8", "Reuters R8"), ("bbc", "BBC news")):
        fused, few = points(task, "lorafusion"), points(task, "lorafusion", "tweets,amazon,nyt")
        plainer = [points(task, f"lorafusion:{part}=false") for part in ("magnitude", "cross_terms")]
        cells = (*(points(task, name) for name in ("lora", "probe", "pool")), fused, few, *plainer)
        row, differences = re.findall(rf"^\| {title} \| (.*) \|$", plain, flags=re.MULTILINE)
        for cell, value in zip(row.split(" | "), cells, strict=True):
            assert float(cell) == pytest.approx(value, abs=0.051), (title, row)
        assert differences.split(" | ") == [minus(task, name) for name in ("lora", "probe", "pool")]
        gaps.append(fused - few)
        magnitudes.append(fused - plainer[0])
        crossed.append(plainer[1] - fused)
    text = " ".join(plain.split())
    assert f"by up to {max(gaps):.0f} points." in text
    assert f"magnitudes add {min(magnitudes):.1f} to {max(magnitudes):.1f} points" in text
    assert f"Cross terms take {min(crossed):.1f} to {max(crossed):.1f} points away" in text


def test_scales_of_the_mapping_are_those_of_the_recorded_run(root: Path) -> None:
    page = " ".join((root / "docs" / "simulator.md").read_text(encoding="utf-8").split())
    rows = json.loads((root / "benchmarks" / "results" / "scales.json").read_text(encoding="utf-8"))["rows"]
    uncut, seven, many = (f"{100 * row['rms_error_programmed']:.2f}" for row in rows)
    assert f"from {seven} to {many} %" in page and f"raises it to {uncut} %" in page
