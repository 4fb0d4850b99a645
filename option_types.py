"""The types of options, from the annotations of a configuration: for files of options and for calls alike."""

import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import UsageError


def kinds_of(config: type, *left_out: str, **more: Any) -> dict[str, Any]:
    """Option -> the type of its value: the fields of a configuration (a dataclass), and `more`."""
    return {name: kind for name, kind in typing.get_type_hints(config).items() if name not in left_out} | more


def value_of(name: str, value: Any, kind: Any) -> Any:
    """A value as its type says: one or several where it takes several, a path where it takes a text.

    Raises:
        UsageError: it is of another type.
    """
    if typing.get_origin(kind) is tuple:
        one = typing.get_args(kind)[0]
        if typing.get_origin(one) is tuple:  # pairs of texts
            if not isinstance(value, Mapping):
                raise UsageError(f"{name} takes a mapping of KEY to VALUE; got {value!r}")
            return tuple((str(key), str(entry)) for key, entry in value.items())
        several = isinstance(value, Sequence) and not isinstance(value, str)
        return tuple(value_of(name, item, one) for item in (value if several else (value,)))
    union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    allowed = tuple(part for part in (typing.get_args(kind) if union else (kind,)) if part is not type(None))
    if isinstance(value, str) and not value and {str, Path} & {*allowed}:
        raise UsageError(f"{name} is an empty text; leave it out, or give a value")
    if str in allowed and isinstance(value, Path):
        return str(value)
    if Path in allowed and isinstance(value, str):
        return Path(value)
    if float in allowed and isinstance(value, int):
        allowed += (int,)
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        raise UsageError(f"{name} takes {_WORDS.get(allowed[0], 'another value')}; got {value!r}")
    return value


_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "True or False", Path: "the name of a folder"}
