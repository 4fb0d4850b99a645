"""Which methods are worth their energy: each more accurate than every cheaper one by more than the error."""

from collections.abc import Callable, Iterable

from .rows import Row


def frontier(rows: Iterable[Row], better: Callable[[Row, Row], bool]) -> list[Row]:
    """The rows, cheapest first, that are more accurate on the chip than the one before by more than the error.

    A row that is not told apart from a cheaper one is not on the frontier: nothing shows that its energy buys anything.
    Of rows of the same energy the most accurate comes first. Rows without accuracy or energy are left out.

    Args:
        better: whether the first row is more accurate than the second by more than chance explains.
    """
    known: list[tuple[float, float, Row]] = []
    for row in rows:
        energy, accuracy = row.stat("adaptation_energy_joules").mean, row.stat("accuracy_chip").mean
        if energy is not None and accuracy is not None:
            known.append((energy, -accuracy, row))
    found: list[Row] = []
    for _, _, row in sorted(known, key=lambda entry: entry[:2]):
        if not found or better(row, found[-1]):
            found.append(row)
    return found
