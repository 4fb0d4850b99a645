"""A report as an object: what `edge_adapt.simulate`, `compare`, `count` and `load_report` give."""

import copy
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from ..display import html_table
from ..errors import UsageError, require
from .records import CompareReport, CountReport, SimulateReport, typed
from .records.compare import ComparedResult
from .records.results import Result
from .schema import validate

#: what a report is of, by the name of its schema
KINDS = ("simulate", "compare", "count")


class Report:
    """The result of a run: the object of docs/report-schema.md (or compare-schema.md) with a few ways to look at it.

    Everything is in `data`, as plain data in SI units; accuracies are fractions from 0 to 1.
    """

    def __init__(self, data: Mapping[str, Any]):
        """Raises `UsageError` for an object of another schema, `ReportError` for one that does not follow its own."""
        schema = str(data.get("schema", "")) if isinstance(data, Mapping) else ""
        family, _, rest = schema.partition("/")
        kind = rest.partition("/")[0]
        if family != "edge-adapt" or kind not in KINDS:
            raise UsageError(f"this is no report of edge-adapt simulate, compare or count: its schema is {schema!r}")
        validate(data)
        self.kind = kind
        self.data: Mapping[str, Any] = data

    @cached_property
    def _typed(self) -> SimulateReport | CompareReport | CountReport:
        report: SimulateReport | CompareReport | CountReport = typed(self.data)
        return report

    @property
    def results(self) -> list[Mapping[str, Any]]:
        """The records: one for every method, placement, number of shots and run."""
        return list(self.data["results"])

    @property
    def comparisons(self) -> list[Mapping[str, Any]]:
        """Paired differences between methods with their standard errors (of a simulation; else empty)."""
        return list(self.data["comparisons"]) if self.kind == "simulate" else []

    @property
    def verdict(self) -> str:
        """What the report says, in a sentence or two."""
        report = self._typed
        if isinstance(report, CountReport):
            from .rows import series_title
            from .values import si

            by_energy = sorted(report.results, key=lambda record: record.adaptation_energy_joules or 0.0)
            least, most = (
                f"{series_title(r.method, r.placement)} {si(r.adaptation_energy_joules, 'J')}"
                for r in (by_energy[0], by_energy[-1])
            )
            return f"Energy of one adaptation: least {least}, most {most}."
        if isinstance(report, CompareReport):
            return report.findings[0].text if report.findings else "Every simulation failed."
        from .findings import findings

        return findings(report)[0].text

    def to_frame(self) -> Any:
        """The records as a pandas DataFrame, a row each, without the fields that are objects or lists.

        Raises `MissingExtraError` where pandas is not installed.
        """
        require("pandas", "frame")
        import pandas

        plain = [{k: v for k, v in r.items() if not isinstance(v, Mapping | list)} for r in self.results]
        return pandas.DataFrame(plain)

    def to_dict(self) -> dict[str, Any]:
        """A copy of `data`."""
        return copy.deepcopy(dict(self.data))

    def save(self, folder: str | Path) -> Path:
        """Write the report as the folder, pages and figures included (of a count: its JSON); returns the folder.

        Raises:
            UsageError: the folder holds things that are not of a report.
            EdgeAdaptError: matplotlib or jinja2 is missing, no space left, no permission.
        """
        folder = Path(folder)
        if self.kind == "simulate":
            from . import write_report

            write_report(self.data, folder)
        elif self.kind == "compare":
            from .compare import write_comparison

            write_comparison(self.data, folder)
        else:
            from . import to_json
            from .store import write_folder

            write_folder(folder, {"report.json": to_json(self.data)})
        return folder

    def __repr__(self) -> str:
        methods = ", ".join(dict.fromkeys(record.method for record in self._typed.results))
        config = self._typed.config  # of any content, as options are
        given = config.get("device", config.get("devices"))
        device = ", ".join(map(str, given)) if isinstance(given, list) else str(given)
        return f"Report({self.kind} on {device}: {methods}; {len(self.results)} records)"

    def _repr_html_(self) -> str:
        import html

        heading, rows = _table(self._typed)
        return f"<p>{html.escape(self.verdict)}</p>{html_table(rows, '', heading)}"


def load_report(path: str | Path) -> Report:
    """The report in a folder or file (`report.json` or `compare.json`), checked against its schema.

    Example:
        `load_report("edge-adapt-report").verdict`

    Raises:
        UsageError: there is none, or it is of something else.
        ReportError: a field is missing or wrong; the message names it.
    """
    from .reading import read_report

    return Report(read_report(Path(path).expanduser()))


def _table(report: SimulateReport | CompareReport | CountReport) -> tuple[list[str], list[list[str]]]:
    """Heading and rows of the small table of a notebook: means over the runs of each method."""
    from .rows import rows_of, series_title
    from .values import percent, si

    if isinstance(report, CountReport):
        heading = ["method", "trained numbers", "adaptation energy", "energy of an example"]
        return heading, [
            [series_title(r.method, r.placement), f"{r.trained_parameters:,}",
             si(r.adaptation_energy_joules, "J"), si(r.inference_energy_joules, "J")]
            for r in report.results
        ]  # fmt: skip
    groups: dict[str, list[Result]] = {}
    for record in report.results:
        name = f"{record.device}, {record.task}" if isinstance(record, ComparedResult) else ""
        groups.setdefault(name, []).append(record)
    rows = [
        [*([name] if name else []), row.title, str(row.shots), percent(row.stat("accuracy_chip")),
         percent(row.stat("accuracy_readapted")), si(row.stat("adaptation_energy_joules").mean, "J")]
        for name, records in groups.items()
        for row in rows_of(records)
    ]  # fmt: skip
    heading = ["method", "shots", "on the chip, %", "adapted again, %", "adaptation energy"]
    return ["device, task", *heading] if isinstance(report, CompareReport) else heading, rows
