"""The figures: valid SVG, honest numbers, colours that hold, labels that do not collide."""

import itertools
import math
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from edge_adapt.methods import METHODS
from edge_adapt.methods.spec import FAMILIES
from edge_adapt.reports.canvas import (
    COMPONENT_COLOURS,
    FAMILY_COLOURS,
    ON_FILL,
    Drawing,
    colours_of,
    fill_of,
    page_colours,
    percent_limits,
)
from edge_adapt.reports.figure_programming import pulses
from edge_adapt.reports.figures import draw_all
from edge_adapt.reports.label_layout import Box, place_labels, spread_vertically
from edge_adapt.reports.records import typed
from hypothesis import given, settings
from hypothesis import strategies as st

NAMES = [
    "accuracy-energy",
    "drift-recovery",
    "energy-adaptation",
    "energy-inference",
    "write-pulses",
    "conductance-map",
    "accuracy-drift",
    "sensitivity",
]
SVG = "{http://www.w3.org/2000/svg}"


def texts(drawing: Drawing) -> list[str]:
    return ["".join(node.itertext()) for node in ElementTree.fromstring(drawing.svg).iter(f"{SVG}text")]


def test_all_figures_are_valid_and_labelled(drawings):
    assert list(drawings) == NAMES
    for drawing in drawings.values():
        for text in (drawing.svg, drawing.inline, drawing.narrow):
            root = ElementTree.fromstring(text)
            assert root.tag == f"{SVG}svg"
            assert root.get("role") == "img"
            assert root.get("aria-label") == drawing.alt
        assert drawing.label in texts(drawing), "the label is in the picture itself"
        assert "<metadata" not in drawing.svg
        assert len(drawing.caption) > 60
        sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", drawing.svg)]
        assert min(sizes) >= 8
    assert drawings["accuracy-energy"].label == "simulated and estimated"
    assert drawings["write-pulses"].label == "simulated"


def test_the_narrow_form_can_be_read_on_a_telephone(drawings):
    """On a screen of 390 px a figure has 344; its letters are then 9 px and more, most of them 10."""
    for drawing in drawings.values():
        width = float(ElementTree.fromstring(drawing.narrow).get("viewBox", "").split()[2])
        sizes = sorted(float(size) * 344 / width for size in re.findall(r"font-size: ([\d.]+)px", drawing.narrow))
        assert sizes[0] >= 8.5
        assert np.median(sizes) >= 9.5
        wide, narrow = (set(re.findall(r' id="([^"]*)"', text)) for text in (drawing.inline, drawing.narrow))
        assert not wide & narrow, "both forms stand in one page"


def test_accuracies_that_are_all_equal_have_plain_ticks(make_report):
    """Small runs get everything right: no tick stands above 100 % or below 0 %, none counts from an offset (+1e2)."""
    report, accuracy = make_report(), 1.0
    for record in report["results"]:
        record |= {name: accuracy for name in record if name.startswith("accuracy_") and record[name] is not None}
        for point in record["drift"]:
            point["accuracy"] = accuracy
    drawn = draw_all(typed(report))
    for name, axis in (("accuracy-energy", "ytick"), ("drift-recovery", "xtick"), ("accuracy-drift", "ytick")):
        groups = ElementTree.fromstring(drawn[name].svg).iter(f"{SVG}g")
        labels = ["".join(g.itertext()).strip() for g in groups if re.fullmatch(rf".*{axis}_\d+", g.get("id", ""))]
        ticks = [float(label.replace("\N{MINUS SIGN}", "-")) for label in labels if label]
        assert ticks and min(ticks) >= 0 and max(ticks) <= 100
        assert 100 * accuracy in ticks, "a tick stands at the accuracy itself"
        assert max(ticks) - min(ticks) >= 0.5, "hundredths of a point are not drawn"
        assert not any("1e" in text for text in texts(drawn[name]))


@pytest.mark.parametrize("values", [[100.0, 100.0], [0.2, 99.7], [57.0, 57.5, 61.0]])
def test_limits_of_per_cents_hold_them_with_a_margin(values):
    low, high = percent_limits(values, 0.1)
    assert high - low == pytest.approx(1.2 * max(max(values) - min(values), 2.0))
    assert min(values) - low == pytest.approx(high - max(values)) and low < min(values)


def test_the_same_report_gives_the_same_bytes(make_report):
    first, second = (draw_all(typed(make_report(seeds=2))) for _ in range(2))
    assert first == second


def test_every_series_is_named_in_every_panel(drawings):
    found = texts(drawings["accuracy-energy"])
    for title in ("LoRAFusion", "LoRA · every step", "LoRA · per task", "LoRA · digital", "Classifier only"):
        assert found.count(title) == 2, "one label for each number of shots"
    assert sum(text.startswith("Frozen: ") and "0\u00a0J" in text for text in found) == 2


def test_inline_figures_take_all_their_colours_from_the_page(drawings):
    variables = {f"--{name}" for name in page_colours()}
    for drawing in drawings.values():
        assert set(re.findall(r"var\((--[\w-]+)", drawing.inline)) <= variables
        assert "var(" not in drawing.svg
        assert 'width="100%"' not in drawing.inline


def test_a_method_keeps_its_colour():
    known = colours_of(["lora", "mine", "lorafusion", "other"])
    assert known["lora"] == colours_of(["lora"])["lora"]
    assert len(set(known.values())) == 4


def test_forty_methods_have_marks_of_their_own():
    """A mark is a colour and how much of it is filled; those that are not registered have their own, too."""
    names = [*METHODS, *(f"method-{n}" for n in range(40 - len(METHODS)))]
    colours = colours_of(names)
    assert len({(colours[name], fill_of(name, colours)) for name in names}) == len(names) >= 40
    assert {fill_of(name, colours) for name in ("lorafusion", "lora", "full", "probe", "frozen", "pasta")} == {"full"}


def test_a_family_has_one_colour_and_room_for_ten_methods(monkeypatch):
    assert FAMILY_COLOURS.keys() == FAMILIES.keys()
    members = {f"lora-{n}": METHODS["lora"] for n in range(10)}
    monkeypatch.setattr("edge_adapt.methods.spec.METHODS", METHODS | members)
    colours = colours_of(members)
    assert len(set(colours.values())) == 2 and set(list(colours.values())[:5]) == {FAMILY_COLOURS["low-rank"][0]}
    assert len({(colour, fill_of(name, colours)) for name, colour in colours.items()}) == 10
    assert set(colours.values()) <= {light for light, _ in page_colours().values()}


#: linear RGB as seen without one cone type: Machado, Oliveira and Fernandes, IEEE TVCG 15(6), 2009, severity 1
VISION = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
#: linear RGB -> LMS, and its cube root -> Oklab: B. Ottosson, A perceptual color space for image processing, 2020
OKLAB = (
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ],
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ],
)


def linear(colour: str) -> np.ndarray:
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    low, high = sorted(float(linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_colours_have_contrast_with_the_page(dark):
    """WCAG 2, contrast for text: series colours are also the colours of their labels."""
    colours = {name: pair[dark] for name, pair in page_colours().items()}
    paper = colours.pop("paper")
    del colours["line"]  # the grid is meant to recede
    for name, colour in colours.items():
        assert contrast(paper, colour) >= 4.5, name


@pytest.mark.parametrize("template", ["report.html.j2", "compare.html.j2"])
@pytest.mark.parametrize("dark", [False, True])
def test_every_text_of_the_page_has_contrast_with_both_backgrounds(template, dark):
    """The colours that the styles give to texts, on paper and on the page behind it."""
    folder = Path(__file__).parents[2] / "reports" / "templates"
    own = [re.findall(rf"--{name}: (#[0-9a-f]{{6}})", (folder / template).read_text(encoding="utf-8"))[dark]
           for name in ("page", "link")]  # fmt: skip
    styles = "".join((folder / name).read_text(encoding="utf-8") for name in (template, "report.css.j2"))
    used = set(re.findall(r"(?<![-\w])color: var\(--([\w-]+)\)", styles))
    assert used >= {"ink", "muted", "link"}
    colours = {name: pair[dark] for name, pair in page_colours().items()} | {"link": own[1]}
    for name in used:
        for background in (own[0], colours["paper"]):
            assert contrast(background, colours[name]) >= 4.5, (name, background)
    for fill in COMPONENT_COLOURS.values():
        assert contrast(fill, ON_FILL) >= 4.5, fill


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(("vision", "least"), [("normal", 0.10), ("protan", 0.07), ("deutan", 0.07), ("tritan", 0.05)])
def test_families_can_be_told_apart_with_any_colour_vision(vision, least, dark):
    """Distance in Oklab; a just noticeable difference is about 0.02."""
    seen = {}
    for name, pair in FAMILY_COLOURS.items():
        rgb = np.clip(np.array(VISION[vision]) @ linear(pair[dark]), 0, 1)
        seen[name] = np.array(OKLAB[1]) @ np.cbrt(np.array(OKLAB[0]) @ rgb)
    for (first, a), (second, b) in itertools.combinations(seen.items(), 2):
        assert np.linalg.norm(a - b) >= least, (first, second)


def test_the_histogram_states_the_counts(report):
    drawing = pulses(typed(report).programming)
    assert drawing is not None
    counts = np.array(report["programming"]["pulses_histogram"])
    assert f"{counts.sum() / 1e6:.1f}\u00a0M cells" in drawing.caption
    assert "31,000 out of tolerance" in drawing.caption
    share = 100 * 31_000 / counts.sum()
    assert any(text == f"out of tolerance at the end: {share:.2f} %" for text in texts(drawing))


def test_a_long_histogram_is_binned(report):
    report["programming"]["pulses_histogram"] = list(range(1, 1001))
    drawing = pulses(typed(report).programming)
    assert drawing is not None
    assert "program-and-verify pulses, bins of 13" in texts(drawing)


points = st.tuples(st.floats(40, 440), st.floats(30, 200))


@settings(max_examples=60, deadline=None)
@given(st.lists(points, min_size=1, max_size=8))
def test_labels_do_not_collide(anchors):
    """Also when all points are in one place: labels are apart from each other and inside the frame."""
    bounds = Box(0, 0, 480, 230)
    obstacles = [Box(x - 5, y - 5, x + 5, y + 5) for x, y in anchors]
    boxes = place_labels(anchors, [(120.0, 11.0)] * len(anchors), obstacles, bounds)
    for first, second in itertools.combinations(boxes, 2):
        assert first.overlap(second) == 0
    for box in boxes:
        assert box.outside(bounds) < 1e-6


@given(st.lists(st.floats(0, 100), max_size=12), st.floats(0.1, 20))
def test_spread_keeps_order_gap_and_range(wanted, gap):
    result = spread_vertically(wanted, gap, 0, 100)
    room = min(gap, 100 / max(len(wanted) - 1, 1))
    ordered = [r for _, r in sorted(zip(wanted, result, strict=True))]
    assert all(b - a >= room - 1e-9 for a, b in itertools.pairwise(ordered))
    assert all(-1e-9 <= r <= 100 + 1e-9 for r in result)


def test_spread_moves_nothing_without_need():
    assert spread_vertically([10, 50, 30], 5, 0, 100) == pytest.approx([10, 50, 30])
    assert spread_vertically([50, 50], 4, 0, 100) == pytest.approx([48, 52])
    assert math.isclose(spread_vertically([99, 100], 10, 0, 100)[0], 90)
