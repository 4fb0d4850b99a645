"""CoNLL files: columns as the file divides them, every word whole, no sentence lost without a word."""

from pathlib import Path

import pytest
from edge_adapt.errors import UsageError
from edge_adapt.runtime.examples import Reading
from edge_adapt.workloads.datasets import conll
from edge_adapt.workloads.tagged_tasks import load_tagged_file
from hypothesis import given, settings
from hypothesis import strategies as st

ANN = (("Ann", "lives"), ("B-PER", "O"))
YORK = (("York",), ("B-LOC",))
WANTED = [ANN, YORK]


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "mine.conll"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


PLAIN = "Ann B-PER\nlives O\n\nYork B-LOC\n"


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        PLAIN.rstrip("\n"),
        PLAIN.replace(" ", "\t"),
        PLAIN.replace(" ", "   "),
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),  # before, all words but the first were lost
        "\ufeff" + PLAIN,
        PLAIN.encode("utf-16"),
        PLAIN.replace("\n\n", "\n \t \n\n\n"),
        "\n\n" + PLAIN + "\n\n",
        "-DOCSTART- -X- O\n\n" + PLAIN.replace("\n\n", "\n-DOCSTART- -X- O\n"),
        "# sent_id = 1\n# text = Ann lives\n" + PLAIN.replace("\n\n", "\n\n# newdoc\n"),
        "Ann NNP B-PER\nlives VBZ O\n\nYork NNP B-LOC\n",
        "Ann NNP\tB-PER\nlives VBZ\tO\n\nYork NNP\tB-LOC\n",  # blanks and tabs in every line
        "Ann\tNNP\tB-PER\nlives\tVBZ\tO\n\nYork NNP B-LOC\n",  # some lines with tabs
        "1\tAnn\tB-PER\n2\tlives\tO\n\n1\tYork\tB-LOC\n",
        "0 Ann B-PER\n1 lives O\n\n0 York B-LOC\n",
        "# of GermEval\n1\tAnn\tB-PER\n2\tlives\tO\n\n#\thttp://there [2010]\n1\tYork\tB-LOC\n",
    ],
)
def test_one_text_in_many_forms(tmp_path: Path, content: str | bytes) -> None:
    found = conll.read(write(tmp_path, content))
    assert found.sentences == WANTED
    assert found.messages == []


def test_words_are_whole(tmp_path: Path) -> None:
    found = conll.read(write(tmp_path, "New York\tB-LOC\nis\tO\nfine \tO\n\nit\u00a0is\tO\n\u00a0\tO\n"))
    assert [words for words, _ in found.sentences] == [("New York", "is", "fine"), ("it\u00a0is", "\u00a0")]
    found = conll.read(write(tmp_path, "it\u00a0is O\n# O\n#tag O\nc\u2028d B-X\n"))
    assert found.sentences == [(("it\u00a0is", "#", "#tag", "c\u2028d"), ("O", "O", "O", "B-X"))]
    found = conll.read(write(tmp_path, "#\tO\n#1\tB-X\n"))  # a tweet that starts with a hash
    assert found.sentences == [(("#", "#1"), ("O", "B-X"))]


def test_numbers_that_are_words(tmp_path: Path) -> None:
    """A first column that does not number the words of every sentence holds the words."""
    found = conll.read(write(tmp_path, "1 CD O\n2 CD O\n\n1984 CD B-TITLE\n"))
    assert found.sentences == [(("1", "2"), ("O", "O")), (("1984",), ("B-TITLE",))]
    assert conll.read(write(tmp_path, "1 CD O\n\n1 CD B-X\n")).sentences == [(("1",), ("O",)), (("1",), ("B-X",))]


@pytest.mark.parametrize(
    "content",
    [
        "1 Ann B-X\n2 sat O\n\n3 Bo B-X\n4 ran O\n",  # every line of the file has a number
        "0 Ann B-X\n1 sat O\n\n2 Bo B-X\n3 ran O\n",
        "1 Ann B-X\n1 sat O\n\n2 Bo B-X\n2 ran O\n",  # every sentence has one
    ],
)
def test_other_numbers_in_front_are_no_words(tmp_path: Path, content: str) -> None:
    sentences = conll.read(write(tmp_path, content)).sentences
    assert sentences == [(("Ann", "sat"), ("B-X", "O")), (("Bo", "ran"), ("B-X", "O"))]


def test_comments_that_end_like_a_tag(tmp_path: Path) -> None:
    """A comment has another number of columns than the words have."""
    found = conll.read(write(tmp_path, "# text = a plan B-52\nAnn B-X\nsat O\n"))
    assert found.sentences == [(("Ann", "sat"), ("B-X", "O"))]
    found = conll.read(write(tmp_path, "Ann B-X\n-DOCSTART-s O\n"))
    assert found.sentences == [(("Ann", "-DOCSTART-s"), ("B-X", "O"))]


@pytest.mark.parametrize("last", ["B-Y", "O"])
def test_several_columns_of_tags_are_said(tmp_path: Path, last: str) -> None:
    found = conll.read(write(tmp_path, f"Ann B-X {last}\nsat O O\n"))
    assert found.sentences == [(("Ann", "sat"), (last, "O"))]
    assert "column 2 of 3 could hold the tags, too; the last column is read" in found.messages[-1]
    assert conll.read(write(tmp_path, "Ann O B-X\nsat O O\n")).messages == []


def test_ranges_of_conll_u(tmp_path: Path) -> None:
    found = conll.read(write(tmp_path, "1\tva\tO\n2-3\tdel\t_\n2\tde\tO\n3\tel\tB-X\n3.1\tno\t_\n4\tRio\tI-X\n"))
    assert found.sentences == [(("va", "de", "el", "Rio"), ("O", "O", "B-X", "I-X"))]
    assert [m.split(": ", 1)[1] for m in found.messages] == [
        "2 lines such as 1-2 or 1.1 are no words of their own and were left out"
    ]


@pytest.mark.parametrize(
    ("tags", "expected", "said"),
    [
        ("B-X I-X O B-X", "B-X I-X O B-X", ""),
        ("I-X I-X O I-Y I-X B-X", "B-X I-X O B-Y B-X B-X", "3 entities start with I-"),  # IOB1
        ("B-X E-X S-X O", "B-X I-X B-X O", "BIOES or BILOU"),
        ("B-X I-X E-X B-X E-X S-Y", "B-X I-X I-X B-X I-X B-Y", "BIOES or BILOU"),
        ("B-X I-X L-X U-X U-X", "B-X I-X I-X B-X B-X", "BIOES or BILOU"),
        ("B-X M-X E-X O S-X", "B-X I-X I-X O B-X", "BIOES or BILOU"),
        ("O B-a-b I-a-b", "O B-a-b I-a-b", ""),
    ],
)
def test_schemes_of_tags(tmp_path: Path, tags: str, expected: str, said: str) -> None:
    found = conll.read(write(tmp_path, "".join(f"w{n} {tag}\n" for n, tag in enumerate(tags.split()))))
    assert [" ".join(own) for _, own in found.sentences] == [expected]
    assert said in " ".join(found.messages) and bool(said) == bool(found.messages)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("Ann\nlives O\nhere O\n", "line 1: a word and its tag are expected, not 'Ann'"),
        ("here O\nNew York B-LOC\nthere O\n", "line 2: 3 columns, but most lines have 2; where words hold blanks"),
        ("here O\n\u00a0\nthere O\n", "line 2: a word and its tag"),
        ("here\tO\n\tB-LOC\n", "line 2: the word is empty"),
        (
            "here O\nAnn X-PER\n",
            r"line 2: the tag 'X-PER' is neither O nor B-TYPE .*the last column must hold the tags",
        ),
        ("here O\nAnn B-\n", "line 2: the tag 'B-'"),
        ("here O\nAnn o\n", "line 2: the tag 'o'"),
        ("bc 0 0 Ann (PERSON*) -\nbc 0 1 lives * (12)\n", r"line 1: the tag '-' is neither"),  # CoNLL-2012
        ("Ann B-PER\n# in a sentence\nlives O\n", "line 2: 4 columns|line 2: the tag"),
        (b"Ann B-PER\nn\xe9e O\n", "line 2: not UTF-8 text; .*--encoding"),
        ("Ann B-PER\nb\0b O\n", "line 2: it holds a zero byte"),
        ("", "is empty"),
        ("\n# only words about it\n\n", "is empty"),
        (b"\x1f\x8b", "is compressed by gzip"),
    ],
)
def test_what_is_refused_by_the_line(tmp_path: Path, content: str | bytes, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        conll.read(write(tmp_path, content))
    assert "mine.conll" in str(caught.value) and "\n" not in str(caught.value)


def test_wrong_sentences_are_left_out_and_said(tmp_path: Path) -> None:
    path = write(tmp_path, "Ann B-PER\nlives O\n\nbroken\nhere O\n\nYork B-LOC\n")
    with pytest.raises(UsageError, match=r"line 4: .*leave such sentences out with --on-error skip"):
        conll.read(path)
    found = conll.read(path, Reading(on_error="skip"))
    assert found.sentences == WANTED
    assert found.messages == [
        f"{path}: 1 sentence left out; the first for line 4: a word and its tag are expected, not 'broken'"
    ]
    with pytest.raises(UsageError, match="holds no sentence of words with tags"):
        conll.read(write(tmp_path, "a\nb\n"), Reading(on_error="skip"))


def test_sentences_of_a_task_are_accounted_for(tmp_path: Path) -> None:
    """Sentences of the file = those to train and test on + those that a message counts."""
    same = ["Ann B-PER\nlives O\n"] * 3
    other = [f"{name} B-PER\nis O\nhere O\n" for name in "abcdefgh"]
    twice = ["York B-LOC\nlives O\n", "York B-PER\nlives O\n"]
    task = load_tagged_file(write(tmp_path, "\n".join([*same, *other, *twice])), 4)
    assert len(task.train) + len(task.test) == 3 + 8 + 2 - 3
    assert task.messages == (
        "1 sentences occur with different tags; the first of each was taken",
        "3 repeated sentences were left out",
    )


_PIECES = st.sampled_from(
    ["a", "1", "2", "1-2", " ", "\t", "\n", "\r", "O", "B-X", "I-X", "S-Y", "#", "-DOCSTART-", "\u00a0", "\ufeff", "\0"]
)


@settings(max_examples=300, deadline=None)
@given(
    content=st.one_of(st.binary(max_size=60), st.lists(_PIECES, max_size=30).map(lambda p: "".join(p).encode())),
    on_error=st.sampled_from(["fail", "skip"]),
)
def test_any_bytes_give_sentences_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, on_error: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.conll"
    path.write_bytes(content)
    try:
        found = conll.read(path, Reading(on_error=on_error))
    except UsageError as error:
        said = str(error)
        assert str(path) in said and "\n" not in said
        return
    for words, tags in found.sentences:
        assert len(words) == len(tags) > 0 and all(words)
        for before, tag in zip(("O", *tags), tags, strict=False):
            assert tag == "O" or tag[:2] == "B-" or before[2:] == tag[2:]
