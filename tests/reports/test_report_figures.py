"""The figures: valid SVG, honest numbers, colours that hold, labels that do not collide."""

import itertools
import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from edge_adapt.reports.canvas import Drawing, colours_of, page_colours
from edge_adapt.reports.figure_programming import pulses
from edge_adapt.reports.figures import draw_all
from edge_adapt.reports.label_layout import Box, place_labels, spread_vertically
from hypothesis import given, settings
from hypothesis import strategies as st

NAMES = [
    "accuracy-energy",
    "energy-adaptation",
    "energy-inference",
    "write-pulses",
    "conductance-map",
    "accuracy-drift",
]
SVG = "{http://www.w3.org/2000/svg}"


def texts(drawing: Drawing) -> list[str]:
    return ["".join(node.itertext()) for node in ElementTree.fromstring(drawing.svg).iter(f"{SVG}text")]


def test_all_figures_are_valid_and_labelled(report):
    drawings = draw_all(report)
    assert list(drawings) == NAMES
    for drawing in drawings.values():
        for text in (drawing.svg, drawing.inline):
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


def test_the_same_report_gives_the_same_bytes(make_report):
    first, second = (draw_all(make_report(seeds=2)) for _ in range(2))
    assert first == second


def test_every_series_is_named_in_every_panel(report):
    found = texts(draw_all(report)["accuracy-energy"])
    for title in ("LoRAFusion", "LoRA · every step", "LoRA · per task", "LoRA · digital", "Classifier only"):
        assert found.count(title) == 2, "one label for each number of shots"
    assert sum(text.startswith("Frozen: ") and "0\u00a0J" in text for text in found) == 2


def test_inline_figures_take_all_their_colours_from_the_page(report):
    variables = {f"--{name}" for name in page_colours()}
    for drawing in draw_all(report).values():
        assert set(re.findall(r"var\((--[\w-]+)", drawing.inline)) <= variables
        assert "var(" not in drawing.svg
        assert 'width="100%"' not in drawing.inline


def test_a_method_keeps_its_colour():
    known = colours_of(["lora", "mine", "lorafusion", "other"])
    assert known["lora"] == colours_of(["lora"])["lora"]
    assert len(set(known.values())) == 4


@pytest.mark.parametrize("dark", [False, True])
def test_colours_have_contrast_with_the_page(dark):
    """WCAG 2: at least 3 to 1 for marks and lines, 4.5 to 1 for text."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(weight * p for weight, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    colours = {name: pair[dark] for name, pair in page_colours().items()}
    paper = luminance(colours.pop("paper"))
    del colours["line"]  # the grid is meant to recede
    for name, colour in colours.items():
        low, high = sorted((paper, luminance(colour)))
        assert (high + 0.05) / (low + 0.05) >= (4.5 if name in ("ink", "muted") else 3.0), name


def test_the_histogram_states_the_counts(report):
    drawing = pulses(report["programming"])
    assert drawing is not None
    counts = np.array(report["programming"]["pulses_histogram"])
    assert f"{counts.sum() / 1e6:.1f}\u00a0M cells" in drawing.caption
    assert "31,000 out of tolerance" in drawing.caption
    share = 100 * 31_000 / counts.sum()
    assert any(text == f"out of tolerance at the end: {share:.2f} %" for text in texts(drawing))


def test_a_long_histogram_is_binned(report):
    report["programming"]["pulses_histogram"] = list(range(1, 1001))
    drawing = pulses(report["programming"])
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
