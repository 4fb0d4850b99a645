"""The comparison's page, words and files, on the real assembly of synthetic reports."""

import json
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from edge_adapt.errors import EdgeAdaptError, UsageError
from edge_adapt.reports.compare import check_folder, with_findings, write_comparison
from edge_adapt.reports.compare_findings import _precision
from edge_adapt.reports.compare_page import draw_all
from edge_adapt.reports.compare_rows import common_tasks, rows_on
from edge_adapt.reports.records import COMPARE_FIELDS, FIELDS, CompareReport, plain, typed
from edge_adapt.reports.schema import check_record
from edge_adapt.reports.schema_docs import compare_schema
from edge_adapt.reports.values import percent, si
from edge_adapt.studies.compare_cells import FinishedCell
from edge_adapt.studies.compare_config import CompareConfig
from edge_adapt.studies.compare_report import CellOutcome, assemble
from edge_adapt.studies.config import SimulateConfig

ROOT = Path(__file__).parents[2]
#: method, placement, trained, cells, accuracy, cell writes, write joules, other joules, label
SERIES = (
    ("frozen", "DIGITAL", 0, 0, 0.51, 0.0, 0.0, 0.0, "simulated"),
    ("probe", "DIGITAL", 0, 0, 0.68, 0.0, 0.0, 0.004, "simulated"),
    ("bitfit", "DIGITAL", 27_000, 0, 0.73, 0.0, 0.0, 0.012, "simulated"),
    ("lora", "NVM_STEP", 147_456, 294_912, 0.72, 3.1e7, 1.9, 0.026, "simulated"),
)
FAILURE = "cell 'pcm' cannot be programmed: <b>no pulses</b>"


def comparison(
    make_report: Callable[..., Any], devices: tuple[str, ...] = ("reram", "pcm"), failed: tuple[Any, ...] = ()
) -> dict[str, Any]:
    """Every device 1.5 times as dear as the one before; two tasks; `failed` holds (device, task)."""
    config = CompareConfig(devices, ("movie", "tweets"), SimulateConfig(method=("all",), seeds=2))
    outcomes = []
    for cell in config.cells():
        factor = 1.5 ** devices.index(cell.device)
        series = tuple((*s[:6], s[6] * factor, s[7] * factor, s[8]) for s in SERIES)
        report = make_report((100,), 2, series)
        report["messages"] = ["for all", f"only {cell.device}"]
        broken = (cell.device, cell.task) in failed
        outcomes.append(
            CellOutcome(cell, message=FAILURE, seconds=1.0) if broken else CellOutcome(cell, FinishedCell(9.0, report))
        )
    return with_findings(plain(assemble(config, outcomes, [], "edge-adapt compare")))


def texts(found: dict[str, Any], topic: str) -> str:
    return " ".join(f["text"].replace("\u00a0", " ") for f in found["findings"] if f["topic"] == topic)


def test_the_words_say_who_wins_under_which_budget(make_report):
    found = comparison(make_report)
    for device, unit in (("reram", 1.0), ("pcm", 1.5)):
        words = texts(found, f"energy budget on {device}")
        for name, joules in (("Frozen", 0.0), ("Classifier only", 0.004), ("BitFit", 0.012)):
            assert f"{name} for {si(joules * unit, 'J')} (".replace("\u00a0", " ") in words
        assert "No method that takes more energy is more accurate than BitFit by more than the error." in words
        assert "LoRA takes the most energy, " in words
    best = max(record["accuracy_chip"] for record in found["results"])
    error = 100 * (best * (1 - best) / found["tasks"][0]["test_examples"]) ** 0.5
    assert f"of {error:.1f} points" in texts(found, "precision")
    cheapest = texts(found, "cheapest device")
    assert "The cheapest device for one adaptation is reram for 3 of 3 methods and placements." in cheapest
    assert "LoRA" in texts(found, "lifetime on pcm") and "The other 3 write no cells." in texts(
        found, "lifetime on pcm"
    )


@pytest.mark.parametrize(
    ("examples", "best", "words"),
    [
        (12, 1.0, "There are too few answers to give the sampling error near 100 %"),
        (400, 1.0, "There are too few wrong answers to give"),
        (400, 0.99, "There are too few wrong answers to give"),
        (400, 0.01, "There are too few right answers to give"),
        (400, 0.75, "near 75 % of 2.2 points"),
    ],
)
def test_too_few_answers_have_no_error_of_nothing(make_report, examples, best, words):
    """12 of 12 right is not an accuracy of 100 ± 0 %."""
    found = comparison(make_report)
    for record in found["results"]:
        record["accuracy_chip"] = best
    for task in found["tasks"]:
        task["test_examples"] = examples
    said = texts({"findings": [vars(f) for f in _precision(typed(found))]}, "precision")
    assert words in said and ("too few" in words or f"{100 * math.sqrt(best * (1 - best) / examples):.1f}" in said)


def test_no_method_is_called_more_accurate_inside_the_error(make_report):
    """Of two methods that share all answers but a few, the better one is no winner, however the means lie."""
    found = comparison(make_report, ("reram",))
    found["tasks"] = found["tasks"][:1]
    kept = {"frozen": "1" * 210 + "0" * 190, "probe": "0" * 3 + "1" * 215 + "0" * 182}
    found["results"] = [r for r in found["results"] if r["task"] == "movie" and r["method"] in kept]
    for record in found["results"]:
        bits = kept[record["method"]]
        record["right_chip"], record["accuracy_chip"] = bits, bits.count("1") / len(bits)
    told = with_findings({name: value for name, value in found.items() if name != "findings"})
    words = texts(told, "energy budget on reram")
    assert words.startswith("The cheapest adaptation is Frozen for 0 J (52.5 %). No method that takes more energy is")
    for record in found["results"]:
        record["right_chip"] = record["right_chip"][205:215]
    words = texts(with_findings(found), "energy budget on reram")
    assert "There are too few answers to tell whether it helps to spend more than Frozen does." in words


def test_the_change_by_drift_has_its_error(make_report):
    """The row's own answers, before and after: by hand from the records."""
    found = comparison(make_report, ("reram",))
    words = texts(found, "drift on reram")
    rows = [r for r in found["results"] if r["method"] == "bitfit"]
    right = lambda name: sum(r[f"right_{name}"].count("1") / len(r[f"right_{name}"]) for r in rows) / len(rows)
    change = 100 * (right("drifted") - right("chip"))
    sign = "−" if change < 0 else "+"
    assert re.search(rf"after 30 days \({sign}{abs(change):.1f} ± \d+\.\d points(, a tie)?\)", words), words


def test_a_device_that_lacks_a_task_is_compared_over_the_common_ones(make_report):
    found = comparison(make_report, failed=(("pcm", "tweets"),))
    assert common_tasks(typed(found)) == ["movie"]
    assert "(over movie alone)" in texts(found, "energy budget on pcm")
    assert "alone" not in texts(found, "energy budget on reram")
    assert FAILURE in texts(found, "failed")


def test_messages_name_their_devices(make_report):
    assert comparison(make_report)["messages"] == ["for all", "reram: only reram", "pcm: only pcm"]


class Page(HTMLParser):
    """Collects tags and texts, and insists on properly nested tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_holds_every_figure_table_and_failure(make_report, tmp_path):
    found = comparison(make_report, failed=(("pcm", "tweets"),))
    paths = write_comparison(found, tmp_path / "out")
    text = paths.html.read_text()
    page = Page(text)
    for device, tasks in (("reram", ("movie", "tweets")), ("pcm", ("movie",))):
        for task in tasks:
            for series in rows_on(typed(found), device, [task]):
                for name in ("exact", "chip", "drifted", "readapted"):
                    assert percent(series.stat(f"accuracy_{name}")) in page.texts
                for name in ("adaptation", "inference", "write"):
                    assert si(series.stat(f"{name}_energy_joules").mean, "J") in page.texts
    assert "<b>no pulses</b>" not in text and any(FAILURE in found for found in page.texts), "shown, and escaped"
    captions = re.findall(r"<caption><span>(.*?)</span></caption>", text)
    assert len(captions) == sum(tag == "table" for tag, _ in page.tags)
    assert sum("Trained numbers are without the head" in caption for caption in captions) == 2, "one for each task"
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert not re.findall(r'(?:src|href)="(?!#|figures/|compare.json|https://(?:doi|arxiv)\.org)', text), (
        "loads nothing"
    )
    assert {p.name for p in paths.figures} == {f"{kind}-{n}.svg" for kind in ("pareto", "metrics") for n in (1, 2)}
    assert json.loads(paths.json.read_text()) == found


def test_same_comparison_same_bytes(make_report, tmp_path):
    found = comparison(make_report)
    first, second = (write_comparison(found, tmp_path / name) for name in ("a", "b"))
    for a, b in zip((first.html, first.json, *first.figures), (second.html, second.json, *second.figures), strict=True):
        assert a.read_bytes() == b.read_bytes()


def test_a_table_without_any_result_is_still_a_page(make_report, tmp_path):
    every = tuple((device, task) for device in ("reram", "pcm") for task in ("movie", "tweets"))
    found = comparison(make_report, failed=every)
    paths = write_comparison(found, tmp_path / "out")
    assert paths.figures == ()
    assert "every simulation failed" in paths.html.read_text()


def test_the_devices_stay_apart_in_the_dot_plot(make_report):
    """Points of one row and panel never share a place: each device has a line of its own."""
    drawing = draw_all(typed(comparison(make_report)))["metrics-1"]
    places = [tuple(map(float, found)) for found in re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)"', drawing.svg)]
    assert len(places) >= 2 * len(SERIES)
    assert all(abs(a[1] - b[1]) > 4 or abs(a[0] - b[0]) > 4 for a, b in combinations(set(places), 2))


def test_the_documentation_is_in_step(make_report):
    text = (ROOT / "docs" / "compare-schema.md").read_text(encoding="utf-8")
    assert text == compare_schema(), "run: python -m edge_adapt.reports.schema_docs compare > docs/compare-schema.md"
    found = comparison(make_report, failed=(("pcm", "tweets"),))
    check_record(CompareReport, found)
    here, there = ({field.path for field in fields} for fields in (COMPARE_FIELDS, FIELDS))
    assert len(here) == len(COMPARE_FIELDS)
    assert set(found) == {path for path in here if "." not in path}
    for name, elsewhere in (
        ("results[]", "results[]"),
        ("tasks[]", "task"),
        ("references[]", "references[]"),
        ("devices[]", ""),
        ("cells[]", ""),
        ("findings[]", ""),
    ):
        for entry in found[name.removesuffix("[]")]:
            assert all(f"{name}.{key}" in here or f"{elsewhere}.{key}" in there for key in entry), name


@pytest.mark.parametrize(
    "name", ["notes.txt", "cells/notes.txt", "figures/photo.png", "report.json", "cells/deeper/x.json"]
)
def test_a_folder_with_other_things_is_refused(tmp_path, name):
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    with pytest.raises(UsageError, match="not of a comparison"):
        check_folder(tmp_path / "out")
    assert path.read_text() == "{}"


def test_what_a_comparison_leaves_is_accepted(make_report, tmp_path, monkeypatch):
    out = tmp_path / "out"
    check_folder(out)
    (out / "cells").mkdir(parents=True)
    (out / "cells" / "reram-movie-0123.json").write_text("{}")
    (out / "cells" / "pcm-movie-0123.json.tmp").write_text("{")
    write_comparison(comparison(make_report), out)
    (out / "figures" / "pareto-9.svg").write_text("<svg/>")
    (out / "figures" / "pareto-9.svg.tmp").write_text("<svg")
    check_folder(out)
    write_comparison(comparison(make_report), out)
    assert not list(out.rglob("*.tmp")), "of processes that were killed"
    assert not (out / "figures" / "pareto-9.svg").exists(), "a figure of the former comparison"
    assert (out / "cells" / "reram-movie-0123.json").read_text() == "{}"
    monkeypatch.chdir(out)
    with pytest.raises(UsageError, match="working folder"):
        check_folder(Path())
    (tmp_path / "link").symlink_to(out)
    with pytest.raises(UsageError, match="link"):
        check_folder(tmp_path / "link")


def test_a_file_that_cannot_be_written_is_one_message(make_report, tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(EdgeAdaptError, match=r"No space left.*kept"):
        write_comparison(comparison(make_report), tmp_path / "out")


def test_methods_that_train_nothing_do_not_adapt(make_report):
    """Frozen takes energy, for its class means, but it is not among the methods that drift and adapt again."""
    found = comparison(make_report, ("reram",))
    for record in found["results"]:
        if record["method"] == "frozen":
            record |= {
                "train_steps": 0,
                "adaptation_energy_joules": 1e-3,
                "accuracy_drifted": 0.0,
                "accuracy_readapted": 0.0,
            }
    words = texts(with_findings({name: value for name, value in found.items() if name != "findings"}), "drift on reram")
    assert "methods that train" in words and "Frozen" not in words
