"""Renders `report.html`: one file with its styles and figures inside, which loads nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import tables
from .canvas import Drawing, colours_of, page_colours
from .findings import findings
from .headlines import headlines
from .records import LABELS, SimulateReport
from .rows import by_shots, rows_of
from .sensitivity import of_subject
from .unknown import unknown_components, without
from .values import duration, readable, si


def render(report: SimulateReport, drawings: Mapping[str, Drawing]) -> str:
    """The page of a valid report with its figures (`figures.draw_all`). All texts of the report are escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(**_context(report, drawings))


def _context(report: SimulateReport, drawings: Mapping[str, Drawing]) -> dict[str, Any]:
    rows = rows_of(report.results)
    colours = colours_of(row.method for row in rows)
    groups = by_shots(rows)
    largest = next(reversed(groups.values()))
    device, said = report.device, findings(report)
    later, lacking = f"{duration(report.ages_seconds[-1])} later", without(unknown_components(device))
    parts = [
        (title, tables.components(largest, colours, field, total, form, unknown_components(device, quantity)))
        for title, quantity, field, total, form in (
            (
                "Adaptation energy",
                "energy",
                "adaptation_energy_by_component_joules",
                "adaptation_energy_joules",
                lambda v: si(v, "J"),
            ),
            (
                "Energy of one example",
                "energy",
                "inference_energy_by_component_joules",
                "inference_energy_joules",
                lambda v: si(v, "J"),
            ),
            ("Adaptation time", "time", "adaptation_time_by_component_seconds", "adaptation_time_seconds", duration),
        )
    ]
    return {
        "report": report,
        "drawings": drawings,
        "colours": page_colours(),
        "variables": {light: name for name, (light, _) in page_colours().items()},
        "labels": [label for label in LABELS if label in _labels(report)],
        "headlines": headlines(report),
        "verdict": said[0].text,
        "findings": said[1:],
        "messages": [readable(message) for message in report.messages],
        "results": [tables.results(group, colours, lacking, later) for group in groups.values()],
        "comparisons": tables.comparisons(report.comparisons, colours, later),
        "components": [(title, table) for title, table in parts if table is not None],
        "programming": tables.programming(report.programming),
        "break_even": tables.break_even(report.break_even),
        "sensitivity": tables.sensitivity(of_subject(report), device.array.arrays_used),
        "ratios": tables.ratios(report.programming.write_read_ratio),
        "silicon": tables.silicon(report.device.area_square_meters),
        "runs": tables.runs(rows, colours),
        "references": tables.references(report.references),
        "identity": tables.identity(report),
        "configuration": tables.mapping(f"Configuration {report.config_hash}.", report.config),
        "versions": tables.mapping("Versions.", report.versions),
    }


def _labels(report: SimulateReport) -> set[str]:
    return {report.programming.label, *(record.label for record in report.results)}
