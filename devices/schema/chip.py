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

    @property
    def integration(self) -> str:
        """The number that says how long cells conduct in a read, as a key of the provenance: the chip's, where it has
        one and the cell's was not set by hand.
        """
        own, circuit = "cell.read_seconds", "array.integration_seconds"
        set_by_hand = [name for name in (own, circuit) if name in self.provenance]
        set_by_hand = [name for name in set_by_hand if self.provenance[name].status == "override"]
        return own if self.array.integration_seconds is None or set_by_hand == [own] else circuit

    @property
    def integration_seconds(self) -> float:
        """How long cells conduct in a read, in each cycle or pulse."""
        chosen = self.cell.read_seconds if self.integration.startswith("cell") else self.array.integration_seconds
        return chosen or 0.0

    def _facts(self) -> dict[str, object]:
        array = f"{self.array.rows} x {self.array.columns}"
        return {"name": self.name, "title": self.title, "cell": self.cell.name, "array": array,
                "periphery": self.periphery.name}  # fmt: skip
