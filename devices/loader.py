"""A device file (YAML) -> checked entries -> the frozen dataclasses of `schema`.

Nothing is guessed: an unknown or a missing key, a wrong unit or status, a source that is not listed, a value outside
its range are `UsageError`s that start with `file:line:`.
"""

import dataclasses
import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..yamlfile import Place, read
from .checks import check_part
from .entries import Entry, absent_entry, read_entry
from .schema import KINDS, PARTS, TECHNOLOGIES, Array, Cell, Periphery, Provenance, Reference, Spec, specs

_HEAD = ("kind", "name", "title", "description", "references")
_CELL_HEAD = ("technology", "volatile")
_CHIP_HEAD = ("cell", "periphery")


@dataclass(frozen=True)
class Document:
    """What one file says, before it becomes a dataclass.

    `entries` maps attribute names to entries (of the array for a chip), `links` the names of a chip's cell and
    periphery to their places in the file.
    """

    kind: str
    path: Path
    head: dict[str, Any]
    entries: dict[str, Entry]
    references: dict[str, Reference]
    links: dict[str, Place]

    @property
    def name(self) -> str:
        """The name that the file gives itself."""
        return str(self.head["name"])


def read_document(path: Path, kind: str | None = None) -> Document:
    """Read and check one device file; `kind` is what is expected of it (None: whatever the file says it is).

    Raises `UsageError` with `file:line:` for everything that is wrong with the file.
    """
    root = read(path, "it must start with 'kind: cell', 'periphery' or 'chip'")
    top = root.mapping("the file")
    if "kind" not in top:
        root.fail(f"key 'kind' is missing; write one of: {', '.join(f'kind: {k}' for k in KINDS)}")
    found = top["kind"][1].text("kind")
    if found not in KINDS:
        top["kind"][1].fail(f"kind {found!r} must be one of: {', '.join(KINDS)}")
    if kind is not None and found != kind:
        hint = "; write a chip file with 'cell:', 'periphery:' and 'array:' that names it" if kind == "chip" else ""
        top["kind"][1].fail(f"this file describes a {found}, but a {kind} is needed here{hint}")
    body = "array" if found == "chip" else found
    head_keys = _HEAD + (_CELL_HEAD if found == "cell" else _CHIP_HEAD if found == "chip" else ())
    table = dict(specs(PARTS[body]))
    sections = dict.fromkeys(spec.key.split(".")[0] for spec in table.values())
    top = root.mapping(f"the {found} file", (*head_keys, *sections))
    optional = {name for name in sections if all(s.absent for s in table.values() if s.key.startswith(f"{name}."))}
    for name in (*head_keys, *sections):
        if name not in top and name not in optional:
            root.fail(_missing(name, f"the {found} file", top))
    references = _read_references(top["references"][1])
    entries = {}
    for section in sections:
        entries.update(_read_section(section, top.get(section), root, table, references))
    head: dict[str, Any] = {name: top[name][1].text(name) for name in ("name", "title", "description")}
    if found == "cell":
        head |= {"technology": _choice(top["technology"][1], "technology", TECHNOLOGIES)}
        head |= {"volatile": _choice(top["volatile"][1], "volatile", ("true", "false")) == "true"}
    links = {name: top[name][1] for name in _CHIP_HEAD} if found == "chip" else {}
    for name, place in links.items():
        place.text(name)
    return Document(found, path, head, entries, references, links)


def _missing(name: str, what: str, present: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(present), n=1, cutoff=0.6)
    return f"key {name!r} is missing in {what}" + (f" (is {near[0]!r} meant to be it?)" if near else "")


def _choice(place: Place, name: str, allowed: tuple[str, ...]) -> str:
    value = place.text(name)
    if value not in allowed:
        place.fail(f"{name} {value!r} must be one of: {', '.join(allowed)}")
    return value


def _read_references(place: Place) -> dict[str, Reference]:
    found = {}
    for key, (_, body) in place.mapping("references").items():
        parts = body.mapping(f"reference {key!r}", ("citation", "doi"))
        if "citation" not in parts:
            body.fail(f"reference {key!r} has no citation")
        doi = parts["doi"][1].text("doi") if "doi" in parts and not parts["doi"][1].is_null else None
        found[key] = Reference(key, " ".join(parts["citation"][1].text("citation").split()), doi)
    return found


def _read_section(
    section: str,
    pair: tuple[Place, Place] | None,
    root: Place,
    table: dict[str, Spec],
    references: dict[str, Reference],
) -> dict[str, Entry]:
    wanted = {spec.key.split(".")[1]: (name, spec) for name, spec in table.items() if spec.key.split(".")[0] == section}
    key_place, given = (root, {}) if pair is None else (pair[0], pair[1].mapping(f"section {section!r}", wanted))
    entries = {}
    for key, (name, spec) in wanted.items():
        if key in given:
            entries[name] = read_entry(spec.key, *given[key], spec, references)
        elif spec.absent:
            entries[name] = absent_entry(key_place.where, spec)
        else:
            key_place.fail(
                f"key '{section}.{key}' is missing ({spec.meaning}); "
                + ("write {value: null, note: ...} when it is unknown" if spec.nullable else "the simulator needs it")
            )
    return entries


def resolve(part: str, entries: dict[str, Entry]) -> dict[str, Entry]:
    """Pick the value that fits from each table {bits: value}; `UsageError` when the bit count is not in it."""
    table = dict(specs(PARTS[part]))
    by_key = {spec.key: name for name, spec in table.items()}
    resolved = dict(entries)
    for name, spec in table.items():
        entry = entries[name]
        if spec.by is None:
            continue
        counter = entries[by_key[spec.by]]
        only_count_is_new = counter.provenance.status == "override" != entry.provenance.status
        if isinstance(entry.value, dict):
            bits = counter.value
            if bits not in entry.value:
                known = ", ".join(str(b) for b in sorted(entry.value))
                raise UsageError(
                    f"{counter.where}: {spec.key} is not known at {spec.by} = {bits}; known: {known}. "
                    f"Choose one of these or give {spec.key} too"
                )
            assert entry.texts is not None
            between = (entry.ranges or {}).get(bits)
            provenance = dataclasses.replace(entry.provenance, text=entry.texts[bits], range=between)
            resolved[name] = Entry(entry.where, entry.value[bits], provenance)
        elif only_count_is_new and not spec.any_bits and entry.value is not None:
            raise UsageError(
                f"{counter.where}: {spec.key} ({entry.provenance.text}) is known only for the {spec.by} of the file; "
                f"set {spec.key} too"
            )
        elif entry.ranges:  # a single number was set in place of the table
            between = entry.ranges.get(counter.value)
            resolved[name] = dataclasses.replace(entry, provenance=dataclasses.replace(entry.provenance, range=between))
    return resolved


def build(part: str, head: dict[str, Any], entries: dict[str, Entry]) -> tuple[Any, dict[str, Provenance]]:
    """The dataclass of a part and the provenance of its values, keyed "cell.g_max_siemens" and so on.

    Raises `UsageError` when values contradict each other (g_min above g_max and the like).
    """
    resolved = resolve(part, entries)
    check_part(part, resolved)
    values = {name: entry.value for name, entry in resolved.items()}
    provenance: dict[str, Provenance] = {}
    for name, entry in resolved.items():
        if entry.points:
            provenance |= {f"{part}.{name}[{i}]": point for i, point in enumerate(entry.points)}
        else:
            provenance[f"{part}.{name}"] = entry.provenance
    result: Cell | Array | Periphery = PARTS[part](**head, **values)
    return result, provenance
