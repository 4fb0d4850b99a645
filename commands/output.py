"""What the command prints reaches any stream: symbols in letters where a stream has no more, nothing that breaks."""

import codecs
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_LETTERS = {
    "±": "+-", "µ": "u", "μ": "u", "×": "x", "·": "*", "–": "-", "—": "-", "−": "-", "…": "...", "→": "->", "←": "<-",
    "≥": ">=", "≤": "<=", "≈": "~", "\u03a9": "Ohm", "\u2126": "Ohm", "°": "deg ", "²": "^2", "³": "^3", "•": "*",
    "″": '"', "′": "'", "’": "'", "‘": "'", "“": "\"", "”": "\"", "√": "sqrt", "σ": "sigma", "Σ": "sum", "Δ": "delta",
    "\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u2011": "-",
}  # fmt: skip

_HANDLER, _JSON_HANDLER = "edge_adapt_letters", "edge_adapt_json"


def _in_letters(error: UnicodeError) -> tuple[str, int]:
    """An error handler of codecs: our symbols in letters, anything else by its number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    given = error.object[error.start : error.end]
    found = (_LETTERS.get(c) or c.encode("ascii", "backslashreplace").decode("ascii") for c in given)
    return "".join(found), error.end


def _in_json(error: UnicodeError) -> tuple[str, int]:
    """The same in JSON, where every character has its number and loses nothing."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2)), error.end


codecs.register_error(_HANDLER, _in_letters)
codecs.register_error(_JSON_HANDLER, _in_json)


@contextmanager
def safe_streams(as_json: bool = False) -> Iterator[None]:
    """Inside, no character breaks standard output or standard error; `as_json`: what goes to standard output is JSON,
    and stays so.

    Where the locale is expressly C (`LANG=C`), Python writes UTF-8 all the same: words for people go out in ASCII.
    """
    plain = _locale_is_c()
    before = []
    for stream, json in ((sys.stdout, as_json), (sys.stderr, False)):
        if hasattr(stream, "reconfigure"):
            before.append((stream, stream.encoding, stream.errors))
            encoding = "ascii" if plain and not json else stream.encoding
            stream.reconfigure(encoding=encoding, errors=_JSON_HANDLER if json else _HANDLER)
    try:
        yield
    finally:
        for stream, encoding, errors in before:
            if not stream.closed:
                stream.reconfigure(encoding=encoding, errors=errors)


def _locale_is_c() -> bool:
    """Whether the user asks for the C locale. (Python itself sets LC_CTYPE to C.UTF-8 then, where that is free.)"""
    if chosen := os.environ.get("LC_ALL"):
        return chosen in ("C", "POSIX")
    kinds = os.environ.get("LC_CTYPE", "")
    return os.environ.get("LANG") in ("C", "POSIX") and kinds.lower() in ("", "c", "posix", "c.utf-8", "c.utf8")
