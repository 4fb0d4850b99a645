"""The kinds of values in a report: the Python type, what it must be in words, and the check of it.

A field is annotated with one of the aliases: `cells: Integer`, or `cells: Integer | None` where it may be null.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

LARGEST = 1e100
"""No number of a report is larger: two of them can be multiplied, or squared and added up, and stay finite."""


@dataclass(frozen=True)
class Kind:
    """What a value must be. `words`: for messages and the documentation; `allows`: whether a value is of the kind."""

    name: str
    words: str
    allows: Callable[[Any], bool]


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST


def _is_amount(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _is_time(value: Any) -> bool:
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return False
    return True


def _is_list(value: Any, check: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(check, value))


def _is_map(value: Any, check: Callable[[Any], bool]) -> bool:
    return isinstance(value, Mapping) and all(isinstance(k, str) and check(v) for k, v in value.items())


def _is_grid(value: Any) -> bool:
    if not isinstance(value, list) or not 1 <= len(value) <= 64 or not all(isinstance(row, list) for row in value):
        return False
    width = len(value[0])
    return 1 <= width <= 64 and all(len(row) == width and all(map(_is_number, row)) for row in value)


def _is_json(value: Any) -> bool:
    if isinstance(value, Mapping):
        return _is_map(value, _is_json)
    if isinstance(value, list | tuple):
        return all(map(_is_json, value))
    return value is None or isinstance(value, str | bool) or _is_number(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


OBJECT = Kind("object", "an object", lambda v: isinstance(v, Mapping))
LIST = Kind("list", "a list of objects", lambda v: _is_list(v, lambda entry: isinstance(entry, Mapping)))
"""The kinds of a field that holds a record, and of one that holds several."""

Text = Annotated[str, Kind("text", "a text", _is_text)]
Time = Annotated[str, Kind("time", "a time in ISO 8601", _is_time)]
Integer = Annotated[int, Kind("integer", "a whole number, 0 or more", _is_integer)]
Number = Annotated[float, Kind("number", "a finite number", _is_number)]
Amount = Annotated[float, Kind("amount", "a finite number, 0 or more", _is_amount)]
Fraction = Annotated[float, Kind("fraction", "a number from 0 to 1", lambda v: _is_number(v) and 0 <= v <= 1)]
Flag = Annotated[bool, Kind("flag", "true or false", lambda v: isinstance(v, bool))]
Bits = Annotated[
    str, Kind("bits", "a text of the digits 0 and 1", lambda v: _is_text(v) and bool(v) and not v.strip("01"))
]
Texts = Annotated[list[str], Kind("texts", "a list of texts", lambda v: _is_list(v, _is_text))]
Integers = Annotated[
    list[int], Kind("integers", "a list of whole numbers, 0 or more", lambda v: _is_list(v, _is_integer))
]
Grid = Annotated[
    list[list[float]], Kind("grid", "a rectangular list of lists of finite numbers, at most 64 x 64", _is_grid)
]
Amounts = Annotated[
    Mapping[str, float | None],
    Kind(
        "amounts",
        "an object whose values are finite numbers, 0 or more, or null",
        lambda v: _is_map(v, lambda entry: entry is None or _is_amount(entry)),
    ),
]
Words = Annotated[Mapping[str, str], Kind("words", "an object whose values are texts", lambda v: _is_map(v, _is_text))]
Free = Annotated[
    Mapping[str, Any],
    Kind("free", "an object of any content", lambda v: isinstance(v, Mapping) and _is_json(v)),
]
