"""Files that a user or a stranger gives: the only way that their bytes, and JSON, come in; and JSON that goes out.

A file is opened only if it is a regular one (no device, no pipe, no folder), and its length is compared with what a
file of its kind may have before a byte is read. JSON is read strictly: no NaN, no key twice, no number that nothing can
hold, no value that would take hundreds of megabytes for a few.
"""

import errno
import io
import json
import math
import os
import re
import stat
from pathlib import Path
from typing import Any, NoReturn

from .errors import nearest

JSON_BYTES = 32 << 20
"""No JSON file that is read here is longer: a report of ten thousand records has half of it."""
STATE_BYTES = 2 << 30
"""No file of a state to start from (`Method.warm_start`) is longer."""
_DEPTH, _DIGITS = 100, 300
_CONTAINERS, _KEYS, _VALUES = 1_000_000, 1_000_000, 4_000_000
"""So many objects and lists, keys and values may be in it: Python takes up to 250 bytes for each."""
_UNREAD = "not JSON that can be read"
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_LONE = re.compile("[\ud800-\udfff]")


class NotJsonError(ValueError):
    """A text is no JSON, or holds what no file of ours may."""


def open_file(path: str | Path, most_bytes: int, *, follow: bool = True) -> io.BufferedReader:
    """A regular file to read from. Raises `OSError` for anything else, and for a file that is longer than `most_bytes`.

    `follow`: whether the file may be a link.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except ValueError as error:  # a name that no file can have
        raise OSError(errno.EINVAL, str(error), str(path)) from None
    except OSError as error:
        if error.errno == errno.ELOOP and not follow:
            raise OSError(errno.ELOOP, "it is a symbolic link; give the file itself", str(path)) from None
        raise
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            if stat.S_ISDIR(found.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
            raise OSError(errno.EINVAL, f"it is {_kind(found.st_mode)}, not a regular file", str(path))
        if found.st_size > most_bytes:
            raise OSError(
                errno.EFBIG, f"it has {found.st_size} bytes, and a file of this kind at most {most_bytes}", str(path)
            )
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def read_bytes(path: str | Path, most_bytes: int, *, follow: bool = True) -> bytes:
    """All of a file; see `open_file` for what it raises."""
    with open_file(path, most_bytes, follow=follow) as file:
        content = file.read(most_bytes + 1)
        if len(content) > most_bytes:  # it grew meanwhile, or the file system does not tell lengths
            raise OSError(errno.EFBIG, f"it has more than {most_bytes} bytes", str(path))
        return content


def require_file(path: str | Path, most_bytes: int, *, follow: bool = True) -> int:
    """The length of a file that a library opens by its name. Raises as `open_file`."""
    with open_file(path, most_bytes, follow=follow) as file:
        return os.fstat(file.fileno()).st_size


def read_json(path: str | Path, most_bytes: int = JSON_BYTES, *, finite: bool = True) -> Any:
    """The value in a JSON file. Raises `OSError` when it cannot be read, `NotJsonError` for what `parse_json` refuses.

    `finite`: whether NaN and infinities are refused; other libraries write them.
    """
    return parse_json(read_bytes(path, most_bytes), finite=finite)


def parse_json(content: bytes | str, *, finite: bool = True) -> Any:
    """The value in a JSON text. Raises `NotJsonError`: what is wrong, in one line."""
    if isinstance(content, bytes):
        try:
            content = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise NotJsonError(f"not JSON: byte {error.start} is not UTF-8") from None
    for signs, most, what in (
        ("[{", _CONTAINERS, "lists and objects"), (":", _KEYS, "keys"), (",", _VALUES, "values"),
    ):  # fmt: skip
        if sum(map(content.count, signs)) > most:
            raise NotJsonError(f"{_UNREAD}: more than {most} {what}")
    try:
        value = json.loads(
            content, object_pairs_hook=_object, parse_int=_whole, parse_constant=_refused if finite else float,
            parse_float=_finite if finite else float,
        )  # fmt: skip
    except RecursionError:
        raise NotJsonError(f"{_UNREAD}: nested deeper than {_DEPTH} levels") from None
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in content else ""
        raise NotJsonError(f"not JSON ({error.msg} at {line}column {error.colno})") from None
    _require_shallow(value, _HALF.search(content) is not None)
    return value


def json_text(value: Any, indent: int | None = None) -> str:
    """The value as strict JSON: what is no finite number is null."""
    try:
        return json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(_without_nan(value), indent=indent, ensure_ascii=False, allow_nan=False)


def _kind(mode: int) -> str:
    kinds = (
        (stat.S_ISFIFO, "a pipe"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
        (stat.S_ISSOCK, "a socket"),
    )  # fmt: skip
    return next((words for test, words in kinds if test(mode)), "something else")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise NotJsonError(f"the key {twice[:60]!r} stands twice in one object")
    return found


def _whole(text: str) -> int:
    if len(text) > _DIGITS:
        raise NotJsonError(f"{_UNREAD}: a number of {len(text)} digits, more than {_DIGITS}")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise NotJsonError(f"{_UNREAD}: the number {text[:40]} is too large")
    return value


def _refused(name: str) -> NoReturn:
    raise NotJsonError(f"{name} is no JSON; null stands for what is no number")


def _require_shallow(value: Any, halves: bool) -> None:
    """Refuse deep nesting, which everything that walks through a value would stumble over, and, where the text has
    escapes of `halves`, half characters, which no text that is written may hold.
    """
    level: list[Any] = [value]
    for _ in range(_DEPTH + 1):
        inner: list[Any] = []
        for item in level:
            parts = [*item.keys(), *item.values()] if isinstance(item, dict) else item if isinstance(item, list) else ()
            inner += [part for part in parts if isinstance(part, dict | list)]
            for part in (*parts, item) if halves else ():
                if isinstance(part, str) and (found := _LONE.search(part)):
                    raise NotJsonError(f"{_UNREAD}: it holds half a character (\\u{ord(found[0]):04x} alone)")
        if not inner:
            return
        level = inner
    raise NotJsonError(f"{_UNREAD}: nested deeper than {_DEPTH} levels")


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def near_file(path: Path) -> str:
    """What follows the name of a file or folder that is not there: those beside it that may have been meant, or ""."""
    try:
        names = sorted(name for name in os.listdir(path.parent) if not name.startswith("."))
    except OSError:
        return ""
    return nearest(path.name, names).rstrip(";")
