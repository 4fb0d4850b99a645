"""`explain`: its products add up to the report's totals, exactly, and name the source of every number."""

import dataclasses
import json
import math
import re

import numpy as np
import pytest
from edge_adapt import cli, load_chip
from edge_adapt.errors import UsageError
from edge_adapt.reports import ReportError, validate
from edge_adapt.reports.explain import TOTALS, available, choose_record, explain
from edge_adapt.reports.records import typed
from edge_adapt.simulator import CostTable, EventCounts, area
from edge_adapt.simulator.costs import described

CHIPS = ("reram", "neurram", "pcm", "fefet")
ARRAYS = 37
HIDDEN = {
    "hidden_cycles": "array_cycles", "hidden_transposed_cycles": "transposed_cycles", "hidden_macs": "digital_macs",
}  # fmt: skip
PREFIX = {"a": 1e-18, "f": 1e-15, "p": 1e-12, "n": 1e-9, "µ": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3}


def counts(rng):
    """Any counts: what is explained need not be possible."""
    drawn = {f.name: float(rng.integers(1, 10**6)) for f in dataclasses.fields(EventCounts)}
    drawn |= {name: rng.random() * 1e-6 for name in drawn if name.endswith("_joules")}
    for part, whole in HIDDEN.items():  # times are not negative
        drawn[part] = rng.random() * drawn[whole]
    return EventCounts(**drawn)


def filled(report, chip_name, seed=0):
    """The report with costs of a real chip, random counts, and totals from the simulator's own arithmetic."""
    chip, rng = load_chip(chip_name), np.random.default_rng(seed)
    table = CostTable.of(chip)
    report["device"] |= {"costs": described(chip), "area_square_meters": area(chip, ARRAYS)}
    report["device"]["array"]["arrays_used"] = ARRAYS
    happened = counts(rng)
    cost = table.cost(happened)
    report["programming"] |= {
        "event_counts": happened.as_dict(), "energy_joules": cost.total_joules, "time_seconds": cost.total_seconds
    }  # fmt: skip
    for record in report["results"]:
        for act in ("adaptation", "readaptation", "compensation", "own_programming", "inference"):
            happened = counts(rng)
            cost = table.cost(happened)
            record[f"{act}_event_counts"] = happened.as_dict()
            record[f"{act}_energy_joules"], record[f"{act}_time_seconds"] = cost.total_joules, cost.total_seconds
            if act in ("adaptation", "inference"):
                record[f"{act}_time_sequential_seconds"] = table.sequential_seconds(happened)
                record[f"{act}_energy_by_component_joules"] = cost.joules
            if act == "adaptation":
                record["write_energy_joules"] = table.write_joules(happened)
                record["write_time_seconds"] = cost.seconds["writes"]
    validate(report)
    return report


@pytest.fixture(params=CHIPS)
def report(request, make_report):
    return filled(make_report(shots=(32, 100), seeds=2), request.param)


def told(report, total):
    """The explanation of a total of the first record."""
    whole = typed(report)
    return explain(whole, total, whole.results[0])


def test_every_total_is_the_sum_of_its_products(report):
    record = choose_record(typed(report), "lora:nvm_step", 100, 1)
    assert (record.method, record.placement, record.shots, record.seed) == ("lora", "NVM_STEP", 100, 1)
    for name in TOTALS:
        found = explain(typed(report), name, record)
        assert math.fsum(line.total for line in found.lines) == pytest.approx(found.total, rel=1e-12)
        for line in found.lines:
            assert line.events * (line.each or 0.0) == pytest.approx(line.total, rel=1e-12), (name, line.event)
        if "energy" in name and name != "write_energy_joules":
            assert math.fsum(found.by_component().values()) == found.total, "bit for bit"
    assert set(available(typed(report), record)) == set(TOTALS)


def test_what_drift_compensation_takes_is_explained_where_there_is_one(report):
    record = report["results"][0]
    lines = {line.event: line for line in told(report, "compensation_energy_joules").lines}
    assert lines["conversions of reads"].events == record["compensation_event_counts"]["read_conversions"]
    record |= dict.fromkeys(("compensation_energy_joules", "compensation_time_seconds", "compensation_event_counts"))
    assert "compensation_energy_joules" not in available(typed(report), typed(report).results[0])
    with pytest.raises(UsageError, match="compensation_energy_joules is unknown in this report"):
        told(report, "compensation_energy_joules")


def test_what_nothing_waits_for_is_taken_off_again(report):
    overlapped, apart = told(report, "adaptation_time_seconds"), told(report, "adaptation_time_sequential_seconds")
    hidden = [line for line in overlapped.lines if line not in apart.lines]
    assert {line.event for line in hidden} == {"cycles hidden", "transposed hidden", "multiply-adds hidden"}
    assert overlapped.total == pytest.approx(apart.total + sum(line.total for line in hidden), rel=1e-12)
    assert all(line.total < 0 and "periphery.layers.schedule" in {n.key for n in line.numbers} for line in hidden)


def test_components_are_those_of_the_report(report):
    found = told(report, "adaptation_energy_joules").by_component()
    parts = report["results"][0]["adaptation_energy_by_component_joules"]
    assert {name: value for name, value in found.items() if value} == {n: v for n, v in parts.items() if v}


def test_writes_are_pulses_lines_verify_currents_and_their_conversions(report):
    record = report["results"][0]
    mine = record["adaptation_event_counts"]
    lines = {line.event: line for line in told(report, "write_energy_joules").lines}
    adc = lines.pop("conversions of verifies")
    assert adc.events == mine["verify_conversions"]
    assert {line.component for line in lines.values()} <= {"cells_write", "write_access", "write_pump"}


def test_what_no_source_knows_is_shown_as_counted_with_zero(make_report):
    report = filled(make_report(shots=(16,), seeds=1), "neurram")
    lines = {line.event: line for line in told(report, "inference_energy_joules").lines}
    hops = lines["bytes, a hop each"]
    assert hops.each is None and hops.total == 0.0 and hops.events > 0
    assert hops.numbers[0].status == "unknown"


def test_a_total_that_the_events_do_not_give_is_refused(report):
    record = report["results"][0]
    record["adaptation_event_counts"] = record["adaptation_event_counts"] | {"read_conversions": 1e9}
    with pytest.raises(ReportError, match="add up to"):
        told(report, "adaptation_energy_joules")


def test_choosing_a_record(report):
    with pytest.raises(UsageError, match="Choose one with --method: lorafusion:DIGITAL, lora:NVM_STEP"):
        choose_record(typed(report), None)
    with pytest.raises(UsageError, match="did you mean 'lora:DIGITAL'"):
        choose_record(typed(report), "lora:digitall")
    with pytest.raises(UsageError, match="no record with shots 5"):
        choose_record(typed(report), "lora", shots=5)
    assert choose_record(typed(report), "probe").seed == 0
    report["results"] = report["results"][:4]
    assert choose_record(typed(report), None).method == "lorafusion"


def test_unknown_totals(report):
    with pytest.raises(UsageError, match="unknown total 'adaptation_energy'; did you mean 'adaptation_energy_joules'"):
        told(report, "adaptation_energy")
    report["results"][0]["write_energy_joules"] = None
    with pytest.raises(UsageError, match="unknown in this report"):
        told(report, "write_energy_joules")


@pytest.fixture
def folder(tmp_path, make_report):
    report = filled(make_report(shots=(16,), seeds=1), "reram")
    (tmp_path / "report.json").write_text(json.dumps(report), encoding="utf-8")
    return tmp_path


def test_the_printed_products_can_be_checked_with_a_calculator(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "150")
    assert cli.main(["explain", str(folder), "adaptation_energy_joules", "--method", "lorafusion"]) == 0
    out = capsys.readouterr().out.replace("\u00a0", " ")
    amount = r"([\d,.]+) ([afpnµmk]?)(?:J|J/\S+)"
    found = re.findall(rf"\s([\d,.]+(?:e-?\d+)?)\s+{amount}\s+{amount}\s+[\d.]+\s*$", out, flags=re.MULTILINE)
    number = lambda text: float(text.replace(",", ""))
    total = 0.0
    for events, each, prefix, product, scale in found:
        got = number(product) * PREFIX[scale]
        assert number(events) * number(each) * PREFIX[prefix] == pytest.approx(got, rel=2e-5)
        total += got
    assert len(found) >= 14
    printed = re.search(rf"^total\s+{amount}\s+100", out, flags=re.MULTILINE)
    assert number(printed[1]) * PREFIX[printed[2]] == pytest.approx(total, rel=1e-5)
    assert "periphery.adc.energy 1.67 pJ (read, accelergy-isaac)" in " ".join(out.split())


def test_json_and_the_list_of_totals(folder, capsys):
    assert cli.main(["explain", str(folder / "report.json"), "area_square_meters", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["total"] == pytest.approx(sum(line["total"] for line in data["lines"]))
    assert data["lines"][0]["numbers"][0].keys() >= {"key", "text", "source", "status", "note"}
    assert cli.main(["explain", str(folder), "--method", "lora:NVM_TASK", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["totals"]) == set(TOTALS)
    assert cli.main(["explain", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "programming_energy_joules" in out and "--method" in out and "lora:NVM_STEP" in out


@pytest.mark.parametrize(("text", "message"), [
    (None, "there is no report"), ("{", "cannot read the report"), ('{"schema": "x/1"}', "its schema is 'x/1'"),
])  # fmt: skip
def test_files_that_are_no_report(tmp_path, capsys, text, message):
    if text is not None:
        (tmp_path / "report.json").write_text(text, encoding="utf-8")
    assert cli.main(["explain", str(tmp_path), "area_square_meters"]) == 2
    assert message in capsys.readouterr().err
