"""How objects show themselves: one short line in Python, a small table in a notebook. Imports nothing of ours."""

import html
import unicodedata
from collections.abc import Mapping, Sequence


class Shown:
    """Base of classes whose fields hold arrays or long lists. They say in `_facts` what is worth showing."""

    def _facts(self) -> Mapping[str, object]:
        """What is shown, by name; short values."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._facts().items())})"

    def _repr_html_(self) -> str:
        return html_table([(name, str(value)) for name, value in self._facts().items()], type(self).__name__)


def shown(text: str) -> str:
    """A text from a file, a folder or another library, as it may go to a terminal: one line, and every sign that is
    none (escape sequences, line breaks, half characters, what turns the direction of writing round) by its number.

    >>> shown("red \\x1b[31m")
    'red \\\\x1b[31m'
    """
    if text.isprintable():
        return text
    return "".join(_numbered(sign) if _unseen(sign) else sign for sign in text)


_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def _unseen(sign: str) -> bool:
    return sign in _TURNS or unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp")


def _numbered(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")


def html_table(rows: Sequence[Sequence[str]], caption: str = "", heading: Sequence[str] = ()) -> str:
    """A table with escaped texts, without styles of its own: notebooks bring theirs."""
    cells = lambda tag, row: "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in row)
    head = f"<thead><tr>{cells('th', heading)}</tr></thead>" if heading else ""
    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table>{title}{head}<tbody>{body}</tbody></table>"
