"""A chip as the records of a report: what `simulate` and `count` say of it alike."""

from ..devices import Chip, references_used, unknown_numbers
from ..reports.records import from_plain
from ..reports.records.conclusions import Reference
from ..reports.records.device import Cost, CrossbarArray, Device
from ..simulator import area
from ..simulator.costs import described


def device_record(chip: Chip, arrays: int) -> Device:
    """The chip with its prices; `arrays` are used."""
    return Device(
        name=chip.name,
        title=chip.title,
        cell=chip.cell.name,
        periphery=chip.periphery.name,
        technology=chip.cell.technology,
        array=CrossbarArray(
            rows=chip.array.rows, columns=chip.array.columns, slices=chip.array.slices, arrays_used=arrays
        ),
        area_square_meters=area(chip, arrays),
        costs=[from_plain(Cost, cost) for cost in described(chip)],
        unknown=[f"{key}: {note}" for key, note in unknown_numbers(chip)],
    )


def chip_references(chip: Chip) -> list[Reference]:
    """The papers behind the numbers of the chip."""
    return [from_plain(Reference, entry) for entry in references_used(chip)]
