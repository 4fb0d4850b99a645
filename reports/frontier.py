"""Which methods are worth their energy: each more accurate than every cheaper one by more than the error."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .rows import Row
from .uncertainty import change


def frontier(rows: Iterable[Row], comparisons: Sequence[Mapping[str, Any]] = ()) -> list[Row]:
    """The rows, cheapest first, that are more accurate on the chip than the one before by more than the error.

    A row that is not told apart from a cheaper one is not on the frontier: nothing shows that its energy buys anything.
    Of rows of the same energy the most accurate comes first. Rows without accuracy or energy are left out. A
    comparison that the report made decides about its pair of rows.
    """
    known: list[tuple[float, float, Row]] = []
    for row in rows:
        energy, accuracy = row.stat("adaptation_energy_joules").mean, row.stat("accuracy_chip").mean
        if energy is not None and accuracy is not None:
            known.append((energy, -accuracy, row))
    found: list[Row] = []
    for _, _, row in sorted(known, key=lambda entry: entry[:2]):
        if not found or _better(row, found[-1], comparisons):
            found.append(row)
    return found


def _better(row: Row, other: Row, comparisons: Sequence[Mapping[str, Any]]) -> bool:
    one, two = (row.method, row.placement), (other.method, other.placement)
    for entry in comparisons:
        if entry["outcome"] != "chip" or entry["shots"] != row.shots:
            continue
        pair = (entry["method"], entry["placement"]), (entry["against_method"], entry["against_placement"])
        if pair == (one, two):
            return bool(entry["verdict"] == "better")
        if pair == (two, one):
            return bool(entry["verdict"] == "worse")
    difference = change(row, "chip", other, "chip")
    return difference.mean is not None and difference.mean > 0 and difference.beyond_error
