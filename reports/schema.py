"""Checks a report against the fields of `fields.py`."""

import math
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from ..errors import EdgeAdaptError, unknown_name
from .fields import FIELDS, KINDS, OUTCOMES, Field

#: total field -> the components that must add up to it
_SUMS = {
    "adaptation_energy_joules": "adaptation_energy_by_component_joules",
    "inference_energy_joules": "inference_energy_by_component_joules",
}
_SUM_TOLERANCE = 1e-3


class ReportError(EdgeAdaptError):
    """The report does not follow the schema. Exit code 1."""


def validate(report: Mapping[str, Any]) -> None:
    """Check every field of a report: present, of its kind, in its range, finite, and no field that is not documented.

    Also checked: energies by component add up to their total (0.1 %), and no two records share method, placement,
    shots and seed.

    Raises:
        ReportError: with the path of the first wrong or missing field, e.g. `results[3].accuracy_chip`.
    """
    if not isinstance(report, Mapping):
        raise ReportError(f"a report is {KINDS['object']}, got {_shown(report)}")
    _check_object(report, "", "")
    _check_records(report["results"])
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
    known = dict(_children(""))
    for name, value in parts.items():
        _check_field(value, known[name], name)


def _children(prefix: str) -> Iterator[tuple[str, Field]]:
    for field in FIELDS:
        head, _, name = field.path.rpartition(".")
        if head == prefix:
            yield name, field


def _check_object(value: Mapping[str, Any], pattern: str, where: str) -> None:
    """Check the fields under `pattern` (schema path) in the object found at `where` (report path)."""
    known = dict(_children(pattern))
    for name, field in known.items():
        path = f"{where}.{name}" if where else name
        if name not in value:
            raise ReportError(f"report field {path} is missing: {field.meaning} ({KINDS[field.kind]})")
        _check_field(value[name], field, path)
    for name in value:
        if name not in known:
            raise ReportError(unknown_name(f"field in {where or 'the report'}", name, known))


def _check_field(value: Any, field: Field, path: str) -> None:
    if value is None:
        if not field.nullable:
            raise ReportError(f"report field {path} is null: it must be {KINDS[field.kind]} ({field.meaning})")
        return
    if not _CHECKS[field.kind](value):
        null = ", or null" if field.nullable else ""
        raise ReportError(
            f"report field {path} is {_shown(value)}: it must be {KINDS[field.kind]}{null} ({field.meaning})"
        )
    if field.choices and value not in field.choices:
        raise ReportError(f"report field {path}: {unknown_name('value', value, field.choices)}")
    if field.at_least and len(value) < field.at_least:
        raise ReportError(f"report field {path} has {len(value)} entries: it needs at least {field.at_least}")
    if field.kind == "object":
        _check_object(value, field.path, path)
    elif field.kind == "list":
        for index, entry in enumerate(value):
            _check_object(entry, f"{field.path}[]", f"{path}[{index}]")


def _check_records(results: list[dict[str, Any]]) -> None:
    first: dict[tuple[Any, ...], int] = {}
    for index, record in enumerate(results):
        key = tuple(record[name] for name in ("method", "placement", "shots", "seed"))
        if key in first:
            raise ReportError(
                f"report field results[{index}] repeats results[{first[key]}]: method {key[0]!r}, placement "
                f"{key[1]!r}, {key[2]} shots, seed {key[3]}; every record must differ in one of these"
            )
        first[key] = index
        for total_name, parts_name in _SUMS.items():
            total, parts = record[total_name], record[parts_name]
            if total is None or parts is None or None in parts.values():
                continue
            added = math.fsum(parts.values())
            if not math.isclose(added, total, rel_tol=_SUM_TOLERANCE, abs_tol=1e-30):
                raise ReportError(
                    f"report field results[{index}].{parts_name} adds up to {added:.6g}, "
                    f"but results[{index}].{total_name} is {total:.6g}: they must agree"
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


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_amount(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _is_time(value: Any) -> bool:
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return False
    return True


def _is_map(value: Any, check: Callable[[Any], bool]) -> bool:
    return isinstance(value, Mapping) and all(isinstance(k, str) and check(v) for k, v in value.items())


def _is_grid(value: Any) -> bool:
    if not isinstance(value, list) or not 1 <= len(value) <= 64 or not all(isinstance(row, list) for row in value):
        return False
    width = len(value[0])
    return 1 <= width <= 64 and all(len(row) == width and all(_is_number(v) for v in row) for row in value)


def _is_json(value: Any) -> bool:
    if isinstance(value, Mapping):
        return _is_map(value, _is_json)
    if isinstance(value, list | tuple):
        return all(_is_json(entry) for entry in value)
    return value is None or isinstance(value, str | bool) or _is_number(value)


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "text": lambda v: isinstance(v, str),
    "time": _is_time,
    "integer": _is_integer,
    "number": _is_number,
    "amount": _is_amount,
    "fraction": lambda v: _is_number(v) and 0 <= v <= 1,
    "object": lambda v: isinstance(v, Mapping),
    "list": lambda v: isinstance(v, list) and all(isinstance(entry, Mapping) for entry in v),
    "texts": lambda v: isinstance(v, list) and all(isinstance(entry, str) for entry in v),
    "integers": lambda v: isinstance(v, list) and all(_is_integer(entry) for entry in v),
    "grid": _is_grid,
    "amounts": lambda v: _is_map(v, lambda entry: entry is None or _is_amount(entry)),
    "words": lambda v: _is_map(v, lambda entry: isinstance(entry, str)),
    "flag": lambda v: isinstance(v, bool),
    "bits": lambda v: isinstance(v, str) and bool(v) and not v.strip("01"),
    "free": lambda v: isinstance(v, Mapping) and _is_json(v),
}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
