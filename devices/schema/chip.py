"""A chip: its cell, its arrays and its periphery, each number with where it comes from."""

from collections.abc import Mapping
from dataclasses import dataclass

from ...display import Shown
from .array import Array
from .cell import Cell
from .periphery import Periphery
from .values import Provenance, Reference

KINDS = ("cell", "periphery", "chip")
PARTS: dict[str, type] = {"cell": Cell, "array": Array, "periphery": Periphery}


@dataclass(frozen=True, repr=False)
class Chip(Shown):
    """A cell, an array and a periphery, with the provenance of every number.

    `provenance` maps "cell.g_max_siemens", "array.rows", "periphery.adc_energy_joules", "cell.relaxation[0]" and so on.
    """

    name: str
    title: str
    description: str
    cell: Cell
    array: Array
    periphery: Periphery
    provenance: Mapping[str, Provenance]
    references: tuple[Reference, ...]

    def _facts(self) -> dict[str, object]:
        array = f"{self.array.rows} x {self.array.columns}"
        return {"name": self.name, "title": self.title, "cell": self.cell.name, "array": array,
                "periphery": self.periphery.name}  # fmt: skip
