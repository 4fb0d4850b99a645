"""The simulated chip in a report, with the price of every event."""

from .kinds import Amount, Amounts, Integer, Text, Texts
from .spec import ARRAYS, Total, record, says


@record
class CrossbarArray:
    """One crossbar array, and how many are used."""

    rows: Integer = says("word lines of an array", "1")
    columns: Integer = says("bit lines of an array", "1")
    slices: Integer = says("bit slices per weight", "1")
    arrays_used: Integer = says("arrays that hold the backbone and the pool", "1", "counted")


@record
class Between:
    """How far sources differ about a number."""

    low: Amount = says("lowest that a source gives, in the unit of the number")
    high: Amount = says("highest")
    source: Text = says("key of its reference")
    note: Text = says("what stands at both ends")


@record
class CostNumber:
    """A number of the chip file."""

    key: Text = says("key in the device file")
    meaning: Text = says("what it is")
    text: Text = says("as written there")
    source: Text | None = says("key of its reference; null for an unknown one")
    status: Text = says("read, secondary, derived, unverified, override, unknown ...")
    note: Text = says("how it was read or derived; may be empty")
    unit: Text = says("unit of `value` and of `range`; empty for a plain number")
    value: Amount | None = says("the number; null where it is unknown, or no number")
    power: Integer | None = says("the cost goes with this power of it; null where the formula is no product")
    range: Between | None = says("between what sources differ; null where the file gives no range")


@record
class Cost:
    """What one event of a kind costs."""

    quantity: Text = says("what is added up", choices=("energy", "time", "area"))
    component: Text = says("the component it belongs to")
    event: Text = says("the event in words")
    counts: Texts = says("event counts that add up to its number; empty where the tally gives it")
    tally: Text = says("event count with its joules, added up event by event; may be empty")
    value: Amount | None = says(
        "of one event, in `unit`; null where the tally decides, or where no source knows it (counted as 0)"
    )
    unit: Text = says("unit of `value`")
    formula: Text = says("how `value` follows from `numbers`")
    part: Text = says(
        "whether it belongs to writing cells, or is taken off a time because nothing waits for it",
        choices=("write", "use", "hidden"),
    )
    numbers: list[CostNumber] = says("the numbers of the chip file behind `value`")
    published: CostNumber | None = says("what others found for a written cell; null for other events")


@record
class Device:
    """The simulated chip."""

    name: Text = says("preset name or file")
    title: Text = says("name in words")
    cell: Text = says("cell preset")
    periphery: Text = says("periphery preset")
    technology: Text = says("memory technology")
    array: CrossbarArray = says("one crossbar array and how many are used")
    area_square_meters: Amounts = says(
        "silicon area by part, with `total`; null where the sources give none", "m²", "estimated", total=Total(ARRAYS)
    )
    costs: list[Cost] = says("what one event of each kind costs; with event counts, every total follows")
    unknown: Texts = says("numbers that no source gives, each with what was done about it")
