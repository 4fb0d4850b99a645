"""The bytes of a user's file as text: by its byte order mark, by the encoding that was asked for, else UTF-8."""

import codecs
import re
from pathlib import Path

from ..errors import UsageError
from ..inputs import near_file, read_bytes

TEXT_BYTES, LINES, FIELDS = 96 << 20, 1_000_000, 4_000_000
"""No file of examples that is read here is longer, or has more lines, or fields of a table."""
LINE_SIGNS = 1 << 20
"""No text of an example is longer."""

NO_TEXT = (
    (re.compile(rb"\x1f\x8b"), "compressed by gzip"),
    (re.compile(rb"BZh[1-9]1AY&SY"), "compressed by bzip2"),
    (re.compile(rb"\xfd7zXZ\x00"), "compressed by xz"),
    (re.compile(rb"\x28\xb5\x2f\xfd"), "compressed by zstd"),
    (re.compile(rb"PK\x03\x04"), "a ZIP archive, as spreadsheets (.xlsx) are"),
    (re.compile(rb"PAR1.*PAR1\Z", re.DOTALL), "a Parquet file"),
    (re.compile(rb"SQLite format 3\x00"), "an SQLite data base"),
    (re.compile(rb"%PDF-1"), "a PDF"),
)
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UNDECODED = re.compile("[\udc80-\udcff]")
_LONE = re.compile("[\ud800-\udfff]")
_ENDS = re.compile(r"\r\n|\n|\r")


def check_encoding(name: str) -> None:
    """Raise `UsageError` unless Python knows an encoding of texts by this name."""
    try:
        known = codecs.lookup(name)
    except (LookupError, ValueError):
        known = None
    if known is None or not getattr(known, "_is_text_encoding", True):
        raise UsageError(f"unknown encoding {name!r}; write for example utf-8, utf-16, latin-1 or cp1252")


def read_text(path: Path, encoding: str | None = None) -> str:
    """The text of a file; see `decode`. Raises `UsageError` also when it cannot be read."""
    try:
        content = read_bytes(path, TEXT_BYTES)
    except OSError as error:
        near = near_file(path) if isinstance(error, FileNotFoundError) else ""
        raise UsageError(f"{path} cannot be read: {error.strerror or error}{near}") from error
    return decode(content, str(path), encoding)


def decode(content: bytes, where: str, encoding: str | None = None) -> str:
    """The text without its byte order mark. Bytes that are not of the encoding stay in it as lone surrogates, so that
    their line can be named (`problem`).

    Raises:
        UsageError: the file is compressed or of another kind, or its encoding cannot be guessed or does not fit.
    """
    if found := next((kind for start, kind in NO_TEXT if start.match(content)), None):
        raise UsageError(f"{where} is {found}; unpack or export it as text first (.csv, .jsonl)")
    mark, by_mark = next((found for found in MARKS if content.startswith(found[0])), (b"", None))
    if by_mark and encoding and not _fits(encoding, by_mark, mark):
        raise UsageError(
            f"{where} starts with the byte order mark of {by_mark}, not of {encoding}; leave --encoding out"
        )
    if encoding and not by_mark and codecs.lookup(encoding).name in ("utf-16", "utf-32"):
        raise UsageError(
            f"{where} has no byte order mark, so the order of its bytes is unknown; give --encoding {encoding}-le or "
            f"{encoding}-be"
        )
    chosen = encoding or by_mark
    if chosen is None and (guess := _utf16_without_mark(content)):
        raise UsageError(f"{where} looks like UTF-16 without a byte order mark; give --encoding {guess}")
    try:
        text = content.decode(chosen or "utf-8", "surrogateescape")
    except (UnicodeError, ValueError) as error:
        raise UsageError(f"{where} is not {chosen} text ({error}); give another --encoding") from error
    return text.removeprefix("\ufeff")


def _fits(encoding: str, by_mark: str, mark: bytes) -> bool:
    """Whether an encoding is the one that a byte order mark tells, or its form in that order (utf-8-sig, utf-16-le)."""
    order = "-le" if mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF32_LE) else "-be"
    return codecs.lookup(encoding).name in (by_mark, f"{by_mark}-sig", f"{by_mark}{order}")


def _utf16_without_mark(content: bytes) -> str | None:
    """The encoding of a text most of whose characters have one zero byte, in the same place."""
    start = content[:4000]
    zeros = [start[place::2].count(0) for place in (0, 1)]
    if len(start) < 4 or max(zeros) < 0.2 * len(start) or min(zeros) > 0.1 * max(zeros):
        return None
    return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"


def lines(text: str) -> list[str]:
    """The lines without their ends: of Unix, Windows or old Macs, and no others (a JSON text may hold U+2028)."""
    if text.count("\n") > LINES or text.count("\r") > LINES:
        raise UsageError(f"a file of examples with more than {LINES} lines; give fewer")
    found = _ENDS.split(text)
    return found[:-1] if found[-1] == "" else found


def problem(text: str, encoding: str | None = None) -> str:
    """What keeps a piece of a file's text from being one, or ""."""
    if _UNDECODED.search(text):
        name = "UTF-8" if encoding is None else encoding
        return f"not {name} text; save the file as UTF-8, or give the encoding it has, such as --encoding cp1252"
    if "\0" in text:
        return "it holds a zero byte; if the file is UTF-16, give --encoding utf-16-le"
    return ""


def lone_surrogate(text: str) -> str:
    r"""What is wrong with a text that holds half of a character, such as JSON's "\ud800", or ""."""
    found = _LONE.search(text)
    return f"it holds half a character (\\u{ord(found[0]):04x} alone)" if found else ""
