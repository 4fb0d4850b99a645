"""What cells that verify gave up add to the spread: the table of docs/simulator.md, worked out from the cell files."""

import re
from pathlib import Path

import numpy as np
import pytest
from edge_adapt.devices import list_presets, load_cell
from edge_adapt.simulator import program_cells

PAGE = Path(__file__).resolve().parents[2] / "docs" / "simulator.md"
HEADING = "| cell | fail, all levels | fail, highest level | σ there, verified | σ there, all |"


def spreads(name):
    """Per cent of cells that fail, at all levels and at the highest one, and the spread of verified and of all cells
    there in siemens; by the tolerance of the file alone.
    """
    cell = load_cell(name)
    targets = np.repeat(np.linspace(cell.g_min_siemens, cell.g_max_siemens, cell.levels), 6400).reshape(-1, 128)
    many = np.full((200, 128), cell.g_max_siemens)
    found, top = (program_cells(t, cell, np.random.default_rng(0))[0] - t for t in (targets, many))
    share = cell.program_tolerance_relative or 0.0
    good = [np.abs(e) <= (cell.program_tolerance_siemens + share * t) * (1 + 1e-9)
            for e, t in ((found, targets), (top, many))]  # fmt: skip
    return 100 * (1 - good[0].mean()), 100 * (1 - good[1].mean()), top[good[1]].std(), top.std()


def table():
    """The rows of the page: name to (per cent, per cent, siemens, siemens)."""
    lines = PAGE.read_text().partition(HEADING)[2].splitlines()[2:]
    rows = {}
    for line in lines[: lines.index("")]:
        names, *figures = (part.strip() for part in line.strip("|").split("|"))
        unit = {"nS": 1e-9, "µS": 1e-6}
        first, second = (float(text.removesuffix(" %")) for text in figures[:2])
        spread = [float(text.split()[0]) * unit[text.split()[1]] for text in figures[2:]]
        rows |= dict.fromkeys(re.findall(r"`([^`]+)`", names), (first, second, *spread))
    return rows


@pytest.mark.parametrize("name", [name for name in list_presets("cell") if load_cell(name).levels > 2])
def test_the_page_says_what_failed_cells_add_to_the_spread(name):
    all_levels, highest, verified, everything = spreads(name)
    said = table()[name]
    assert said[:2] == pytest.approx((all_levels, highest), rel=0.15, abs=0.05)
    assert said[2:] == pytest.approx((verified, everything), rel=0.06)


@pytest.mark.parametrize("name", [name for name in list_presets("cell") if load_cell(name).levels == 2])
def test_cells_of_two_levels_do_not_fail(name):
    assert spreads(name)[:2] == (0.0, 0.0)


def test_the_spread_of_verified_cmo_cells_is_the_published_one_and_that_of_all_is_not():
    _, _, verified, everything = spreads("reram-cmo")
    published = 0.01129027418 * 88.2e-6 + 0.0112185391e-6
    assert verified < 1.05 * published < 0.6 * everything
