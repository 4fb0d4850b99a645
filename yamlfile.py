"""YAML with positions: every complaint names the file and the line. The only reader of YAML there is.

It reads what a person means, where YAML 1.1 has surprises: only `true` and `false` are booleans (`off`, `no` and `on`
are words), `1e-6` is a number, `12:30` and `2024-01-01` are texts. What cannot be clear is refused: a key that stands
twice, `<<`, anchors and aliases, tags, numbers that start with 0, infinities.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from .errors import UsageError, unknown_name
from .inputs import near_file, read_bytes

_CORE = "tag:yaml.org,2002:"
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+(?:_[0-9]+)*")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:_[0-9]+)*\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_DIGITS_MAX = 300
_BYTES = 1 << 17
"""No YAML file that is read here is longer: the longest that comes along has a tenth of it."""


class _Loader(yaml.SafeLoader):
    """Composes nodes only. Of plain scalars it tells nothing but null from text; `Place.plain` does the rest."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012 - the library's own way, of the class

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.MarkedYAMLError(
                problem="anchors (&) and aliases (*) are not read; write the value out, or put it in quotes",
                problem_mark=event.start_mark,
            )
        return super().compose_node(parent, index)


_Loader.add_implicit_resolver(f"{_CORE}null", re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""])


@dataclass(frozen=True)
class Place:
    """A node of a YAML file together with the file it stands in."""

    path: Path
    node: yaml.Node

    @property
    def where(self) -> str:
        """`file:line`, the line counted from 1."""
        return f"{self.path}:{self.line}"

    @property
    def line(self) -> int:
        """The line it starts in, counted from 1."""
        return int(self.node.start_mark.line) + 1

    def fail(self, message: str) -> NoReturn:
        """Raise `UsageError` with `file:line: message`."""
        raise UsageError(f"{self.where}: {message}")

    @property
    def is_null(self) -> bool:
        """Whether the node is `null`, `~` or left empty."""
        return isinstance(self.node, yaml.ScalarNode) and self.node.tag == f"{_CORE}null"

    @property
    def is_mapping(self) -> bool:
        """Whether the node is a mapping."""
        return isinstance(self.node, yaml.MappingNode)

    @property
    def is_list(self) -> bool:
        """Whether the node is a list."""
        return isinstance(self.node, yaml.SequenceNode)

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
            if name == "<<" and key_node.style is None:
                key.fail("merge keys (<<) are not read; write the keys out")
            if name in found:
                key.fail(f"key {name!r} stands twice in {what} (first in line {found[name][0].line})")
            if names is not None and name not in names:
                key.fail(unknown_name("key", name, names, f"in {what}"))
            found[name] = (key, Place(self.path, value_node))
        return found

    def plain(self, what: str = "the file") -> Any:
        """The node as plain data: dict, list, str, int, float, bool or None.

        A text in quotes is a text, whatever it looks like. Raises `UsageError` for what cannot be clear (see above).
        """
        if self.is_mapping:
            return {name: value.plain(name) for name, (_, value) in self.mapping(what).items()}
        if self.is_list:
            return [item.plain(what) for item in self.items(what)]
        if self.is_null:
            return None
        assert isinstance(self.node, yaml.ScalarNode)
        text = str(self.node.value)
        return text if self.node.style is not None else self._scalar(text.strip())

    def raw(self, what: str) -> str:
        """A scalar as it is written, `null` for an empty one; a list as `[a, b]`."""
        if self.is_null:
            return "null"
        if self.is_list:
            return f"[{', '.join(item.raw(what) for item in self.items(what))}]"
        return self.text(what)

    def _scalar(self, text: str) -> Any:
        if text in _BOOLEANS:
            return _BOOLEANS[text]
        if _NOT_FINITE.fullmatch(text):
            self.fail(f"{text} is no number that can be worked with; write a finite one")
        if len(text) > _DIGITS_MAX or not _NUMBER.fullmatch(text):
            return text
        if doubt := leading_zero(text):
            self.fail(f"{doubt}; write it without, or in quotes as a text")
        digits = text.replace("_", "")
        value = int(digits) if _INTEGER.fullmatch(text) else float(digits)
        if not math.isfinite(value):
            self.fail(f"the number {text} is too large")
        return value


def leading_zero(text: str) -> str:
    """What is wrong with a number such as `017`, which YAML 1.1 and C read as octal; "" where nothing is."""
    return f"the number {text} starts with 0 (octal or decimal?)" if re.match(r"[-+]?0_?[0-9]", text) else ""


def _kind(place: Place) -> str:
    if place.is_null:
        return "an empty value"
    if isinstance(place.node, yaml.ScalarNode):
        return f"the value {place.node.value[:40]!r}"
    return "a mapping" if place.is_mapping else "a list"


def read(path: Path, hint: str = "") -> Place:
    """The root node of a YAML file; `hint` is what an empty file should hold.

    Raises `UsageError` when it cannot be read, is no YAML or empty, or a key stands twice anywhere in it.
    """
    root = read_or_empty(path)
    if root is None:
        raise UsageError(f"{path}:1: the file is empty{hint and '; ' + hint}")
    return root


def read_or_empty(path: Path) -> Place | None:
    """As `read`; None for a file that holds nothing but blanks and comments."""
    try:
        text = read_bytes(path, _BYTES).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        near = near_file(path) if isinstance(error, FileNotFoundError) else ""
        raise UsageError(f"cannot read {path}: {error.strerror or error}{near}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not a text file (byte {error.start} is not UTF-8)") from None
    try:
        node = yaml.compose(text, Loader=_Loader)
        root = None if node is None else Place(path, node)
        if root is not None:
            _check(root, "the file")
        return root
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        problem = str(error.problem or error.context)
        tab = "; a tab stands there: YAML is indented with blanks" if r"'\t'" in problem else ""
        raise UsageError(f"{path}:{line}: not valid YAML: {problem}{tab}") from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise UsageError(f"{path}:{line}: not valid YAML: it holds a character that no text has") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{path}:1: not valid YAML: {(str(error).splitlines() or ['?'])[0]}") from None
    except RecursionError:
        raise UsageError(f"{path}:1: nested too deeply") from None


def _check(place: Place, what: str) -> None:
    """Refuse tags, and keys that stand twice, in all of the file."""
    tags = {yaml.MappingNode: "map", yaml.SequenceNode: "seq", yaml.ScalarNode: "str"}
    if place.node.tag not in (f"{_CORE}{tags[type(place.node)]}", f"{_CORE}null"):
        place.fail(f"tags such as {place.node.tag.replace(_CORE, '!!')} are not read; write the value alone")
    if place.is_mapping:
        for name, (_, value) in place.mapping(what).items():
            _check(value, name)
    elif place.is_list:
        for item in place.items(what):
            _check(item, what)


def switch(value: Any) -> Any:
    """An option that is on or off: `true`, `yes`, `on` and their opposites as a boolean, anything else as it is."""
    words = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}
    return words.get(value.lower(), value) if isinstance(value, str) else value
