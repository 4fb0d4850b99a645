"""One number of a device file: from its YAML node, or from an override, to a checked SI value with its provenance."""

import dataclasses
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError, unknown_name
from ..yamlfile import Place
from .ranges import check_bounds, no_range, read_range, read_range_table
from .schema import DEFAULT, NULL_STATUSES, STATUSES, Provenance, Range, RelaxationPoint, Spec
from .units import parse_list, parse_number

_ENTRY_KEYS = ("value", "source", "status", "note", "range")
_POINT_KEYS = ("time", "sigma", "mean", "source", "status", "note")


@dataclass(frozen=True)
class Entry:
    """A checked value with its provenance; `where` is `file:line` or the override it comes from.

    `value` is None (unknown), a number, a string, a tuple, or for a table {bits: number}, with `texts` beside it, and
    `ranges` where the file gives any.
    """

    where: str
    value: Any
    provenance: Provenance
    texts: dict[int, str] | None = None
    ranges: dict[int, Range] | None = None
    points: tuple[Provenance, ...] = ()


def parse_value(text: str, spec: Spec) -> Any:
    """The SI value of a text under the rules of `spec`; `UsageError` says what is wrong and how to mend it."""
    if spec.kind == "choice":
        if text == "off" and "none" in spec.choices:
            return "none"
        if text not in spec.choices:
            raise UsageError(unknown_name("value", text, spec.choices))
        return text
    if spec.kind == "list":
        values = parse_list(text, spec.unit)
        if spec.length is not None and len(values) != spec.length:
            raise UsageError(f"{text!r} has {len(values)} numbers, {spec.length} are needed")
        for value in values:
            check_bounds(value, text, spec)
        return values
    if spec.unlimited and text == "unlimited":
        return float("inf")
    value = parse_number(text, spec.unit)
    if spec.kind == "integer":
        if not value.is_integer():
            raise UsageError(f"{text!r} must be a whole number")
        value = int(value)
    check_bounds(value, text, spec)
    return value


def read_entry(name: str, key: Place, node: Place, spec: Spec, sources: Collection[str]) -> Entry:
    """The entry `name: {value: ..., source: ..., status: ..., note: ...}` of a device file."""
    if spec.kind == "relaxation" and not node.is_mapping:
        return _read_points(name, node, spec, sources)
    if not node.is_mapping:
        node.fail(f"{name} must be written as {{value: ..., source: ..., status: ..., note: ...}}")
    parts = node.mapping(name, _ENTRY_KEYS)
    if "value" not in parts:
        key.fail(f"{name} has no value; write 'value: ...' (or 'value: null' with a note when it is unknown)")
    value = parts["value"][1]
    if "range" in parts and (why := no_range(spec)):
        parts["range"][0].fail(f"{name} takes no range: {why}")
    if value.is_null:
        return _unknown(name, key, parts, spec, sources)
    provenance = _provenance(name, key, parts, "", sources)
    if spec.kind == "relaxation":
        value.fail(f"{name} must be a list of {{time, sigma, source, status}}, or null with a note")
    if spec.by is not None and value.is_mapping:
        found = _read_table(name, value, spec, provenance)
        ranges = read_range_table(name, parts["range"][1], spec, sources, found.value) if "range" in parts else None
        return dataclasses.replace(found, ranges=ranges)
    text = value.text(name)
    number = _parse(name, value, text, spec)
    between = read_range(name, parts["range"][1], spec, sources, number) if "range" in parts else None
    return Entry(value.where, number, dataclasses.replace(provenance, text=text, range=between))


def absent_entry(where: str, spec: Spec) -> Entry:
    """The entry of a key that the file leaves out."""
    note = f"not in the file: {spec.absent}"
    if spec.default is None:
        return Entry(where, None, Provenance("null", None, NULL_STATUSES[1], note))
    return Entry(where, spec.default, Provenance(str(spec.default), None, DEFAULT, note))


def _parse(name: str, place: Place, text: str, spec: Spec) -> Any:
    try:
        return parse_value(text, spec)
    except UsageError as error:
        place.fail(f"{name}: {error}")


def _unknown(
    name: str, key: Place, parts: dict[str, tuple[Place, Place]], spec: Spec, sources: Collection[str]
) -> Entry:
    if not spec.nullable:
        parts["value"][1].fail(f"{name} cannot be null: the simulator needs it ({spec.meaning})")
    if "note" not in parts:
        key.fail(f"{name} is null and has no note; say in 'note: ...' why it is unknown or does not apply")
    note = parts["note"][1].text(f"the note of {name}")
    status = NULL_STATUSES[0]
    if "status" in parts:
        status = parts["status"][1].text(f"the status of {name}")
        if status not in NULL_STATUSES:
            parts["status"][1].fail(f"{name} is null: " + unknown_name("status", status, NULL_STATUSES))
    if "source" in parts:
        parts["source"][0].fail(f"{name} is null, so it has no source; leave 'source' out")
    value = () if spec.kind == "relaxation" else None
    between = read_range(name, parts["range"][1], spec, sources, None) if "range" in parts else None
    return Entry(key.where, value, Provenance("null", None, status, note, between))


def _provenance(
    name: str, key: Place, parts: dict[str, tuple[Place, Place]], text: str, sources: Collection[str]
) -> Provenance:
    for needed in ("source", "status"):
        if needed not in parts:
            key.fail(f"{name} has no {needed}; every number needs 'source: KEY' and 'status: {'|'.join(STATUSES)}'")
    source = parts["source"][1].text(f"the source of {name}")
    if source not in sources:
        parts["source"][1].fail(unknown_name("source", source, sources) + "; add it under 'references:'")
    status = parts["status"][1].text(f"the status of {name}")
    if status not in STATUSES:
        parts["status"][1].fail(unknown_name("status", status, STATUSES))
    note = "" if "note" not in parts or parts["note"][1].is_null else parts["note"][1].text(f"the note of {name}")
    if status in ("derived", "unverified") and not note:
        key.fail(f"{name} is {status} and has no note; say in 'note: ...' how it was found or what has to be checked")
    return Provenance(text, source, status, note)


def _read_table(name: str, node: Place, spec: Spec, provenance: Provenance) -> Entry:
    values: dict[int, Any] = {}
    texts: dict[int, str] = {}
    for bits_text, (bits_key, place) in node.mapping(f"the table of {name}").items():
        if not re.fullmatch(r"[1-9][0-9]{0,2}", bits_text):
            bits_key.fail(f"{name}: {bits_text!r} is not a number of bits")
        text = place.text(f"{name} at {bits_text} bits")
        if int(bits_text) in values:
            bits_key.fail(f"{name}: {bits_text} bits stand twice")
        values[int(bits_text)] = _parse(name, place, text, spec)
        texts[int(bits_text)] = text
    if not values:
        node.fail(f"the table of {name} is empty")
    return Entry(node.where, values, provenance, texts)


def _read_points(name: str, node: Place, spec: Spec, sources: Collection[str]) -> Entry:
    points: list[RelaxationPoint] = []
    provenances: list[Provenance] = []
    length: int | None = None
    for item in node.items(name):
        parts = item.mapping(f"a point of {name}", _POINT_KEYS)
        for needed in ("time", "sigma"):
            if needed not in parts:
                item.fail(f"a point of {name} has no {needed}")
        time_place, sigma_place = parts["time"][1], parts["sigma"][1]
        time_text, sigma_text = time_place.text("time"), sigma_place.text("sigma")
        time = _parse(f"{name} time", time_place, time_text, Spec("time", "s", "", open_low=True))
        coefficients = Spec("sigma", spec.unit, "", "list", low=float("-inf"))
        sigma = _parse(f"{name} sigma", sigma_place, sigma_text, coefficients)
        if points and time <= points[-1].time_seconds:
            time_place.fail(f"{name}: {time_text} does not come after the point before it; sort the points by time")
        if length is not None and len(sigma) != length:
            sigma_place.fail(f"{name}: {len(sigma)} coefficients, but the first point has {length}")
        length = len(sigma)
        mean: tuple[float, ...] = ()
        text = f"{time_text}: {sigma_text}"
        if "mean" in parts:
            mean_text = parts["mean"][1].text("mean")
            mean = _parse(f"{name} mean", parts["mean"][1], mean_text, coefficients)
            text += f", mean {mean_text}"
        points.append(RelaxationPoint(time, sigma, mean))
        provenances.append(_provenance(name, item, parts, text, sources))
    if not points:
        node.fail(f"{name} is an empty list; write {{value: null, note: ...}} when there is no data")
    return Entry(node.where, tuple(points), provenances[0], points=tuple(provenances))
