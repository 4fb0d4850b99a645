"""Devices as plain data: what `devices show`, `diff` and `validate` print, and what a report needs to cite."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError, unknown_name
from .loader import Document, build, read_document
from .presets import chip_from, document, find, list_presets
from .schema import KINDS, PARTS, Chip, Provenance, Reference, RelaxationPoint, specs
from .units import pretty


@dataclass(frozen=True)
class Difference:
    """One value that two devices do not share.

    `change` is "changed", "added" (unknown in the first device) or "removed" (unknown in the second); `before`/`after`
    are SI values of `unit` as in `describe`, `before_text`/`after_text` the same with readable units.
    """

    key: str
    change: str
    unit: str
    before: Any
    after: Any
    before_text: str
    after_text: str


def find_any(name_or_path: str | Path, first: str = "chip") -> Document:
    """The document of a shipped chip, cell or periphery (looked for in this order, but `first` of all as that kind), or
    of a file of any kind.

    Raises `UsageError` with the nearest names.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or "/" in text or "\\" in text or text.endswith((".yaml", ".yml")):
        return read_document(find("device", name_or_path))
    for kind in (first, "chip", "cell", "periphery"):
        if text in list_presets(kind):
            return document(kind, find(kind, text))
    every = {name for kind in KINDS for name in list_presets(kind)}
    raise UsageError(unknown_name("device", text, every) + "; or give the path of a YAML file")


def describe_chip(chip: Chip) -> dict[str, Any]:
    """A loaded chip as JSON-able data: head, one record per number (see `describe`), references."""
    rows = [row for part in PARTS for row in _rows(part, getattr(chip, part), chip.provenance)]
    head = {"kind": "chip", "name": chip.name, "title": chip.title, "description": chip.description}
    head |= {"cell": chip.cell.name, "periphery": chip.periphery.name}
    return {**head, **_cell_head(chip.cell), "values": rows, "references": _references(chip.references, rows)}


def describe(found: Document, overrides: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A device document as JSON-able data.

    "values" holds one record per number with `key` (the override key), `attribute` (of the dataclass), `value` (SI,
    None = unknown, "unlimited"), `unit`, `text` (readable unit), `source`, `status`, `note`,
    `meaning`, `range` (None, or `low`, `high`, their texts, `source`, `note`).
    Raises `UsageError` when values contradict each other or an override is wrong; only a chip takes overrides.
    """
    if found.kind == "chip":
        return describe_chip(chip_from(found, overrides))
    if overrides:
        raise UsageError(f"--set changes a chip, but {found.name!r} is a {found.kind}; name the chip instead")
    part, provenance = build(found.kind, found.head, found.entries)
    rows = _rows(found.kind, part, provenance)
    head: dict[str, Any] = {"kind": found.kind, "name": part.name, "title": part.title, "description": part.description}
    more = _cell_head(part) if found.kind == "cell" else {}
    return {**head, **more, "values": rows, "references": _references(found.references.values(), rows)}


def _cell_head(cell: Any) -> dict[str, Any]:
    return {"technology": cell.technology, "volatile": cell.volatile}


def _rows(part: str, values: Any, provenance: Mapping[str, Provenance]) -> list[dict[str, Any]]:
    rows = []
    for name, spec in specs(PARTS[part]):
        value = getattr(values, name)
        key = spec.key if part == "array" else f"{part}.{spec.key}"
        points = value if spec.kind == "relaxation" and value else None
        for index, item in enumerate(points or [value]):
            suffix = f"[{index}]" if points else ""
            record: dict[str, Any] = {"key": key + suffix, "attribute": f"{part}.{name}{suffix}"}
            record |= {"value": _plain(item), "unit": spec.unit, "text": _text(item, spec.unit)}
            origin = provenance[f"{part}.{name}{suffix}"]
            record |= {"source": origin.source, "status": origin.status, "note": origin.note, "meaning": spec.meaning}
            record["range"] = None if origin.range is None else dataclasses.asdict(origin.range)
            rows.append(record)
    return rows


def _plain(value: Any) -> Any:
    if isinstance(value, RelaxationPoint):
        return {
            "time_seconds": value.time_seconds,
            "sigma_coefficients_siemens": list(value.sigma_coefficients_siemens),
            **({"mean_coefficients_siemens": list(means)} if (means := value.mean_coefficients_siemens) else {}),
        }
    if isinstance(value, tuple):
        return list(value) or None
    return "unlimited" if isinstance(value, float) and math.isinf(value) else value


def _text(value: Any, unit: str) -> str:
    if value is None or value == ():
        return "unknown"
    if isinstance(value, RelaxationPoint):
        sigma, mean = (
            ", ".join(f"{c * 1e6:.6g}" for c in coefficients)
            for coefficients in (value.sigma_coefficients_siemens, value.mean_coefficients_siemens)
        )
        return f"{pretty(value.time_seconds, 's')}: [{sigma}] uS" + (f", mean [{mean}] uS" if mean else "")
    if isinstance(value, tuple):
        return f"[{', '.join(f'{item:.6g}' for item in value)}]"
    return value if isinstance(value, str) else pretty(value, unit)


def _references(references: Iterable[Reference], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"key": item.key, "citation": item.citation, "doi": item.doi, "used_for": used}
        for item in references
        if (used := [row["key"] for row in rows if item.key in (row["source"], (row["range"] or {}).get("source"))])
    ]


def references_used(chip: Chip) -> list[dict[str, Any]]:
    """The sources behind a chip's numbers: `key`, `citation`, `doi` and `used_for` (the keys of the numbers)."""
    references: list[dict[str, Any]] = describe_chip(chip)["references"]
    return references


def unknown_numbers(chip: Chip) -> list[tuple[str, str]]:
    """The numbers that the sources do not give, as (key, note); numbers that do not apply to the cell are left out.

    Keys of one section that share a note are joined ("cell.faults.stuck_low, stuck_high").
    """
    joined: dict[tuple[str, str], list[str]] = {}
    for row in describe_chip(chip)["values"]:
        if row["status"] == "unknown":
            section, _, name = row["key"].rpartition(".")
            joined.setdefault((section, row["note"]), []).append(name)
    return [(f"{section}.{', '.join(names)}", note) for (section, note), names in joined.items()]


def diff(first: dict[str, Any], second: dict[str, Any]) -> list[Difference]:
    """What differs between two descriptions (of `describe` or `describe_chip`), in the order of the file.

    Raises `UsageError` when they are of different kinds.
    """
    if first["kind"] != second["kind"]:
        raise UsageError(
            f"{first['name']!r} is a {first['kind']} and {second['name']!r} a {second['kind']}; compare two of one kind"
        )
    before = {row["key"]: row for row in first["values"]}
    after = {row["key"]: row for row in second["values"]}
    found = []
    for key in dict.fromkeys((*before, *after)):
        old, new = before.get(key), after.get(key)
        old_value, new_value = old and old["value"], new and new["value"]
        if old_value == new_value:
            continue
        change = "added" if old_value is None else "removed" if new_value is None else "changed"
        row = new or old
        assert row is not None
        texts = (old["text"] if old else "unknown", new["text"] if new else "unknown")
        found.append(Difference(key, change, row["unit"], old_value, new_value, *texts))
    return found


def validate(path: str | Path) -> dict[str, Any]:
    """Check a device file as far as loading it does; returns what it holds.

    The result has `kind`, `name`, `path`, `numbers` (how many), `by_status` (status -> count) and `unused_references`
    (keys that no number names). A chip's cell and periphery are checked with it. Raises `UsageError` with `file:line:`.
    """
    if str(path) in {name for kind in KINDS for name in list_presets(kind)} and not Path(path).exists():
        raise UsageError(f"{path} is a shipped device, which is valid; give the path of a YAML file of your own")
    found = read_document(find("device", Path(path)))
    described = describe(found)
    own = "array." if found.kind == "chip" else ""
    rows = [row for row in described["values"] if row["key"].startswith(own)]
    used = {item.source for entry in found.entries.values() for item in (entry.provenance, *entry.points)}
    used |= {
        between.source
        for entry in found.entries.values()
        for between in (entry.provenance.range, *(entry.ranges or {}).values()) if between
    }  # fmt: skip
    return {
        "kind": found.kind,
        "name": found.name,
        "path": str(found.path),
        "numbers": len(rows),
        "by_status": dict(Counter(row["status"] for row in rows)),
        "unused_references": [key for key in found.references if key not in used],
    }
