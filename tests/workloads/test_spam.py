"""What a reader of a mail sees: subject and text, whatever way they are packed."""

import base64
import quopri

import pytest
from edge_adapt.workloads.datasets.spam_assassin import LONGEST, words

HEAD = "Received: from a.example.org\nX-Mailer: Secret\nSubject: {}\n"
PLAIN = 'Content-Type: text/plain; charset="{}"\nContent-Transfer-Encoding: {}\n\n{}'


def test_headers_and_names_of_lists_are_left_out() -> None:
    mail = HEAD.format("Re: [some-list] Lunch\n at noon?") + "\nWhere\n\nshall we  meet?\n"
    assert words(mail) == "Re: Lunch at noon? Where shall we meet?"


@pytest.mark.parametrize("charset", ["utf-8", "latin-1", "no-such-charset"])
def test_packed_text_is_unpacked(charset: str) -> None:
    text = "Gr\u00fc\u00dfe, 5 = f\u00fcnf"
    real = "latin-1" if charset == "no-such-charset" else charset
    for name, packed in (
        ("base64", base64.encodebytes(text.encode(real))),
        ("quoted-printable", quopri.encodestring(text.encode(real))),
    ):
        mail = HEAD.format("=?utf-8?b?SGVsbMO2?=") + PLAIN.format(charset, name, packed.decode("ascii"))
        assert words(mail) == f"Hell\u00f6 {text}"


def test_plain_text_is_preferred_and_pages_lose_their_marks() -> None:
    page = "<html><head><title>T</title><style>p {x}</style></head><body><p>Buy <b>now</b></p></body></html>"
    html = f"Content-Type: text/html\n\n{page}\n"
    parts = f"--b\n{html}\n--b\nContent-Type: text/plain\n\nplain words\n--b--\n"
    both = HEAD.format("S") + 'Content-Type: multipart/alternative; boundary="b"\n\n' + parts
    assert words(both) == "S plain words"
    assert words(HEAD.format("S") + html) == "S Buy now"
    assert words(HEAD.format("S") + f"Content-Type: text/plain\n\n{page}") == "S Buy now"


def test_nothing_that_is_seen_gets_lost() -> None:
    html = HEAD.format("Re: [list] [50% off] x") + "Content-Type: text/html\n\n"
    assert words(html + "<p>Buy at R&D") == "Re: [50% off] x Buy at R&D"
    assert words(html + "<title>Offer<body><p>Buy now").endswith("x Buy now")


def test_long_mails_are_cut_and_empty_ones_are_empty() -> None:
    assert len(words(HEAD.format("S") + "\n" + "word " * 5000)) == LONGEST
    assert words(HEAD.format("[list]") + "\n \n") == words("") == ""
