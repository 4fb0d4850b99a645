"""docs/merging.md names every way with its density, and its table of merge errors is what the shipped pool gives."""

import re
from pathlib import Path

import pytest
from edge_adapt.merge_ways import WAYS
from edge_adapt.workloads.pool_merging import Merge, merged
from edge_adapt.workloads.pools import default_pool, load_pool

PAGE = (Path(__file__).parents[2] / "docs/merging.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| `")]


def names(cell: str) -> list[str]:
    return re.findall(r"`([a-z][a-z-]*)`", cell)


def test_every_way_is_named_with_its_density() -> None:
    told = {name: row[1:] for row in ROWS if len(row) == 4 for name in names(row[0])}
    assert told.keys() == WAYS.keys()
    for name, (of, _, density) in told.items():
        way = WAYS[name]
        assert of == way.of
        if density == "the same":
            assert way.density == WAYS[f"{name}-svd"].density
        else:
            assert density == ("" if way.cut == "nothing" else f"{way.density:g}")


def test_the_errors_are_those_of_the_shipped_pool() -> None:
    pool = load_pool(default_pool("minilm"))
    told = {names(row[0])[0]: (int(row[1]), row[2]) for row in ROWS if len(row) == 3 and names(row[0])}
    assert len(told) == 6
    for name, (rank, said) in told.items():
        module, matrices = merged(Merge(WAYS[name]), pool, "sum")
        error = sum(matrix.error for matrix in matrices) / len(matrices)
        assert module.rank == rank
        assert float(said) == pytest.approx(error, rel=0.5 if error < 1e-6 else 0.03)
