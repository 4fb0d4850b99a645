"""Groups the records of a report into rows (method × placement × shots) with means and spreads over seeds."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from .records import LABELS
from .records.results import Result
from .values import Statistic

Series = tuple[str, str]
"""Method and placement."""

PLACEMENT_TITLES = {
    "NVM_FROZEN": "cells, never rewritten",
    "NVM_TASK": "cells, once per task",
    "NVM_STEP": "cells, every step",
    "DIGITAL": "digital",
}
#: the same, short enough for a label in a figure
PLACEMENT_SHORT = {
    "NVM_FROZEN": "never rewritten",
    "NVM_TASK": "per task",
    "NVM_STEP": "every step",
    "DIGITAL": "digital",
}
COMPONENT_TITLES = {
    "cells_read": "cells, read",
    "cells_write": "cells, write",
    "write_access": "access devices, write",
    "write_pump": "charge pumps, write",
    "lines": "lines",
    "dac": "DAC",
    "adc": "ADC",
    "sample_hold": "sample-hold",
    "shift_add": "shift-add",
    "buffer": "buffers",
    "router": "router",
    "digital": "digital unit",
    "sram": "SRAM",
    "dram": "DRAM",
    "leakage": "standby of arrays",
    "pump_leakage": "standby of pumps",
    "digital_leakage": "standby of digital unit",
    "sram_leakage": "standby of SRAM",
}


RATIO_TITLES = {
    "cell_pulse": "one pulse over one read of a cell",
    "cell_program_verify": "programming a cell over reading it",
    "array_with_converters": "programming everything over reading it, converters included",
}


def ratio_title(name: str) -> str:
    """A write/read ratio in words."""
    return RATIO_TITLES.get(name, name.replace("_", " "))


def method_title(method: str) -> str:
    """A method's name in print; one that is not registered here is shown by its key."""
    from ..methods import METHODS

    return METHODS[method].title if method in METHODS else method


def placement_title(placement: str) -> str:
    """A placement in words."""
    return PLACEMENT_TITLES.get(placement.upper(), placement)


def series_title(method: str, placement: str) -> str:
    """Method and placement as a label: "LoRA · every step"."""
    return f"{method_title(method)} · {PLACEMENT_SHORT.get(placement.upper(), placement)}"


def component_title(component: str) -> str:
    """A component in words."""
    return COMPONENT_TITLES.get(component, component.replace("_", " "))


def subject_of(found: Iterable[Series]) -> Series | None:
    """The one that a report with these is about: the first whose method names rivals, where it is placed first."""
    from ..methods import METHODS

    for method, placement in found:
        known = METHODS.get(method)
        if known is not None and known.rivals and placement == known.placements[0].value:
            return method, placement
    return None


def rivals_of(subject: Series, placement: str = "") -> list[Series]:
    """What it is held against, the nearest first: its rivals in its own placement, or another."""
    from ..methods import METHODS

    return [(rival, placement or subject[1]) for rival in METHODS[subject[0]].rivals]


@dataclass(frozen=True, eq=False)
class Row:
    """All seeds of one method × placement × shots. `title` names the placement where the method has several."""

    method: str
    placement: str
    shots: int
    title: str
    records: tuple[Result, ...]

    def stat(self, name: str) -> Statistic:
        """Mean and spread of a record field over the seeds."""
        return Statistic.of([getattr(record, name) for record in self.records])

    def components(self, name: str) -> dict[str, float]:
        """Mean over seeds of each known component of a component field; {} when the field is null."""
        maps = [found for record in self.records if (found := getattr(record, name)) is not None]
        keys = dict.fromkeys(key for entry in maps for key in entry)
        means = {key: Statistic.of([entry.get(key) for entry in maps]).mean for key in keys}
        return {key: mean for key, mean in means.items() if mean is not None}

    def ages(self) -> dict[float, Statistic]:
        """Accuracy on the chip by age in seconds, as programmed at age 0."""
        by_age: dict[float, list[float | None]] = {0.0: [record.accuracy_chip for record in self.records]}
        for record in self.records:
            for point in record.drift:
                if point.age_seconds > 0:
                    by_age.setdefault(float(point.age_seconds), []).append(point.accuracy)
        return {age: Statistic.of(by_age[age]) for age in sorted(by_age)}

    @property
    def short_title(self) -> str:
        """The title for a figure: at most 34 characters."""
        return self.title if len(self.title) <= 34 else f"{self.title[:33]}…"

    @cached_property
    def label(self) -> str:
        """`simulated` and the like; several joined when the seeds differ."""
        return labels_of([self])

    @property
    def estimated(self) -> bool:
        """Whether any figure of the row was not simulated event by event."""
        return "estimated" in self.label

    @property
    def trains(self) -> bool:
        """Whether the method trains any number, the classifier head included."""
        return any(record.trained_parameters + record.head_parameters > 0 for record in self.records)

    @property
    def adapts(self) -> bool:
        """Whether training took any step: class means alone are no training."""
        return any(record.train_steps > 0 for record in self.records)

    @property
    def writes_cells(self) -> bool | None:
        """Whether adapting wrote cells; None when unknown."""
        written = [record.cells_written for record in self.records]
        return None if None in written else any(written)

    @property
    def tasks_until_worn_out(self) -> str | float | None:
        """Tasks of the worst seed, "unlimited" when nothing wears, None when unknown."""
        if self.writes_cells is False:
            return "unlimited"
        return self.stat("tasks_until_worn_out").minimum


def rows_of(results: Iterable[Result]) -> list[Row]:
    """The rows of a report's `results`, in the order of their first record."""
    groups: dict[tuple[str, str, int], list[Result]] = {}
    for record in results:
        groups.setdefault((record.method, record.placement, record.shots), []).append(record)
    places: dict[str, set[str]] = {}
    for method, placement, _ in groups:
        places.setdefault(method, set()).add(placement)
    return [
        Row(
            method,
            placement,
            shots,
            series_title(method, placement) if len(places[method]) > 1 else method_title(method),
            tuple(records),
        )
        for (method, placement, shots), records in groups.items()
    ]


def by_shots(rows: Iterable[Row]) -> dict[int, list[Row]]:
    """The rows of each number of shots, fewest shots first."""
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.shots, []).append(row)
    return dict(sorted(groups.items()))


def paired_difference(row: Row, other: Row, name: str) -> Statistic:
    """`row` minus `other` in a record field, seed by seed, over the seeds that both have."""
    theirs = {record.seed: getattr(record, name) for record in other.records}
    pairs = [(getattr(record, name), theirs.get(record.seed)) for record in row.records]
    return Statistic.of([a - b if a is not None and b is not None else None for a, b in pairs])


def seeds_in_words(rows: Iterable[Row]) -> str:
    """ "5 seeds", "1 seed", or "3 to 5 seeds" when rows differ."""
    counts = {len(row.records) for row in rows}
    low, high = min(counts), max(counts)
    return f"{high} seed{'' if high == 1 else 's'}" if low == high else f"{low} to {high} seeds"


def labels_of(rows: Iterable[Row]) -> str:
    """The labels of several rows joined: "simulated and estimated"."""
    found = {record.label for row in rows for record in row.records}
    return " and ".join(label for label in LABELS if label in found)
