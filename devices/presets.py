"""Finding devices: shipped ones by name, the user's own by path."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from ..errors import UsageError, unknown_name
from ..inputs import near_file
from ..paths import expanded
from . import overrides as override_module
from .checks import check_chip
from .entries import Entry
from .loader import Document, build, read_document
from .schema import KINDS, Cell, Chip, Periphery, Provenance, Reference

_FOLDERS = {"cell": "cells", "periphery": "peripheries", "chip": "chips"}


def preset_folder(kind: str) -> Path:
    """The folder of the shipped files of a kind ("cell", "periphery" or "chip")."""
    if kind not in _FOLDERS:
        raise UsageError(unknown_name("kind", kind, KINDS))
    return Path(__file__).parent / _FOLDERS[kind]


def list_presets(kind: str) -> list[str]:
    """The names of the shipped cells, peripheries or chips, sorted."""
    return [path.stem for path in preset_paths(kind)]


def preset_paths(kind: str) -> list[Path]:
    """The files of the shipped cells, peripheries or chips, sorted by name."""
    return sorted(preset_folder(kind).glob("*.yaml"), key=lambda path: path.stem)


def find(kind: str, name_or_path: str | Path, beside: Path | None = None) -> Path:
    """The file of a shipped preset, or a user's own file; a relative path counts from `beside` when that is given.

    Raises `UsageError` with the nearest names when there is neither.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or "/" in text or "\\" in text or text.endswith((".yaml", ".yml")):
        path = expanded(text)
        path = beside / path if beside is not None else path
        if not path.is_file():
            raise UsageError(f"there is no {kind} file {path}{near_file(path)}")
        return path
    names = list_presets(kind)
    if text not in names:
        label = "device" if kind == "chip" else kind
        raise UsageError(unknown_name(label, text, names) + "; or give the path of your own YAML file")
    return preset_folder(kind) / f"{text}.yaml"


@cache
def _shipped(path: Path, kind: str) -> Document:
    return read_document(path, kind)


def document(kind: str, path: Path) -> Document:
    """The checked document of a file from `find`: a shipped preset is read once, a user's file each time."""
    return _shipped(path, kind) if path.parent == preset_folder(kind) else read_document(path, kind)


def load_cell(name_or_path: str | Path) -> Cell:
    """A cell technology by name or path, in SI units. Raises `UsageError`."""
    found = document("cell", find("cell", name_or_path))
    cell: Cell = build("cell", found.head, found.entries)[0]
    return cell


def load_periphery(name_or_path: str | Path) -> Periphery:
    """A periphery by name or path, in SI units. Raises `UsageError`."""
    found = document("periphery", find("periphery", name_or_path))
    periphery: Periphery = build("periphery", found.head, found.entries)[0]
    return periphery


def load_chip(name_or_path: str | Path, overrides: Mapping[str, str] | None = None) -> Chip:
    """A chip (cell + array + periphery) by name or path, in SI units, with the provenance of every number.

    `overrides` maps keys such as "cell.g_max" or "chip.adc.bits" to values with units; the keys "cell" and "periphery"
    put another cell or periphery in. Raises `UsageError` for anything that is wrong in the files or the overrides.
    """
    return chip_from(document("chip", find("chip", name_or_path)), overrides)


def chip_from(found: Document, overrides: Mapping[str, str] | None = None) -> Chip:
    """The chip of a checked chip document, its cell and periphery loaded; see `load_chip`."""
    if overrides is not None and not isinstance(overrides, Mapping):
        raise UsageError(f"overrides must map keys to values, such as {{'adc.bits': '6'}}; got {overrides!r:.60}")
    single: dict[str, str] = {}
    written = {key.removeprefix("chip."): key for key in overrides or {}}
    for key, value in (overrides or {}).items():
        if single.setdefault(key.removeprefix("chip."), str(value)) != str(value):
            raise UsageError(f"setting {key}={value}: the same key is given with the value {single[key[5:]]!r} too")
    documents = {}
    for kind, place in found.links.items():
        swapped = single.pop(kind, None)
        try:
            path = find(kind, place.text(kind), found.path.parent) if swapped is None else find(kind, swapped)
        except UsageError as error:
            where = place.where if swapped is None else f"setting {kind}={swapped}"
            raise UsageError(f"{where}: {error}") from None
        documents[kind] = document(kind, path)
    parts: dict[str, dict[str, Entry]] = {
        "cell": documents["cell"].entries,
        "array": found.entries,
        "periphery": documents["periphery"].entries,
    }
    parts = override_module.apply(parts, single, written)
    check_chip(parts)
    cell, cell_provenance = build("cell", documents["cell"].head, parts["cell"])
    array, array_provenance = build("array", {}, parts["array"])
    periphery, periphery_provenance = build("periphery", documents["periphery"].head, parts["periphery"])
    references: dict[str, Reference] = {}
    provenance: dict[str, Provenance] = {}
    for part, origin, added in (
        ("cell", documents["cell"], cell_provenance),
        ("array", found, array_provenance),
        ("periphery", documents["periphery"], periphery_provenance),
    ):
        provenance |= _join(references, origin.references, added, part)
    used = {item.source for item in provenance.values()}
    kept = tuple(reference for key, reference in references.items() if key in used)
    return Chip(
        name=found.name,
        title=found.head["title"],
        description=found.head["description"],
        cell=cell,
        array=array,
        periphery=periphery,
        provenance=provenance,
        references=kept,
    )


def _join(
    references: dict[str, Reference], added: dict[str, Reference], provenance: dict[str, Provenance], part: str
) -> dict[str, Provenance]:
    """Add a part's references; a key that already means something else becomes "part/key"."""
    renamed = {}
    for key, reference in added.items():
        name = key if references.get(key, reference) == reference else f"{part}/{key}"
        references[name] = replace(reference, key=name)
        renamed[key] = name
    return {
        name: item if item.source is None else replace(item, source=renamed[item.source])
        for name, item in provenance.items()
    }
