"""The range of a number in a device file: between what its sources differ.

    energy: {value: "2.9 pJ", source: a, status: read,
             range: {low: "0.2 pJ", high: "3 pJ", source: b, note: "INT8 to FP32"}}

A table of values by bits has tables of lowest and highest ones, too; a number that is unknown may have a range.
"""

from collections.abc import Collection, Mapping

from ..errors import UsageError, unknown_name
from ..yamlfile import Place
from .schema import Range, Spec
from .units import parse_number

_KEYS = ("low", "high", "source", "note")
_PLAUSIBLE = {"S": 1.0, "V": 1000.0, "J": 1.0, "W": 1000.0, "F": 1.0, "m": 1.0, "m^2": 1.0}
"""The most that a number of a device can be, by unit: beyond it a prefix is mistaken, such as MS for mS."""


def check_bounds(value: float, text: str, spec: Spec) -> None:
    """Raises `UsageError` for a number that its key cannot have: too small, too large, or with a mistaken prefix."""
    unit = f" {spec.unit}" if spec.unit else ""
    if value < spec.low or (spec.open_low and value <= spec.low):
        raise UsageError(f"{text!r} must be {'above' if spec.open_low else 'at least'} {spec.low:g}{unit}")
    if value > spec.high:
        raise UsageError(f"{text!r} must be at most {spec.high:g}{unit}")
    if value > (most := _PLAUSIBLE.get(spec.unit, float("inf"))):
        raise UsageError(
            f"{text!r} is {value:g}{unit}, and no part of a chip has more than {most:g}{unit}; m is milli, M is mega"
        )


def no_range(spec: Spec) -> str:
    """Why a number of this kind has no range; "" where it may have one."""
    if spec.kind != "number":
        return "only single numbers have one"
    return ""


def read_range(name: str, place: Place, spec: Spec, sources: Collection[str], value: float | None) -> Range:
    """The range at a place of a file, which `value` lies in, unless it is unknown."""
    parts = _parts(name, place)
    return _range(name, place, spec, parts["low"][1], parts["high"][1], _named(name, parts, sources), value)


def read_range_table(
    name: str, place: Place, spec: Spec, sources: Collection[str], values: Mapping[int, float]
) -> dict[int, Range]:
    """The ranges of a table {bits: value}; both ends have the same bits."""
    parts = _parts(name, place)
    named = _named(name, parts, sources)
    ends = [parts[end][1].mapping(f"{end} of the range of {name}") for end in ("low", "high")]
    for end in ends:
        for bits, (key, _) in end.items():
            if not bits.isdecimal() or int(bits) not in values:
                key.fail(f"the range of {name} is for {bits} bits, which the table does not have")
    low, high = ends
    for bits in sorted(low.keys() ^ high.keys()):
        place.fail(f"the range of {name} has one end for {bits} bits; give low and high")
    return {int(bits): _range(name, place, spec, low[bits][1], high[bits][1], named, values[int(bits)]) for bits in low}


def _parts(name: str, place: Place) -> dict[str, tuple[Place, Place]]:
    parts = place.mapping(f"the range of {name}", _KEYS)
    for needed in _KEYS:
        if needed not in parts:
            place.fail(f"the range of {name} has no {needed}; write {{low: ..., high: ..., source: KEY, note: ...}}")
    return parts


def _named(name: str, parts: Mapping[str, tuple[Place, Place]], sources: Collection[str]) -> tuple[str, str]:
    """Source and note."""
    source = parts["source"][1].text(f"the source of the range of {name}")
    if source not in sources:
        parts["source"][1].fail(unknown_name("source", source, sources) + "; add it under 'references:'")
    return source, parts["note"][1].text(f"the note of the range of {name}")


def _range(
    name: str, place: Place, spec: Spec, low: Place, high: Place, named: tuple[str, str], value: float | None
) -> Range:
    texts = low.text(f"the low end of {name}"), high.text(f"the high end of {name}")
    numbers = []
    for end, text in zip((low, high), texts, strict=True):
        try:
            numbers.append(parse_number(text, spec.unit))
            check_bounds(numbers[-1], text, spec)
        except UsageError as error:
            end.fail(f"the range of {name}: {error}")
    if not numbers[0] < numbers[1]:
        place.fail(f"the range of {name}, {texts[0]} to {texts[1]}, must rise")
    if value is not None and not numbers[0] <= value <= numbers[1]:
        place.fail(f"the range of {name}, {texts[0]} to {texts[1]}, does not hold its value")
    return Range(numbers[0], numbers[1], *texts, *named)
