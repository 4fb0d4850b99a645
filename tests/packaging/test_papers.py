"""docs/papers.md: every paper once, what it names is there, and nothing that is there is still called planned."""

import re
from pathlib import Path

import pytest
from edge_adapt.methods import METHODS
from edge_adapt.methods.training.strategies import KINDS, known

PAGE = Path(__file__).parents[2] / "docs" / "papers.md"


@pytest.fixture(scope="module")
def rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text(encoding="utf-8").split("\n") if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not line.startswith("| paper")]


def test_there_are_fifty_and_each_says_what_it_came_to(rows):
    assert len({row[0] for row in rows}) == len(rows) == 50
    for paper, built, shown in rows:
        assert built, paper
        waits = re.match(r"planned|not built|nothing to build", built)
        assert bool(shown) != bool(waits), f"{paper}: what is built has a command, what is not has none"


def test_methods_and_strategies_that_are_named_exist(rows):
    names = {*METHODS, *(name for kind in KINDS for name in known(kind))}
    for paper, built, shown in rows:
        for word in re.findall(r"(?:methods?|optimiser|hook) `([\w+-]+)`", built):
            assert word in names, paper
        for word in re.findall(r"--method ([\w+-]+)", shown):
            assert word in METHODS, paper


def test_a_method_that_carries_the_name_of_a_paper_is_not_called_planned(rows):
    for paper, built, _ in rows:
        name = paper.partition(",")[0].lower()
        if built.startswith("planned"):
            assert name not in METHODS, f"{paper} is built: say so"
