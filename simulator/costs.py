"""What one event costs on a chip, and what counts of events cost: joules, seconds and square metres.

Every cost is a formula over numbers of the chip file, and names them: the multiplication behind any total can be
printed with its sources (`reports.explain`). What the chip file does not know costs nothing here and stands in
`CostTable.unknown`.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..devices import Chip, describe_chip
from ..display import Shown
from .accounting import EventCounts
from .counting import write_times
from .memories import Memories, WorkingSets, traffic
from .prices import Cost, all_costs, area_costs, chip_number, cycle_seconds

COMPONENTS = (
    "cells_read", "cells_write", "write_access", "write_pump", "lines", "dac", "adc", "sample_hold", "shift_add",
    "buffer", "router", "digital", "sram", "dram", "leakage", "pump_leakage", "digital_leakage", "sram_leakage",
)  # fmt: skip
TIMES = ("array_reads", "writes", "digital")
STANDING = ("array_seconds", "gated_seconds", "pump_seconds", "digital_seconds", "sram_byte_seconds")
AREAS = ("cells", "adc", "dac", "other")


@dataclass(frozen=True, repr=False)
class Breakdown(Shown):
    """Joules and seconds by component; totals are the sums."""

    joules: dict[str, float]
    seconds: dict[str, float]

    def _facts(self) -> dict[str, float]:
        parts = {f"{name}_joules": value for name, value in self.joules.items() if value}
        return {"total_joules": self.total_joules, "total_seconds": self.total_seconds, **parts}

    @property
    def total_joules(self) -> float:
        return math.fsum(self.joules.values())

    @property
    def total_seconds(self) -> float:
        return math.fsum(self.seconds.values())


@dataclass(frozen=True)
class Standing:
    """What of a chip is powered when (`leakage.when`). together: arrays that are written at the same time; bytes: of
    SRAM.
    """

    when: str
    together: int
    sram_bytes: float

    @staticmethod
    def of(chip: Chip) -> "Standing":
        p = chip.periphery
        return Standing(p.leakage_when, write_times(chip).arrays, p.sram_capacity_bytes or 0.0)


@dataclass(frozen=True, repr=False)
class CostTable(Shown):
    """The costs of every event on a chip; `unknown` names the numbers that the chip file lacks (their cost is 0)."""

    costs: tuple[Cost, ...]
    unknown: tuple[str, ...]
    array_cycle_seconds: float
    transposed_cycle_seconds: float
    adc_joules: float
    standing: Standing
    memories: Memories

    def _facts(self) -> dict[str, object]:
        return {"costs": len(self.costs), "unknown": self.unknown, "array_cycle_seconds": self.array_cycle_seconds}

    @staticmethod
    def of(chip: Chip) -> "CostTable":
        """The cost table of a chip."""
        forward, transposed = cycle_seconds(chip)
        costs = all_costs(chip)
        silent = [c for c in costs if c.value is None and not c.tally and c.quantity != "area"]
        missing = [name for c in silent for name in c.numbers if chip_number(chip, name) is None]
        return CostTable(
            costs, tuple(dict.fromkeys(missing)), forward, transposed, chip.periphery.adc_energy_joules,
            Standing.of(chip), Memories.of(chip),
        )  # fmt: skip

    def cost(self, counts: EventCounts) -> Breakdown:
        """Counts times cost, by component."""
        return Breakdown(self._sums("energy", COMPONENTS, counts), self._sums("time", TIMES, counts))

    def sequential_seconds(self, counts: EventCounts) -> float:
        """The time of the counts if nothing overlapped."""
        mine = counts.as_dict()
        return math.fsum(c.product(mine).total for c in self.costs if c.quantity == "time" and not c.hidden)

    def write_joules(self, counts: EventCounts) -> float:
        """The energy of the writes among the counts: cells, lines, verify currents, conversions of the verify reads."""
        mine = counts.as_dict()
        return math.fsum(c.product(mine).total for c in self.costs if c.write and c.quantity == "energy")

    def placed(self, counts: EventCounts, sets: WorkingSets) -> EventCounts:
        """The counts with each byte where its working set lies."""
        found = self.memories.place(traffic(counts, sets))
        return replace(
            counts,
            sram_bytes=math.fsum(one.sram_bytes for one in found),
            sram_surcharge_bytes=math.fsum(one.sram_bytes * (one.factor - 1.0) for one in found),
            dram_bytes=math.fsum(one.dram_bytes for one in found),
        )

    def powered(self, counts: EventCounts, arrays: int, sets: WorkingSets | None = None) -> EventCounts:
        """The counts with bytes where they lie (without `sets`: in the smallest memory), and with what stands ready for
        as long as they take, for standing power: `arrays` arrays, pumps, digital unit and SRAM.

        Arrays that are cut off while they wait are powered in the cycles that they work in; while cells are written,
        as many as are written at once.
        """
        counts = counts if sets is None else self.placed(counts, sets)
        if self.standing.when == "never":
            return replace(counts, **dict.fromkeys(STANDING, 0.0))
        times = self.cost(counts)
        seconds, writing = times.total_seconds, times.seconds["writes"]
        powered = everything = arrays * seconds
        if self.standing.when == "busy":
            reading = counts.busy_cycles * self.array_cycle_seconds
            reading += counts.busy_transposed_cycles * self.transposed_cycle_seconds
            powered = min(everything, reading + min(arrays, self.standing.together) * writing)
        return replace(
            counts,
            array_seconds=powered,
            gated_seconds=everything - powered,
            pump_seconds=writing,
            digital_seconds=seconds,
            sram_byte_seconds=self.standing.sram_bytes * seconds,
        )

    def _sums(self, quantity: str, components: tuple[str, ...], counts: EventCounts) -> dict[str, float]:
        mine = counts.as_dict()
        totals = [(c.component, c.product(mine).total) for c in self.costs if c.quantity == quantity]
        return {name: math.fsum(value for component, value in totals if component == name) for name in components}


def standing_message(chip: Chip) -> str:
    """What of the chip draws power while nothing happens there, in words."""
    when, watts = chip.periphery.leakage_when, chip.periphery.leakage_watts_per_array
    if when == "never":
        return "standing power is not counted (leakage.when: never): energies are those of events alone"
    if when == "busy":
        return (
            "arrays are cut off while they wait (leakage.when: busy); digital unit and SRAM are powered for the whole "
            "of an adaptation and of an answer"
        )
    if watts is None:
        return ""
    return (
        f"every array of the chip draws {watts * 1e6:.3g} uW for the whole of an adaptation and of an answer "
        "(leakage.when: always); with busy they are cut off while they wait, with never it is not counted"
    )


def area(chip: Chip, arrays: int) -> dict[str, float | None]:
    """Square metres by part for `arrays` arrays: cells, adc, dac, other (sample-and-hold, shift-add) and their total.

    A part whose unit area the chip file does not know is None and missing from the total. Wiring, buffers, drivers
    and the digital unit are not counted.
    """
    one = [(c.component, c.value) for c in area_costs(chip)]
    found = {
        name: _sum_known(*(None if v is None else v * arrays for component, v in one if component == name))
        for name in AREAS
    }
    return found | {"total": _sum_known(*found.values())}


def described(chip: Chip) -> list[dict[str, Any]]:
    """The cost table as plain data for a report: each cost with the numbers behind it, as written in the chip file, and
    their sources.
    """
    rows = {row["attribute"]: row for row in describe_chip(chip)["values"]}
    return [
        {
            "quantity": c.quantity,
            "component": c.component,
            "event": c.event,
            "counts": list(c.counts),
            "tally": c.tally,
            "value": c.value,
            "unit": c.unit,
            "formula": c.formula,
            "part": "write" if c.write else "hidden" if c.hidden else "use",
            "numbers": [_number(rows[name], power) for name, power in itertools.zip_longest(c.numbers, c.powers)],
            "published": _number(rows[c.published], None) if c.published else None,
        }
        for c in CostTable.of(chip).costs
    ]


def _number(row: Mapping[str, Any], power: int | None) -> dict[str, Any]:
    """A number of the chip file as plain data. Only what is a number has a value here."""
    value, between = row["value"], row["range"]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return {
        "key": row["key"],
        **{k: row[k] for k in ("meaning", "text", "source", "status", "note", "unit")},
        "value": value if number else None,
        "power": power,
        "range": None if between is None else {k: between[k] for k in ("low", "high", "source", "note")},
    }


def _sum_known(*values: float | None) -> float | None:
    present = [v for v in values if v is not None]
    return math.fsum(present) if present else None
