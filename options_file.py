"""A YAML file of options: `option: value` lines, names with `-` or `_`."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from . import yamlfile
from .errors import UsageError, unknown_name
from .option_types import value_of

Option = tuple[str, Any, str]
"""Name with `_`, value as plain data, and `file:line`."""


def read_options(path: Path) -> list[Option]:
    """What the file holds, unchecked; nothing for an empty one.

    Raises:
        UsageError: it cannot be read, is no mapping, or gives an option twice, be it once with `-` and once with `_`.
    """
    root = yamlfile.read_or_empty(path)
    if root is None or root.is_null:
        return []
    if not root.is_mapping:
        root.fail("expected `option: value` lines")
    found: dict[str, Option] = {}
    for written, (key, value) in root.mapping("the file").items():
        name = written.replace("-", "_")
        if name in found:
            key.fail(f"the option {written!r} is given twice (first in {found[name][2]}); `-` and `_` are the same")
        found[name] = (name, _settings(value) if name == "set" else value.plain(written), key.where)
    return list(found.values())


def typed(options: Iterable[Option], kinds: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a file as their configuration takes them; `set` becomes `settings`.

    Raises:
        UsageError: for an unknown name or a value of another type, with the line.
    """
    found = {}
    for key, value, where in options:
        name = "settings" if key == "set" else key
        if name not in kinds or key == "settings":
            names = [("set" if name == "settings" else name).replace("_", "-") for name in kinds]
            raise UsageError(f"{where}: {unknown_name('option', key, names)}")
        try:
            found[name] = value_of(f"`{key.replace('_', '-')}`", value, kinds[name])
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
    return found


def _settings(place: yamlfile.Place) -> dict[str, str]:
    """`set:` with its values as they are written: units, lists and words are for those who know the key."""
    if not place.is_mapping:
        place.fail("`set` holds `key: value` pairs")
    settings: dict[str, str] = {}
    for name, (key, value) in place.mapping("set").items():
        if plain_key(name) in map(plain_key, settings):
            key.fail(f"{name!r} is set twice; with `chip.` and without is the same key")
        settings[name] = value.raw(name)
    return settings


def plain_key(key: str) -> str:
    """A key of `--set` without the `chip.` that may stand in front."""
    return key.removeprefix("chip.")


def one_value(first: tuple[tuple[str, str], ...], then: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Settings of a file, then those of the command line, which win; `chip.KEY` and `KEY` are the same key.

    Raises:
        UsageError: the command line gives one key twice, with different values.
    """
    given: dict[str, tuple[str, str]] = {}
    for key, value in then:
        before = given.setdefault(plain_key(key), (key, value))
        if before[1] != value:
            raise UsageError(f"--set {before[0]}={before[1]} and --set {key}={value} set the same; give one of them")
    return (*((k, v) for k, v in first if plain_key(k) not in given), *given.values())
