"""YAML with positions: every complaint names the file and the line."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import yaml

from ..errors import UsageError, unknown_name


@dataclass(frozen=True)
class Place:
    """A node of a YAML file together with the file it stands in."""

    path: Path
    node: yaml.Node

    @property
    def where(self) -> str:
        """`file:line`, the line counted from 1."""
        return f"{self.path}:{self.node.start_mark.line + 1}"

    def fail(self, message: str) -> NoReturn:
        """Raise `UsageError` with `file:line: message`."""
        raise UsageError(f"{self.where}: {message}")

    @property
    def is_null(self) -> bool:
        """Whether the node is `null`, `~` or left empty."""
        return isinstance(self.node, yaml.ScalarNode) and self.node.tag == "tag:yaml.org,2002:null"

    @property
    def is_mapping(self) -> bool:
        """Whether the node is a mapping."""
        return isinstance(self.node, yaml.MappingNode)

    def text(self, what: str) -> str:
        """The scalar's text as written; `UsageError` for a list, a mapping or an empty value."""
        if not isinstance(self.node, yaml.ScalarNode) or self.is_null or not self.node.value.strip():
            self.fail(f"{what} must be a single value, not {_kind(self)}")
        return str(self.node.value).strip()

    def items(self, what: str) -> list["Place"]:
        """The elements of a list; `UsageError` for anything else."""
        if not isinstance(self.node, yaml.SequenceNode):
            self.fail(f"{what} must be a list, not {_kind(self)}")
        return [Place(self.path, node) for node in self.node.value]

    def mapping(self, what: str, allowed: Iterable[str] | None = None) -> dict[str, tuple["Place", "Place"]]:
        """The mapping as name -> (key, value).

        Raises `UsageError` for anything else, for a key that stands there twice and for one not in `allowed`.
        """
        if not isinstance(self.node, yaml.MappingNode):
            self.fail(f"{what} must be a mapping (key: value), not {_kind(self)}")
        names = None if allowed is None else list(allowed)
        found: dict[str, tuple[Place, Place]] = {}
        for key_node, value_node in self.node.value:
            key = Place(self.path, key_node)
            name = key.text(f"a key of {what}")
            if name in found:
                key.fail(
                    f"key {name!r} stands twice in {what} (first in line {found[name][0].node.start_mark.line + 1})"
                )
            if names is not None and name not in names:
                key.fail(unknown_name(f"key in {what}", name, names))
            found[name] = (key, Place(self.path, value_node))
        return found


def _kind(place: Place) -> str:
    if place.is_null:
        return "an empty value"
    if isinstance(place.node, yaml.ScalarNode):
        return f"the value {place.node.value[:40]!r}"
    return "a mapping" if place.is_mapping else "a list"


def read(path: Path) -> Place:
    """The root node of a YAML file; `UsageError` when it cannot be read or is no YAML."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not a text file (byte {error.start} is not UTF-8)") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise UsageError(f"{path}:{line}: not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{path}:1: not valid YAML: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise UsageError(f"{path}:1: nested too deeply") from None
    if node is None:
        raise UsageError(f"{path}:1: the file is empty; it must start with 'kind: cell', 'periphery' or 'chip'")
    return Place(path, node)
