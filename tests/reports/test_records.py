"""Records of a report: declared once, with all that follows from the declaration."""

import ast
import pickle
from pathlib import Path

import pytest
from edge_adapt.reports import ReportError
from edge_adapt.reports.records import FIELDS, SimulateReport, from_plain, plain
from edge_adapt.reports.records.kinds import Amount, Integer, Text
from edge_adapt.reports.records.results import Result
from edge_adapt.reports.records.spec import LATE, Total, fields_of, record, says, walk
from edge_adapt.reports.records_csv import columns
from edge_adapt.reports.schema import check_record

#: functions of the reports whose arguments are names of fields of a result
_BY_NAME = ("stat", "_mean", "_percent", "_known", "components", "paired_difference")


@record
class Leaf:
    """A toy."""

    grams: Amount | None = says("how heavy", "g", "counted")


@record
class Tree:
    """A toy with leaves."""

    leaves: list[Leaf] = says("its leaves", at_least=1)
    verdict: Text = says("what they say", choices=("green", "brown"), default=LATE)
    best: Leaf | None = says("the best one")
    total: Integer = says("of them", "1", heading="leaves", total=Total("leaves"))


def test_a_record_and_its_plain_data_are_the_same_and_what_is_late_comes_last():
    tree = Tree(leaves=[Leaf(grams=1.5), Leaf(grams=None)], verdict="green", best=None, total=2)
    data = plain(tree)
    assert data == {"leaves": [{"grams": 1.5}, {"grams": None}], "best": None, "total": 2, "verdict": "green"}
    assert list(data) == ["leaves", "best", "total", "verdict"]
    assert from_plain(Tree, data) == tree
    check_record(Tree, data)


def test_a_record_that_lacks_something_is_no_data_also_in_another_process():
    tree = pickle.loads(pickle.dumps(Tree(leaves=[], best=None, total=0)))
    with pytest.raises(ValueError, match="Tree is not finished: verdict"):
        plain(tree)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"leaves": [{"grams": 1.0}, {"grams": -1.0}]},
            r"report field x\.leaves\[1\]\.grams is -1\.0: it must be",
        ),
        ({"leaves": []}, r"report field x\.leaves has 0 entries: it needs at least 1"),
        ({"best": {"gram": 1.0}}, r"report field x\.best\.grams is missing: how heavy \(a finite number, 0 or more\)"),
        ({"verdict": "gren"}, r"report field x\.verdict: .*'green'"),
        ({"total": None}, r"report field x\.total is null: it must be a whole number, 0 or more \(of them\)"),
        ({"totals": 3}, r"'totals'.*'total'"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(change, words):
    tree = plain(Tree(leaves=[Leaf(grams=1.5)], verdict="green", best=None, total=1))
    with pytest.raises(ReportError, match=words):
        check_record(Tree, tree | change, "x")


def test_the_paths_step_into_lists_and_objects():
    assert [field.path for field in walk(Tree)] == [
        "leaves", "leaves[].grams", "verdict", "best", "best.grams", "total"
    ]  # fmt: skip
    assert [field.path for field in walk(Tree, known=frozenset({Leaf}))][:2] == ["leaves", "verdict"]
    grams = fields_of(Leaf)[0]
    assert (grams.kind.name, grams.nullable, grams.unit, grams.label) == ("amount", True, "g", "counted")


def test_a_report_survives_being_read_and_written(make_report):
    report = make_report(shots=(16,), seeds=1)
    assert plain(from_plain(SimulateReport, report)) == report


def test_totals_name_fields_that_are_there():
    """What `explain` multiplies, and what must add up."""
    names = {field.path for field in FIELDS}
    for field in FIELDS:
        if field.total is not None:
            place = field.path.removesuffix(field.name)
            for name in (field.total.counts, field.total.components):
                assert name in ("", "arrays") or f"{place}{name}" in names, field.path


def test_a_spreadsheet_has_a_column_for_every_single_value_of_a_record():
    words = {"drift", *(name for name in plain_names() if name.startswith("right_") or "_by_" in name)}
    words |= {name for name in plain_names() if name.endswith("_event_counts")}
    assert set(columns()) == set(plain_names()) - words
    assert columns()["write_energy_joules"] == "write_energy_joules [J]"


def plain_names() -> list[str]:
    return [field.name for field in fields_of(Result)]


def test_every_name_of_a_statistic_is_a_field():
    """What mypy cannot see: fields of a result that are asked for by their name."""
    asked = set()
    for file in (Path(__file__).parents[2] / "reports").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in _BY_NAME:
                asked |= {(file.name, a.value) for a in node.args if isinstance(a, ast.Constant) and a.value != ""}
    known = {field.name for field in fields_of(Result)}
    assert len(asked) > 30
    assert {(file, name) for file, name in asked if name not in known} == set()
