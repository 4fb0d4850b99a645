"""All figures of a report, in the order of the page."""

from .canvas import Drawing, colours_of, in_both_widths
from .figure_accuracy import accuracy_against_energy, accuracy_over_time
from .figure_energy import energy_by_component
from .figure_programming import conductance_map, pulses
from .figure_recovery import recovery
from .figure_sensitivity import tornado
from .records import SimulateReport
from .rows import by_shots, rows_of
from .sensitivity import of_subject


def draw_all(report: SimulateReport) -> dict[str, Drawing]:
    """Every figure the report has data for, by name, each in both widths. The same report gives the same bytes.

    Names: `accuracy-energy`, `drift-recovery`, `energy-adaptation`, `energy-inference`, `write-pulses`,
    `conductance-map`, `accuracy-drift`, `sensitivity`.
    """
    from .uncertainty import Errors

    rows = rows_of(report.results)
    colours = colours_of(row.method for row in rows)
    largest = next(reversed(by_shots(rows).values()))
    errors = Errors.of(report)
    programming, label = report.programming, report.programming.label
    rankings = of_subject(report)
    drawn = (
        in_both_widths(lambda width: accuracy_against_energy(rows, colours, errors, width)),
        in_both_widths(lambda width: recovery(largest, colours, errors, width)),
        in_both_widths(lambda width: energy_by_component(largest, colours, "adaptation", width)),
        in_both_widths(lambda width: energy_by_component(largest, colours, "inference", width)),
        in_both_widths(lambda width: pulses(programming, width)),
        in_both_widths(lambda width: conductance_map(report.conductance_map, label, width)),
        in_both_widths(lambda width: accuracy_over_time(rows, colours, width)),
        in_both_widths(lambda width: tornado(rankings[0], width)) if rankings else None,
    )
    return {drawing.name: drawing for drawing in drawn if drawing is not None}
