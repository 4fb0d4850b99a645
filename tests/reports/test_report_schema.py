"""The schema catches every wrong report, and its documentation is in step."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
from edge_adapt.errors import EdgeAdaptError
from edge_adapt.reports import to_json, validate
from edge_adapt.reports.records import FIELDS, Field
from edge_adapt.reports.schema_docs import count_schema, repair_schema, report_schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]


def parent_of(report: Any, path: str) -> tuple[dict[str, Any], str, str]:
    """The object that holds a field (the last entry of every list on the way), its key and its path in the report."""
    node, where = report, ""
    *steps, key = path.split(".")
    for step in steps:
        name = step.removesuffix("[]")
        node, where = node[name], f"{where}.{name}" if where else name
        if step.endswith("[]"):
            where = f"{where}[{len(node) - 1}]"
            node = node[-1]
    return node, key, f"{where}.{key}" if where else key


def refusal(report: Any) -> str:
    with pytest.raises(EdgeAdaptError) as caught:
        validate(report)
    assert caught.value.exit_code == 1
    return str(caught.value)


def test_the_example_is_valid(make_report):
    validate(make_report())
    validate(make_report(shots=(16,), seeds=1))


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.path)
class TestEveryField:
    def test_missing(self, field: Field, make_report):
        report = make_report(shots=(16,), seeds=1)
        holder, key, path = parent_of(report, field.path)
        del holder[key]
        assert f"report field {path} is missing" in refusal(report)

    def test_null(self, field: Field, make_report):
        report = make_report(shots=(16,), seeds=1)
        holder, key, path = parent_of(report, field.path)
        holder[key] = None
        if field.nullable:
            validate(report)
        else:
            assert f"report field {path} is null" in refusal(report)

    def test_another_type(self, field: Field, make_report):
        report = make_report(shots=(16,), seeds=1)
        holder, key, path = parent_of(report, field.path)
        holder[key] = {1, 2}
        assert f"report field {path} is {{1, 2}}" in refusal(report)

    def test_a_key_beside_it_that_is_not_documented(self, field: Field, make_report):
        report = make_report(shots=(16,), seeds=1)
        holder, key, _ = parent_of(report, field.path)
        holder[f"{key}_x"] = 1
        message = refusal(report)
        assert f"'{key}_x'" in message
        assert f"'{key}'" in message, "the nearest name is given"


NUMERIC = [field for field in FIELDS if field.kind.name in ("number", "amount", "fraction")]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, "1"])
@pytest.mark.parametrize("field", NUMERIC, ids=lambda field: field.path)
def test_numbers_are_finite_numbers(field: Field, value: Any, make_report):
    report = make_report(shots=(16,), seeds=1)
    holder, key, path = parent_of(report, field.path)
    holder[key] = value
    assert f"report field {path} is" in refusal(report)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_single_damage_is_found_wherever_it_is(data: st.DataObject, make_report):
    """Not only in the last record of a list: a random field of a random record gets a value of a wrong kind."""
    report = make_report(shots=(16, 32), seeds=2)
    record = data.draw(st.sampled_from(report["results"]))
    key = data.draw(st.sampled_from(sorted(record)))
    record[key] = data.draw(st.sampled_from([object(), {1}, b"x", math.nan]))
    assert f".{key}" in refusal(report)


def test_ranges(make_report):
    for path, value in (
        ("results[].accuracy_chip", 1.01),
        ("results[].write_energy_joules", -1.0),
        ("results[].train_steps", 1.5),
        ("results[].label", "guessed"),
        ("schema", "edge-adapt/simulate/1"),
        ("created", "yesterday"),
        ("results", []),
        ("config", {"x": math.nan}),
        ("conductance_map.target_siemens", [[1.0], [1.0, 2.0]]),
        ("programming.pulses_histogram", [1, -2]),
        ("versions", {"torch": 2}),
    ):
        report = make_report(shots=(16,), seeds=1)
        holder, key, where = parent_of(report, path)
        holder[key] = value
        assert f"report field {where}" in refusal(report)


def test_what_must_agree(make_report):
    report = make_report()
    report["results"][3]["adaptation_energy_joules"] *= 1.5
    assert "results[3].adaptation_energy_by_component_joules adds up to" in refusal(report)
    report = make_report()
    report["results"].append(copy.deepcopy(report["results"][2]))
    assert "repeats results[2]" in refusal(report)
    report = make_report()
    report["conductance_map"]["programmed_siemens"].pop()
    assert "another shape" in refusal(report)


def test_the_json_is_strict_and_complete(report):
    text = to_json(report)
    assert json.loads(text, parse_constant=pytest.fail) == report
    assert max(map(len, text.splitlines())) < 4000, "long lists of numbers are on one line, but not the whole file"


def test_lists_in_texts_stay_as_they_are(make_report):
    report = make_report(shots=(16,), seeds=1)
    report["command"] = "x --set 'a=[\n 1,\n  2\n]'"
    assert json.loads(to_json(report))["command"] == report["command"]


@pytest.mark.parametrize(
    ("page", "made"), [("report", report_schema), ("count", count_schema), ("repair", repair_schema)]
)
def test_the_documentation_is_in_step(page, made):
    text = (ROOT / "docs" / f"{page}-schema.md").read_text(encoding="utf-8")
    assert text == made(), f"run: python -m edge_adapt.reports.schema_docs {page} > docs/{page}-schema.md"


def test_every_field_is_documented_with_its_unit():
    units = {"_joules": "J", "_seconds": "s", "_siemens": "S", "_square_meters": "m²"}
    assert len({field.path for field in FIELDS}) == len(FIELDS)
    for field in FIELDS:
        assert field.meaning
        for suffix, unit in units.items():
            if field.path.endswith(suffix):
                assert field.unit == unit, field.path
