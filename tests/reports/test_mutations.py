"""Spoilt reports: a result, or one line; never a traceback. See `mutants`."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from edge_adapt.cli import main
from edge_adapt.errors import EdgeAdaptError
from edge_adapt.reports.compare import with_findings
from edge_adapt.reports.explain import TOTALS, available, choose_record, explain
from edge_adapt.reports.loaded import load_report
from edge_adapt.reports.reading import read_report
from edge_adapt.reports.records import plain, typed
from edge_adapt.studies.compare_cells import FinishedCell
from edge_adapt.studies.compare_config import CompareConfig
from edge_adapt.studies.compare_report import CellOutcome, assemble
from edge_adapt.studies.config import SimulateConfig


@pytest.fixture
def sound(make_report: Callable[..., dict[str, Any]], tmp_path: Path, kind: str) -> bytes:
    """A report: of `count` as the command writes it, of `simulate` the example with one run of each series."""
    if kind == "simulate":
        return json.dumps(make_report(shots=(16,), seeds=1), indent=1).encode()
    if kind == "compare":
        config = CompareConfig(("reram",), ("movie",), SimulateConfig(method=("all",), seeds=1))
        outcomes = [CellOutcome(c, FinishedCell(9.0, make_report(shots=(16,), seeds=1))) for c in config.cells()]
        return json.dumps(with_findings(plain(assemble(config, outcomes, [], "edge-adapt compare"))), indent=1).encode()
    out = tmp_path / "count"
    assert main(["count", "--model", "bert-tiny", "--method", "lora:DIGITAL", "--out", str(out)]) == 0
    return (out / "report.json").read_bytes()


def used(path: Path) -> None:
    report = load_report(path)
    assert report.verdict and repr(report) and report._repr_html_()
    if report.kind == "compare":
        return
    read = typed(read_report(path))
    record = choose_record(read, read.results[0].method)
    available(read, record)
    for total in TOTALS:
        with contextlib.suppress(EdgeAdaptError):
            explain(read, total, record)


@pytest.mark.parametrize("kind", ["simulate", "count", "compare"])
def test_spoilt_reports(sound: bytes, tmp_path: Path, mutants: Callable[[bytes, int], Iterator[bytes]]) -> None:
    """What a reader refuses, it refuses by an error of ours, which is shown in one line."""
    path = tmp_path / "report.json"
    path.write_bytes(sound)
    used(path)
    for mutant in mutants(sound, 60):
        path.write_bytes(mutant)
        with contextlib.suppress(EdgeAdaptError):
            used(path)
