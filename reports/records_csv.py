"""`results.csv`: one line for each record of a report, for spreadsheets."""

import csv
import io

from .records import SimulateReport, fields_of
from .records.results import Result

_PLAIN = ("text", "integer", "number", "amount", "fraction")  # answers to single examples stay in report.json


def columns() -> dict[str, str]:
    """Field of a record -> heading with its unit, for every field that is one value."""
    return {
        field.name: f"{field.name} [{field.unit}]" if field.unit not in ("", "1") else field.name
        for field in fields_of(Result)
        if field.kind.name in _PLAIN
    }


def records_csv(report: SimulateReport) -> str:
    """The records as CSV with a heading line; null is an empty cell. Fractions are from 0 to 1."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns().values())
    for record in report.results:
        values = [getattr(record, name) for name in columns()]
        writer.writerow(["" if value is None else value for value in values])
    return buffer.getvalue()
