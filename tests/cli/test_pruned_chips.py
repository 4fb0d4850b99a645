"""A whole simulation with methods whose backbone is pruned before the chip is programmed, beside those whose is not."""

import numpy as np
import pytest
from edge_adapt.reports import validate
from edge_adapt.studies.config import SimulateConfig
from edge_adapt.studies.own_programming import FIELDS
from edge_adapt.studies.simulate import simulate


@pytest.fixture(scope="module")
def runs(local):
    """The same with and without the methods that prune."""
    config = {"model": str(local.model), "task": str(local.task), "test_examples": 12, "shots": (8,), "seeds": 1}
    usual = ("frozen", "probe", "full:NVM_TASK")
    settings = (("spdf.density", "0.1"), ("dsee.density", "0.3"))
    both = SimulateConfig(**config, method=(*usual, "pruned", "spdf:NVM_TASK", "dsee:DIGITAL"), settings=settings)
    return simulate(both), simulate(SimulateConfig(**config, method=usual))


def by_method(report):
    return {record["method"]: record for record in report["results"]}


def test_others_do_not_notice(runs):
    """Their chip is that of the whole model: same cells, same answers, same events."""
    together, alone = map(by_method, runs)
    for name, record in alone.items():
        assert record == together[name]
        assert all(record[field] is None for field in FIELDS)
    assert runs[0]["programming"]["energy_joules"] == runs[1]["programming"]["energy_joules"]


def test_each_is_programmed_on_its_own_and_starts_from_that(runs):
    validate(runs[0])
    found, backbone = by_method(runs[0]), runs[0]["programming"]["backbone"]["energy_joules"]
    thin, sparse, dsee = (found[name] for name in ("pruned", "spdf", "dsee"))
    assert thin["own_programming_event_counts"] == sparse["own_programming_event_counts"]  # options of spdf hold for it
    assert 0 < thin["own_programming_energy_joules"] < dsee["own_programming_energy_joules"] < backbone
    assert (thin["start"], sparse["start"], dsee["start"]) == (None, "pruned", None)
    assert sparse["accuracy_exact_before"] == thin["accuracy_exact"]
    assert sparse["accuracy_chip_before"] == pytest.approx(thin["accuracy_chip"], abs=0.2)
    assert thin["accuracy_exact_before"] == found["frozen"]["accuracy_exact"]  # what pruning takes
    assert all("10 % of the weights of 12 matrices" in record["note"] for record in (thin, sparse))
    assert "30 % of the weights" in dsee["note"]
    assert found["full"]["accuracy_exact_before"] == found["frozen"]["accuracy_exact"]
    reads = [found[name]["inference_event_counts"] for name in ("frozen", "pruned")]
    assert reads[0]["reads"] == reads[1]["reads"] and reads[0]["cell_read_joules"] > reads[1]["cell_read_joules"]
    pairs = [c for c in runs[0]["comparisons"] if (c["method"], c["against_method"]) == ("spdf", "pruned")]
    assert pairs and np.isfinite(pairs[0]["difference_points"])
