"""Values of `adapter_config.json`, each checked under its key, and the modules that they let an adapter change."""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UsageError
from .patterns import MOST_SIGNS, match

CONFIG_FILE = "adapter_config.json"


class Kind(NamedTuple):
    """What a number may be: in words, and as a test."""

    words: str
    fits: Callable[[Any], bool]


def _is_number(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


RANK = Kind("a whole number, at least 1", lambda value: _is_number(value) and isinstance(value, int) and value >= 1)
ALPHA = Kind("a number other than zero", lambda value: _is_number(value) and value != 0)
FINITE = Kind("a number", _is_number)


@dataclass(frozen=True)
class Targets:
    """Which modules an adapter may change, by peft's rules: None, or nothing, where the config does not say.

    `modules`, `excluded`: ends of module paths, or one regular expression for whole paths. `layers`: of the modules
    that `modules` names by their ends, those in these layers; `patterns`: names of the lists that hold the layers.
    """

    modules: str | Sequence[str] | None = None
    excluded: str | Sequence[str] = ()
    layers: Sequence[int] = ()
    patterns: Sequence[str] = ()

    def left_out_by(self, module: str) -> str | None:
        """The key of the config by which peft leaves the module alone; None where it adapts it."""
        if self.excluded and _matches(self.excluded, module):
            return "exclude_modules"
        if self.modules is None or (isinstance(self.modules, str) and self.modules.lower() == "all-linear"):
            return None
        if not _matches(self.modules, module):
            return "target_modules"
        if not self.layers or isinstance(self.modules, str) or module in self.modules:
            return None
        # The first number behind a list; without a name of the list, behind any that is not the model itself.
        rules = [rf"(?:.*?\.)?{pattern}\.(\d+)\." for pattern in self.patterns] or [r".*?\.[^.]*\.(\d+)\."]
        found = next((groups for rule in rules if (groups := match(rule, module))), None)
        return None if found and int(found[1] or -1) in self.layers else "layers_to_transform"


def _matches(rule: str | Sequence[str], module: str) -> bool:
    if isinstance(rule, str):
        return match(rule, module, whole=True) is not None
    return any(module == end or module.endswith(f".{end}") for end in rule)


def shown(value: Any) -> str:
    """A value of a config as JSON, cut where it is long."""
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


class Values:
    """The values of one config. Every method raises `UsageError` with the file, the key, what is there and what may be;
    a key that may be absent may be null.
    """

    def __init__(self, path: Path, raw: Mapping[str, Any]) -> None:
        self.path = path
        self.raw = raw

    def number(self, key: str, kind: Kind) -> Any:
        """A number that must be there."""
        if key not in self.raw:
            raise UsageError(f"{self.path} lacks the key {key!r}")
        return self._fitting(key, self.raw[key], kind)

    def switch(self, key: str) -> bool:
        value = self.raw.get(key)
        return self._fitting(key, value, Kind("true or false", lambda v: v is None or isinstance(v, bool))) is True

    def text(self, key: str) -> str:
        value = self.raw.get(key)
        return self._fitting(key, value, Kind("a text", lambda v: v is None or isinstance(v, str))) or ""

    def names(self, key: str) -> list[str]:
        """A list of texts."""
        return list(self._fitting(key, self.raw.get(key), Kind("a list of names", _is_list_of(str))) or ())

    def patterns(self, key: str, kind: Kind) -> dict[str, Any]:
        """Numbers by regular expression of a module path."""
        entries = self.raw.get(key) or {}
        self._fitting(key, entries, Kind("an object of numbers by module path", lambda v: isinstance(v, dict)))
        for pattern, value in entries.items():
            self._compiled(key, pattern)
            self._fitting(f"{key}[{json.dumps(pattern)}]", value, kind)
        return dict(entries)

    def targets(self) -> Targets:
        """Where the adapter may be."""
        layers = self.raw.get("layers_to_transform")
        layers = [layers] if isinstance(layers, int) else layers
        kind = Kind("a layer's number or a list of them", _is_list_of(int))
        patterns = self._names_or_one("layers_pattern")
        patterns = [patterns] if isinstance(patterns, str) else patterns
        for pattern in patterns or ():
            self._compiled("layers_pattern", pattern)
        return Targets(
            modules=self._one_pattern("target_modules") or None,
            excluded=self._one_pattern("exclude_modules") or (),
            layers=tuple(self._fitting("layers_to_transform", layers, kind) or ()),
            patterns=tuple(patterns or ()),
        )

    def _one_pattern(self, key: str) -> str | Sequence[str] | None:
        value = self._names_or_one(key)
        if isinstance(value, str):
            self._compiled(key, value)
        return value

    def _names_or_one(self, key: str) -> str | Sequence[str] | None:
        kind = Kind("a text or a list of them", lambda value: isinstance(value, str) or _is_list_of(str)(value))
        found: str | Sequence[str] | None = self._fitting(key, self.raw.get(key), kind)
        return found

    def _fitting(self, key: str, value: Any, kind: Kind) -> Any:
        if not kind.fits(value):
            raise UsageError(f"{self.path}: {key} must be {kind.words}; got {shown(value)}")
        return value

    def _compiled(self, key: str, pattern: str) -> None:
        if len(pattern) > MOST_SIGNS:
            raise UsageError(f"{self.path}: {key} holds a pattern of {len(pattern)} signs; allowed are {MOST_SIGNS}")
        try:
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise UsageError(
                f"{self.path}: {key} holds {json.dumps(pattern)}, which is no regular expression: {error}"
            ) from error


def _is_list_of(kind: type) -> Callable[[Any], bool]:
    """Whether a value is a list of such things, or null."""
    return lambda value: (
        value is None
        or (isinstance(value, list) and all(isinstance(item, kind) and not isinstance(item, bool) for item in value))
    )
