"""How a record of a report is declared: a frozen dataclass whose fields say what they are, once.

    @record
    class Share:
        cells: Integer = says("cells programmed", "1", "simulated")
        energy_joules: Amount | None = says("write and verify energy", "J", "simulated")

From these follow the check of a report (`..schema`), its documentation (`..schema_docs`), `results.csv`, the tables of
runs and of what made a report, and the totals of `edge-adapt explain`.
"""

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from .kinds import LIST, OBJECT, Kind

T = TypeVar("T")

LABELS = ("measured", "simulated", "estimated")
"""How the figures of a record come about, where its fields leave it to the record."""


class _Late(enum.Enum):
    LATE = "late"  # an enum's member stays itself when it is sent to another process


LATE: Any = _Late.LATE
"""The default of a field that is known when everything else of its record is: it comes last in the JSON."""


@dataclass(frozen=True)
class Total:
    """Of a field that is a total: what `edge-adapt explain` multiplies, and what must add up to it.

    counts: the field of the same record with the event counts; ARRAYS where the arrays of the device are what counts.
    part: "write" where only the writing of cells belongs to it. components: the field with its shares. sequential: a
    time as if nothing overlapped.
    """

    counts: str
    part: str = ""
    components: str = ""
    sequential: bool = False


ARRAYS = "arrays"


@dataclass(frozen=True)
class Field:
    """One field of a record.

    path: its name; of `walk`, dotted from the top of the report, where `[]` steps into every object of a list. label:
    how the value comes about: `given` (an option or a fact of the input), `counted` (exact), `simulated`, `estimated`,
    or `record` (the `label` of the same record says it). at_least: fewest entries of a list. heading: of its column or
    line in the report's tables; "" in none. record: the class of the objects in it.
    """

    path: str
    kind: Kind
    meaning: str
    unit: str
    label: str
    nullable: bool
    choices: tuple[str, ...]
    at_least: int
    heading: str
    total: Total | None
    late: bool
    record: type | None

    @property
    def name(self) -> str:
        """The key in its object."""
        return self.path.rpartition(".")[2]


def says(
    meaning: str,
    unit: str = "",
    label: str = "given",
    *,
    choices: tuple[str, ...] = (),
    at_least: int = 0,
    heading: str = "",
    total: Total | None = None,
    default: Any = dataclasses.MISSING,
) -> Any:
    """A field of a `record`; see `Field`. `default`: nothing, or LATE."""
    said = {"meaning": meaning, "unit": unit, "label": label, "choices": choices, "at_least": at_least,
            "heading": heading, "total": total}  # fmt: skip
    return dataclasses.field(default=default, metadata=said)


def as_in(cls: type, name: str, *, label: str = "") -> Any:
    """The field of this name of another record, said there; only `label` may differ. Known from the start."""
    said = next(field for field in dataclasses.fields(typing.cast("Any", cls)) if field.name == name).metadata
    return dataclasses.field(metadata={**said, "label": label or said["label"]})


@typing.dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(says, as_in))
def record(cls: type[T]) -> type[T]:
    """Makes a class the declaration of a record: every field is given by its name."""
    return dataclass(frozen=True, kw_only=True)(cls)


def fields_of(cls: type) -> tuple[Field, ...]:
    """The fields of a record, in the order in which they are declared."""
    return _fields_of(cls)


@functools.cache
def _fields_of(cls: Any) -> tuple[Field, ...]:
    hints = typing.get_type_hints(cls, include_extras=True)
    found = []
    for field in dataclasses.fields(cls):
        kind, nullable, inner = _read(hints[field.name])
        late = field.default is LATE
        found.append(Field(field.name, kind, nullable=nullable, late=late, record=inner, **field.metadata))
    return tuple(found)


def _read(hint: Any) -> tuple[Kind, bool, type | None]:
    """Kind, whether it may be null, and the class of the records in it, of an annotation."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (one,) = (arg for arg in typing.get_args(hint) if arg is not types.NoneType)
        kind, _, inner = _read(one)
        return kind, True, inner
    if typing.get_origin(hint) is list:
        return LIST, False, typing.get_args(hint)[0]
    if dataclasses.is_dataclass(hint):
        return OBJECT, False, typing.cast("type", hint)
    return hint.__metadata__[0], False, None


def walk(cls: type, known: frozenset[type] = frozenset(), prefix: str = "") -> Iterator[Field]:
    """Every field of a record and of the records in it, with its path. What is declared in a class of `known` is left
    out: it is documented elsewhere.
    """
    inherited = {field.path for base in cls.__mro__ if base in known for field in fields_of(base)}
    for field in fields_of(cls):
        if field.path in inherited:
            continue
        path = f"{prefix}{field.path}"
        yield dataclasses.replace(field, path=path)
        if field.record is not None:
            yield from walk(field.record, known, f"{path}[]." if field.kind is LIST else f"{path}.")


def plain(thing: Any) -> Any:
    """A record as plain data: objects, lists and values, as they stand in the JSON."""
    if isinstance(thing, list):
        return [plain(entry) for entry in thing]
    if not dataclasses.is_dataclass(thing):
        return thing
    fields = sorted(fields_of(type(thing)), key=lambda field: field.late)
    missing = [field.path for field in fields if getattr(thing, field.path) is LATE]
    if missing:
        raise ValueError(f"{type(thing).__name__} is not finished: {', '.join(missing)}")
    return {field.path: plain(getattr(thing, field.path)) for field in fields}


def from_plain(cls: type[T], data: Mapping[str, Any]) -> T:
    """The record of an object that follows its schema."""
    values = {}
    for field in fields_of(cls):
        value = data[field.path]
        if field.record is not None and value is not None:
            inner = field.record
            value = [from_plain(inner, entry) for entry in value] if field.kind is LIST else from_plain(inner, value)
        values[field.path] = value
    return cls(**values)
