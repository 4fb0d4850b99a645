"""What `report.json` (of `simulate` and of `count`), `compare.json` and `repair.json` hold, as typed records: a file
for each section.

Tables, findings, figures and `explain` read these records alone: `typed` is the way in from JSON.

A new field is one line in its class, with kind, meaning, unit and label (`spec.py`), and the value where the record is
made (`studies/`). The check of reports, docs/report-schema.md, `results.csv` and, with `heading` or `total`, the tables
and `edge-adapt explain` follow from that line.
"""

from collections.abc import Mapping
from typing import Any

from .compare import COMPARE_SCHEMA, CompareReport
from .count import COUNT_SCHEMA, CountReport
from .repair import REPAIR_SCHEMA, RepairReport
from .results import OUTCOMES
from .simulate import SCHEMA, SimulateReport
from .spec import LABELS, Field, fields_of, from_plain, plain, walk

__all__ = [
    "COMPARE_FIELDS",
    "COMPARE_SCHEMA",
    "COUNT_FIELDS",
    "COUNT_SCHEMA",
    "FIELDS",
    "LABELS",
    "OUTCOMES",
    "REPAIR_FIELDS",
    "REPAIR_SCHEMA",
    "REPORTS",
    "SCHEMA",
    "CompareReport",
    "CountReport",
    "Field",
    "RepairReport",
    "SimulateReport",
    "fields_of",
    "from_plain",
    "plain",
    "typed",
    "walk",
]

FIELDS: tuple[Field, ...] = tuple(walk(SimulateReport))
"""Every field of `report.json`, with its path."""

_DOCUMENTED = frozenset(field.record for field in FIELDS if field.record is not None)

COMPARE_FIELDS: tuple[Field, ...] = tuple(walk(CompareReport, known=_DOCUMENTED))
"""Every field of `compare.json` that is not one of `report.json`."""

COUNT_FIELDS: tuple[Field, ...] = tuple(walk(CountReport, known=_DOCUMENTED))
"""Every field of `report.json` of `edge-adapt count` that is not one of `FIELDS`."""

REPAIR_FIELDS: tuple[Field, ...] = tuple(walk(RepairReport))
"""Every field of `repair.json`."""

REPORTS: Mapping[str, type] = {SCHEMA: SimulateReport, COMPARE_SCHEMA: CompareReport, COUNT_SCHEMA: CountReport}
"""The record of a report by the name of its schema."""


def typed(report: Mapping[str, Any]) -> Any:
    """The record of a valid report, of the class that its schema names."""
    return from_plain(REPORTS[report["schema"]], report)
