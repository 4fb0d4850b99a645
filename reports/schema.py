"""Checks a report against the records of `records/`."""

import math
from collections.abc import Mapping
from typing import Any

from ..errors import EdgeAdaptError, unknown_name
from .records import (
    OUTCOMES,
    REPORTS,
    Field,
    SimulateReport,
    fields_of,
)
from .records.kinds import LARGEST, LIST, OBJECT

_SUM_TOLERANCE = 1e-3

_KEYS = ("device", "task", "method", "placement", "shots", "seed")  # of these, those that the records of a report have


class ReportError(EdgeAdaptError):
    """The report does not follow the schema. Exit code 1."""


class MissingFieldError(ReportError):
    """A field is not there."""


def validate(report: Mapping[str, Any]) -> None:
    """Check every field of a report of `simulate`, `compare` or `count`: present, of its kind, in its range, finite,
    and no field that is not documented.

    Also checked: energies by component add up to their total (0.1 %), and no two records share device, task, method,
    placement, shots and seed.

    Raises:
        ReportError: with the path of the first wrong or missing field, e.g. `results[3].accuracy_chip`.
    """
    if not isinstance(report, Mapping):
        raise ReportError(f"a report is {OBJECT.words}, got {_shown(report)}")
    schema = report.get("schema")
    if isinstance(schema, str) and schema not in REPORTS:
        raise ReportError(f"report field schema: {unknown_name('value', schema, REPORTS)}")
    cls = REPORTS[schema] if isinstance(schema, str) else SimulateReport
    check_record(cls, report)
    _check_records(report["results"], next(f.record for f in fields_of(cls) if f.name == "results"))
    if cls is SimulateReport:
        _check_simulated(report)


def _check_simulated(report: Mapping[str, Any]) -> None:
    """What `simulate` alone reports: answers, and the picture of a tile."""
    _check_answers(report)
    if (tile := report["conductance_map"]) is not None:
        shapes = {(len(grid), len(grid[0])) for grid in (tile["target_siemens"], tile["programmed_siemens"])}
        if len(shapes) > 1:
            raise ReportError(
                "report field conductance_map.programmed_siemens has another shape than target_siemens: "
                f"{sorted(shapes)}"
            )


def validate_parts(parts: Mapping[str, Any]) -> None:
    """Check some of the fields at the top of a report, each with all that is in it: those that are known before the
    work is done.

    Raises:
        ReportError: see `validate`.
    """
    known = {field.name: field for field in fields_of(SimulateReport)}
    for name, value in parts.items():
        _check_field(value, known[name], name)


def check_record(cls: type, value: Mapping[str, Any], where: str = "") -> None:
    """Check the fields of a record in the object found at `where`, a path of the report."""
    known = {field.name: field for field in fields_of(cls)}
    for name, field in known.items():
        path = f"{where}.{name}" if where else name
        if name not in value:
            raise MissingFieldError(f"report field {path} is missing: {field.meaning} ({field.kind.words})")
        _check_field(value[name], field, path)
    for name in value:
        if name not in known:
            raise ReportError(unknown_name("field", name, known, f"in {where or 'the report'}"))


def _check_field(value: Any, field: Field, path: str) -> None:
    if value is None and field.nullable:
        return
    if value is None or not field.kind.allows(value):
        null = ", or null" if field.nullable else ""
        shown = "null" if value is None else _shown(value)
        if isinstance(value, int | float) and LARGEST < abs(value) < math.inf:
            raise ReportError(f"report field {path} is {shown}: no number of a report is larger than {LARGEST:g}")
        raise ReportError(f"report field {path} is {shown}: it must be {field.kind.words}{null} ({field.meaning})")
    if field.choices and value not in field.choices:
        raise ReportError(f"report field {path}: {unknown_name('value', value, field.choices)}")
    if field.at_least and len(value) < field.at_least:
        raise ReportError(f"report field {path} has {len(value)} entries: it needs at least {field.at_least}")
    if field.record is not None:
        if field.kind is LIST:
            for index, entry in enumerate(value):
                check_record(field.record, entry, f"{path}[{index}]")
        else:
            check_record(field.record, value, path)


def _check_records(results: list[dict[str, Any]], cls: Any) -> None:
    first: dict[tuple[Any, ...], int] = {}
    names = [name for name in _KEYS if name in {field.name for field in fields_of(cls)}]
    for index, record in enumerate(results):
        key = tuple(record[name] for name in names)
        if key in first:
            said = ", ".join(f"{name} {value!r}" for name, value in zip(names, key, strict=True))
            raise ReportError(
                f"report field results[{index}] repeats results[{first[key]}]: {said}; every record must differ in one "
                "of these"
            )
        first[key] = index
        _check_sums(record, index, cls)


def _check_sums(record: Mapping[str, Any], index: int, cls: type) -> None:
    for field in fields_of(cls):
        if field.total is None or not field.total.components:
            continue
        total, parts = record[field.name], record[field.total.components]
        if total is None or parts is None or None in parts.values():
            continue
        added = math.fsum(parts.values())
        if not math.isclose(added, total, rel_tol=_SUM_TOLERANCE, abs_tol=1e-30):
            raise ReportError(
                f"report field results[{index}].{field.total.components} adds up to {added:.6g}, "
                f"but results[{index}].{field.name} is {total:.6g}: they must agree"
            )


def _check_answers(report: Mapping[str, Any]) -> None:
    """Every record has a test set, and an answer for each of its examples."""
    sizes = {entry["seed"]: len(entry["examples"]) for entry in report["test_sets"]}
    for index, record in enumerate(report["results"]):
        if record["seed"] not in sizes:
            raise ReportError(f"report field test_sets has none of seed {record['seed']}, which results[{index}] names")
        for name in OUTCOMES:
            bits, wanted = record[f"right_{name}"], sizes[record["seed"]]
            if bits is not None and len(bits) != wanted:
                raise ReportError(
                    f"report field results[{index}].right_{name} has {len(bits)} answers: the test set of its run has "
                    f"{wanted} examples"
                )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
