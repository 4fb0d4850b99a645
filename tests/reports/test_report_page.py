"""The page: complete, self-contained, well-formed, escaped, and right for odd reports."""

import csv
import io
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from typing import Any

import pytest
from edge_adapt.reports import write_report
from edge_adapt.reports.figures import draw_all
from edge_adapt.reports.page import render
from edge_adapt.reports.records import fields_of, typed
from edge_adapt.reports.records.results import Result
from edge_adapt.reports.records_csv import records_csv
from edge_adapt.reports.rows import rows_of
from edge_adapt.reports.tables import link_of
from edge_adapt.reports.values import count, duration, percent, si, signed

VOID = {"meta", "br", "hr", "img", "input", "link", "base", "source", "wbr", "col"}


class Page(HTMLParser):
    """Collects tags, texts and values, and insists on properly nested tags."""

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
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.texts.append(data)


def page_of(report: dict[str, Any]) -> tuple[str, Page]:
    text = render(typed(report), draw_all(typed(report)))
    return text, Page(text)


@pytest.fixture(scope="module")
def example(request) -> tuple[str, Page]:
    from importlib import util
    from pathlib import Path

    spec = util.spec_from_file_location("report_example", Path(__file__).with_name("conftest.py"))
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return page_of(module.build_report())


def test_every_number_of_the_results_is_in_the_page(example, report):
    _, page = example
    texts = set(page.texts)
    values = {attributes["value"] for tag, attributes in page.tags if tag == "data"}
    for row in rows_of(typed(report).results):
        for name in ("accuracy_exact", "accuracy_chip", "accuracy_drifted", "accuracy_readapted"):
            assert percent(row.stat(name)) in texts
        for name in ("write_energy_joules", "adaptation_energy_joules", "inference_energy_joules"):
            assert si(row.stat(name).mean, "J") in texts
            assert str(row.stat(name).mean) in values, "the exact value stands beside the rounded one"
        assert duration(row.stat("adaptation_time_seconds").mean) in texts
        for name in ("trained_parameters", "cells_written"):
            assert count(row.stat(name).mean) in texts
        for name in ("adaptation_energy_by_component_joules", "inference_energy_by_component_joules"):
            if row.shots == 100:
                for value in row.components(name).values():
                    assert si(value, "J") in texts
    for entry in report["comparisons"]:
        assert (
            f"{signed(entry['difference_points'])}\xa0±\xa0{entry['standard_error_points']:.1f}, {entry['verdict']}"
            in texts
        )
    for record in report["results"]:
        for name in ("seed", "accuracy_chip", "adaptation_energy_joules", "write_time_seconds", "train_tokens"):
            assert str(record[name]) in values


def test_everything_the_report_tells_is_in_the_page(example, report):
    text = " ".join("".join(example[1].texts).split())
    for line in (
        *report["device"]["unknown"],
        *report["messages"],
        report["command"],
        report["pool_fit"]["text"],
        report["config_hash"],
        report["results_digest"],
        *report["inputs"].values(),
        *(str(report["environment"][name]) for name in ("commit", "processor", "python", "product_arithmetic")),
        "2.85\xa0min".replace("\xa0", " "),
        *(entry["citation"] for entry in report["references"]),
        *report["versions"].values(),
        "12 of 1,296 tiles simulated, scaled up",
        report["config"]["note"],
    ):
        assert line in text


def test_what_has_no_price_is_not_shown_as_free(make_report):
    report = make_report(shots=(100,), seeds=1)
    for record in report["results"]:
        record["adaptation_energy_by_component_joules"]["leakage"] = 0.0
    priced = page_of(report)[1].texts
    assert "total" in priced and "unknown" not in priced
    report["device"]["costs"].append(report["device"]["costs"][0] | {"component": "leakage", "value": None})
    report["messages"] = ["the table ends at 172800 s"]
    texts = page_of(report)[1].texts
    assert texts.count("unknown") == len(report["results"])
    assert texts.count("total, without standby of arrays") == 2, "of an adaptation and of an example"
    captions = " ".join(texts)
    assert "Energies are without standby of arrays, whose price is unknown." in captions
    assert captions.count("Trained numbers are without the head") == 2
    assert "the table ends at 2\xa0days" in captions


def test_every_table_begins_with_its_caption(example):
    text, page = example
    names = [tag for tag, _ in page.tags]
    tables = [i for i, name in enumerate(names) if name == "table"]
    assert len(tables) > 10
    assert all(names[i + 1] == "caption" for i in tables)
    assert all(found.strip() for found in re.findall(r"<caption><span>(.*?)</span></caption>", text, re.DOTALL))


def test_a_figure_shrinks_with_the_page(example):
    """A drawing with a least width would be cut on a narrow screen; its own width is that of its box."""
    text, page = example
    rules = re.findall(r"figure svg \{([^}]*)\}", text)
    assert any("width: 100%" in rule for rule in rules)
    assert not any("min-width" in rule for rule in rules)
    assert all("viewbox" in attributes for tag, attributes in page.tags if tag == "svg")


def test_nothing_is_loaded_from_elsewhere(example):
    text, page = example
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "srcset", "action", "data", "poster"):
                pytest.fail(f"{tag} {name}={value}")
            if name in ("href", "xlink:href"):
                allowed = (
                    ("#", "https://doi.org/", "https://arxiv.org/", "report.json", "results.csv", "figures/")
                    if tag == "a"
                    else ("#", "data:image/png;base64,")
                )
                assert (value or "").startswith(allowed), (tag, value)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    assert "@import" not in text


def test_the_answer_comes_first_and_its_files_are_linked(example, drawings):
    text, page = example
    first_words, figure = text.index('<p class="verdict">'), text.index('<figure id="figure-accuracy-energy">')
    others = [text.index(word) for word in ("<table", "<h2", '<figure id="figure-drift-recovery">', "<nav")]
    assert first_words < figure < min(others)
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    files = ["report.json", "results.csv", *(f"figures/{name}.svg" for name in drawings)]
    assert set(files) <= set(links)


def test_links_to_files_arrive(make_report, tmp_path):
    paths = write_report(make_report(shots=(16,), seeds=1), tmp_path / "out")
    page = Page(paths.html.read_text(encoding="utf-8"))
    for tag, attributes in page.tags:
        target = attributes.get("href") or ""
        if tag == "a" and not target.startswith(("#", "http")):
            assert (paths.folder / target).is_file(), target
    assert paths.csv.read_text(encoding="utf-8") == records_csv(typed(make_report(shots=(16,), seeds=1)))


def test_the_records_as_csv(make_report):
    report = make_report(shots=(16,), seeds=2)
    report["results"][0]["accuracy_readapted"] = None
    rows = list(csv.DictReader(io.StringIO(records_csv(typed(report)))))
    assert len(rows) == len(report["results"])
    assert rows[0]["accuracy_readapted"] == ""
    for row, record in zip(rows, report["results"], strict=True):
        assert row["method"] == record["method"]
        assert float(row["adaptation_energy_joules [J]"]) == record["adaptation_energy_joules"]
        assert float(row["accuracy_chip"]) == record["accuracy_chip"]
    assert not any(text.startswith(("{", "[")) for row in rows for text in row.values())


def test_print_shows_everything(example):
    """Closed parts open in print, and the wide form of a figure is printed."""
    text, _ = example
    printed = text[text.index("@media print") :]
    assert "details::details-content { content-visibility: visible" in printed
    assert ".broad { display: block; }" in printed and ".slim { display: none; }" in printed
    assert ".scroll { overflow: visible" in printed
    # The table of 28 columns lies across the page: upright its numbers broke in the middle ("32,7" and "68").
    assert '<details class="across"><summary>Every run' in text and ".across { page: across; }" in printed
    assert "@page across { size: A4 landscape; }" in printed and "overflow-wrap: anywhere" not in printed


def test_ids_are_unique_and_links_within_the_page_arrive(example):
    text, page = example
    ids = Counter(attributes["id"] for _, attributes in page.tags if "id" in attributes)
    assert max(ids.values()) == 1
    targets = {
        v[1:] for _, a in page.tags for n, v in a.items() if n in ("href", "xlink:href") and v and v.startswith("#")
    }
    targets |= set(re.findall(r"url\(#([^)]*)\)", text))
    assert targets <= set(ids)


def test_user_texts_are_escaped(make_report):
    nasty = "</title><script>alert(1)</script> & $x_1$ \"'"
    report = make_report(shots=(16,), seeds=1)
    for holder, key in (
        (report["device"], "title"),
        (report["model"], "name"),
        (report["task"], "name"),
        (report["pool_fit"], "text"),
        (report["conductance_map"], "tensor"),
        (report["references"][0], "citation"),
        (report["references"][0], "doi"),
        (report["results"][0], "method"),
        (report["results"][0], "note"),
        (report["results"][0], "placement"),
        (report["break_even"]["versus"][0], "method"),
        (report, "command"),
    ):
        holder[key] = nasty
    report["messages"] = [nasty]
    text, page = page_of(report)
    assert "<script" not in text
    assert not any(tag == "script" for tag, _ in page.tags)
    assert nasty in "".join(page.texts)


def test_only_known_kinds_of_address_become_links():
    assert link_of("10.1038/s41586-022-04992-8") == "https://doi.org/10.1038/s41586-022-04992-8"
    assert link_of("arXiv:2210.04382") == "https://arxiv.org/abs/2210.04382"
    assert link_of("https://example.org/a") == "https://example.org/a"
    for other in (None, "", "javascript:alert(1)", "10.1 not a doi", "https://a b"):
        assert link_of(other) == ""


def _nullable_results(report: dict[str, Any]) -> None:
    for field in fields_of(Result):
        if field.nullable:
            for record in report["results"]:
                record[field.name] = None


def _no_pool(report: dict[str, Any]) -> None:
    report["pool"] = report["break_even"] = report["pool_fit"] = report["programming"]["pool"] = None


def _no_device_data(report: dict[str, Any]) -> None:
    report["conductance_map"] = None
    report["programming"].update(
        pulses_mean=None,
        pulses_p95=None,
        energy_joules=None,
        time_seconds=None,
        weight_error_relative=None,
        pulses_histogram=[],
        failed_cells=0,
        cells=0,
    )
    report["device"].update(unknown=[], area_square_meters={})
    report.update(references=[], messages=[])
    for record in report["results"]:
        record["drift"] = []


def _alike(report: dict[str, Any]) -> None:
    """No spread, no difference, a flat tile, no gain: nothing divides by it."""
    for record in report["results"]:
        for name in ("exact", "exact_before", "chip_before", "chip", "drifted", "readapted"):
            record[f"accuracy_{name}"] = 0.0
        record["drift"] = [{"age_seconds": 0.0, "accuracy": 0.0}, {"age_seconds": 86400.0, "accuracy": 0.0}]
    flat = [[0.0] * 3] * 2
    report["conductance_map"].update(target_siemens=flat, programmed_siemens=flat)
    report["programming"].update(pulses_histogram=[7], failed_cells=0)


@pytest.mark.parametrize("series", [1, 8])
@pytest.mark.parametrize("change", [None, _nullable_results, _no_pool, _no_device_data, _alike])
def test_odd_reports(make_report, tmp_path, change, series):
    from edge_adapt.reports import print_summary
    from rich.console import Console

    from_builder = make_report()["results"]
    report = make_report(shots=(16,), seeds=1)
    assert len(from_builder) > len(report["results"])
    report["results"] = report["results"][:series]
    if change:
        change(report)
    paths = write_report(report, tmp_path / "out")
    page = Page(paths.html.read_text(encoding="utf-8"))
    texts = " ".join(page.texts)
    assert not re.search(r"\b(nan|inf|None)\b", texts)
    with (tmp_path / "summary").open("w", encoding="utf-8") as handle:
        print_summary(report, Console(file=handle, width=80), paths)
    assert not re.search(r"\b(nan|inf|None)\b", (tmp_path / "summary").read_text(encoding="utf-8"))


def test_same_report_same_bytes(make_report, tmp_path):
    paths = [write_report(make_report(shots=(16,), seeds=2), tmp_path / name) for name in ("a", "b")]
    for first, second in zip(*[(p.json, p.html, *p.figures) for p in paths], strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_importing_the_room_is_light():
    code = (
        "import sys, edge_adapt.reports\n"
        "from edge_adapt.reports import page, figures, terminal\n"
        "print([m for m in ('matplotlib', 'jinja2', 'rich', 'numpy', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
