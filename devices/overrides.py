"""Single values set by the user: `chip.adc.bits=6`, `cell.g_max=50 uS`, `read.noise=null`."""

from collections.abc import Mapping

from ..errors import UsageError, nearest
from .entries import Entry, parse_value
from .schema import PARTS, Provenance, Spec, specs


def _targets() -> dict[str, tuple[str, str, Spec]]:
    """Full key ("cell.conductance.g_max", "array.rows") -> (part, attribute, spec)."""
    found = {}
    for part, kind in PARTS.items():
        for name, spec in specs(kind):
            found[spec.key if part == "array" else f"{part}.{spec.key}"] = (part, name, spec)
    return found


def _is_short_for(given: list[str], full: list[str]) -> bool:
    """Whether `given` is `full` with some of the sections in front of the last name left out."""
    rest = iter(full)
    return given[-1] == full[-1] and all(token in rest for token in given)


def resolve_key(key: str) -> tuple[str, str, Spec]:
    """The (part, attribute, spec) that a key means; sections may be left out where that is unambiguous.

    Raises `UsageError` naming the nearest keys when there is none, and the candidates when there are several.
    """
    targets = _targets()
    given = key.removeprefix("chip.").split(".")
    matches = [full for full in targets if _is_short_for(given, full.split("."))]
    if len(matches) == 1:
        return targets[matches[0]]
    if matches:
        raise UsageError(f"key {key!r} could be any of: {', '.join(matches)}; write one of them")
    keys = {".".join(full.split(".")[i:]) for full in targets for i in range(full.count(".") + 1)}
    keys |= {f"{full.split('.')[0]}.{full.split('.')[-1]}" for full in targets} | {"cell", "periphery"}
    start = "chip." if key.startswith("chip.") else ""
    section = ".".join(given[:-1]) + "." if given[:-1] else ""
    beside = sorted(name.removeprefix(section) for name in keys if section and name.startswith(section))
    hint = nearest(given[-1], beside, start + section)
    if hint == ";":  # nothing near in the section that was named
        hint = nearest(".".join(given), sorted(keys), start)
    raise UsageError(f"unknown key {key!r}{hint} 'edge-adapt devices show NAME' lists the keys")


def apply(
    parts: Mapping[str, dict[str, Entry]], overrides: Mapping[str, str], written: Mapping[str, str] | None = None
) -> dict[str, dict[str, Entry]]:
    """The entries of "cell", "array" and "periphery" with the overrides put in, their status "override". `written`: the
    keys as the user wrote them, by those of `overrides`; messages name them so.

    Raises `UsageError` for an unknown or ambiguous key, a wrong unit or a value outside its range.
    """
    changed = {part: dict(entries) for part, entries in parts.items()}
    given: dict[tuple[str, str], str] = {}
    for key, text in overrides.items():
        shown_key = (written or {}).get(key, key)
        where = f"setting {shown_key}={text}"
        try:
            part, name, spec = resolve_key(shown_key)
            value = _value(str(text).strip(), spec)
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
        if (part, name) in given:
            raise UsageError(f"{where}: {given[part, name]!r} sets the same number; give one of them")
        given[part, name] = key
        shown = "null" if value in (None, ()) else str(text).strip()
        was = changed[part][name]
        provenance = Provenance(shown, None, "override", "set by the user", was.provenance.range)
        changed[part][name] = Entry(where, value, provenance, ranges=was.ranges)
    return changed


def _value(text: str, spec: Spec) -> object:
    if text == "null":
        if not spec.nullable:
            raise UsageError(f"{spec.key} cannot be null: the simulator needs it ({spec.meaning})")
        return () if spec.kind == "relaxation" else None
    if spec.kind == "relaxation":
        raise UsageError("a table cannot be set here, only switched off with 'null'; write it in a cell file")
    return parse_value(text, spec)
