"""All figures of a report, in the order of the page."""

from collections.abc import Mapping
from typing import Any

from .canvas import Drawing, colours_of
from .figure_accuracy import accuracy_against_energy, accuracy_over_time
from .figure_energy import energy_by_component
from .figure_programming import conductance_map, pulses
from .rows import by_shots, rows_of


def draw_all(report: Mapping[str, Any]) -> dict[str, Drawing]:
    """Every figure the report has data for, by name. The same report gives the same bytes.

    Names: `accuracy-energy`, `energy-adaptation`, `energy-inference`, `write-pulses`, `conductance-map`,
    `accuracy-drift`.
    """
    rows = rows_of(report["results"])
    colours = colours_of(row.method for row in rows)
    largest = next(reversed(by_shots(rows).values()))
    drawn = (
        accuracy_against_energy(rows, colours),
        energy_by_component(largest, colours, "adaptation"),
        energy_by_component(largest, colours, "inference"),
        pulses(report["programming"]),
        conductance_map(report["conductance_map"], report["programming"]["label"]),
        accuracy_over_time(rows, colours),
    )
    return {drawing.name: drawing for drawing in drawn if drawing is not None}
