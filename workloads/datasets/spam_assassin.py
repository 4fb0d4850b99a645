"""Public mail corpus of SpamAssassin: one JSON file per mail, folders of wanted ("ham") and of unwanted mails ("spam").

A text is the subject and the beginning of what a reader of the mail sees. Headers are left out, and so is what mailing
lists put in brackets before a subject: servers and lists would tell the classes apart, not what is written. Equal texts
are kept once, but mails that went to many in slightly different words are not: of 400 test mails 7 share characters 30
to 230 with one to train on.
"""

import email
import json
import re
from collections.abc import Iterator
from email.header import decode_header
from email.message import Message
from html.parser import HTMLParser
from pathlib import Path

LONGEST = 2000  # characters; far more than a model reads
_UNSEEN = ("style", "script", "title")
_LIST_NAME = re.compile(r"^\s*((?:(?:re|fwd?):\s*)*)\[[^\]]*\]", re.IGNORECASE)


def read(package_folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (mail, "ham" or "spam") in the order of the file names; mails without any text are left out."""
    for path in sorted((package_folder / "package" / "data").glob("*/*.json")):
        label = "spam" if path.parent.name.startswith("spam") else "ham"
        if text := words(json.loads(path.read_text(encoding="utf-8"))["text"]):
            yield text, label


def words(mail: str) -> str:
    """Subject and visible text of a mail, white space as single spaces."""
    message = email.message_from_string(mail)
    subject = _LIST_NAME.sub(r"\1", _subject(message))
    return " ".join(f"{subject} {_body(message)}".split())[:LONGEST]


def _subject(message: Message) -> str:
    parts = []
    for part, charset in decode_header(str(message.get("Subject", "")).replace("\n", " ")):
        parts.append(part if isinstance(part, str) else _decoded(part, charset))
    return "".join(parts)


def _body(message: Message) -> str:
    """The first plain text, else the first HTML without its marks."""
    leaves = [part for part in message.walk() if not part.is_multipart()]
    for kind in ("text/plain", "text/html"):
        for part in leaves:
            if part.get_content_type() == kind and (text := _text(part)).strip():
                return text if kind == "text/plain" and "<html" not in text[:500].lower() else _visible(text)
    return ""


def _text(part: Message) -> str:
    content = part.get_payload(decode=True)
    return _decoded(content, part.get_content_charset()) if isinstance(content, bytes) else str(part.get_payload())


def _decoded(content: bytes, charset: str | None) -> str:
    try:
        return content.decode(charset or "utf-8")
    except (LookupError, UnicodeDecodeError):
        return content.decode("latin-1")


def _visible(page: str) -> str:
    parser = _Visible()
    parser.feed(page)
    parser.close()
    return " ".join(parser.found)


class _Visible(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._hidden = 0 if tag == "body" else self._hidden + (tag in _UNSEEN)  # a title that nobody closed ends there

    def handle_endtag(self, tag: str) -> None:
        self._hidden = max(0, self._hidden - (tag in _UNSEEN))

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.found.append(data)
