"""Plain dataclasses from JSON, strictly: an unknown, missing or mistyped key is an error that names its place."""

import dataclasses
import types
import typing
import unicodedata
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class Within(NamedTuple):
    """The range of a number, ends included: `Annotated[int, Within(1, 9)]`."""

    least: float
    most: float


def build(kind: type[T], data: object, where: str) -> T:
    """An instance of the dataclass `kind` from parsed JSON.

    Fields may be str, int, float, bool, `X | None`, `tuple[X, ...]`, `Mapping[str, X]`, `Any`, dataclasses of these,
    and numbers `Within` a range. Whole numbers pass for float. No text may hold control characters. Raises
    `ValueError`: what is wrong, and where.
    """
    _require_text(data, where)
    return _convert(kind, data, where)


def plain(value: Any) -> Any:
    """The reverse of `build`: dataclasses, tuples and mappings as JSON objects and lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value


def _convert(kind: Any, data: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return data
    if origin is typing.Annotated:
        return _limited(_convert(arguments[0], data, where), arguments[1], where)
    if origin in (typing.Union, types.UnionType):
        return None if data is None else _convert(next(a for a in arguments if a is not type(None)), data, where)
    if origin is tuple:
        items = _checked(list, data, where)
        return tuple(_convert(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(items))
    if origin is Mapping:
        return {
            key: _convert(arguments[1], item, f"{where}.{key}") for key, item in _checked(dict, data, where).items()
        }
    return _dataclass(kind, data, where) if dataclasses.is_dataclass(kind) else _checked(kind, data, where)


def _limited(value: Any, limit: Within, where: str) -> Any:
    if value is not None and not limit.least <= value <= limit.most:
        raise ValueError(f"{where} must be from {limit.least:,} to {limit.most:,}, not {_cut(value)}")
    return value


def _dataclass(kind: Any, given: Any, where: str) -> Any:
    data = _checked(dict, given, where)
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if unknown := sorted(data.keys() - fields.keys()):
        raise ValueError(f"unknown key {unknown[0]!r} in {where}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in data:
            raise ValueError(f"no key {name!r} in {where}")
    return kind(**{name: _convert(hints[name], item, f"{where}.{name}") for name, item in data.items()})


def _checked(kind: type, data: Any, where: str) -> Any:
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        try:
            return float(data)
        except OverflowError:
            raise ValueError(f"{where} is a number that is too large") from None
    if not isinstance(data, kind) or (isinstance(data, bool) and kind is not bool):
        names = {list: "a list", dict: "an object", str: "a string", int: "a whole number", float: "a number"}
        raise ValueError(f"{where} must be {names.get(kind, kind.__name__)}, not {type(data).__name__}")
    return data


def _cut(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _require_text(data: Any, where: str) -> None:
    """Raise `ValueError` for a text, wherever in the data, that would do something to the terminal that shows it."""
    if isinstance(data, str):
        if not data.isprintable() and any(unicodedata.category(sign) in ("Cc", "Cs") for sign in data):
            raise ValueError(f"{where} holds a control character: {_cut(data)}")
    elif isinstance(data, Mapping):
        for key, value in data.items():
            _require_text(key, f"a key of {where}")
            _require_text(value, f"{where}.{key}")
    elif isinstance(data, list):
        for number, value in enumerate(data):
            _require_text(value, f"{where}[{number}]")
