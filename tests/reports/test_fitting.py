"""Tables of every width: nothing is cut off, on a terminal or in a pipe."""

import io

import pytest
from edge_adapt.reports.fitting import aligned, print_table
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

NUMBERS = ("12.3 mJ", "4.56 µs", "789,012", "0.1 mm²")


def table(title: str | None = "Costs") -> Table:
    made = Table(title=title, box=box.SIMPLE_HEAD, show_footer=True)
    made.add_column("name", "sum", no_wrap=True)
    for heading in ("write\nenergy", "pipe-\nlined", "cells", "area"):
        made.add_column(heading, "f", justify="right", no_wrap=True)
    made.add_column("what it is", overflow="fold")
    for name in ("Full fine-tuning\n· digital", "[bold]LoRA[/]"):
        made.add_row(name, *NUMBERS, "a sentence of some length about this entry, that may be wrapped")
    made.add_row(Text("[not markup]"), *NUMBERS, "")
    return made


def printed(width: int, terminal: bool, **options) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=width, no_color=True, color_system=None, **options)
    print_table(console, table(), listing=True)
    return stream.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, *range(90, 150, 5), 200])
def test_a_terminal_loses_nothing(width):
    text = printed(width, terminal=True)
    assert all(len(line) <= width for line in text.splitlines())
    for number in NUMBERS:
        assert text.count(number) == 3, (width, number)
    assert "…" not in text
    for word in ("Costs", "Full fine-tuning", "LoRA", "[not markup]", "energy", "cells", "area", "sum"):
        assert word in text, (width, word)
    flat = " ".join(text.split())
    assert flat.count("sentence") == 2


def test_narrow_is_records_and_wide_is_a_table():
    narrow, wide = printed(60, terminal=True), printed(140, terminal=True)
    assert "  write energy  12.3 mJ" in narrow.splitlines()
    assert "  pipelined     4.56 µs" in narrow.splitlines()
    assert any(line.split()[:3] == ["LoRA", "12.3", "mJ"] for line in wide.splitlines())


@pytest.mark.parametrize("width", [20, 80])
def test_a_pipe_gets_one_line_an_entry(width):
    lines = printed(width, terminal=False).splitlines()
    assert lines[0] == "Costs"
    assert len(lines) == 1 + 1 + 3 + 1
    assert lines[1].split() == ["name", "write", "energy", "pipelined", "cells", "area", "what", "it", "is"]
    assert lines[2].startswith("Full fine-tuning · digital  ")
    assert lines[2].endswith("that may be wrapped")
    assert {line.index("12.3 mJ") for line in lines[2:5]} == {lines[2].index("12.3 mJ")}


def test_what_is_no_list_is_the_same_in_a_pipe():
    stream = io.StringIO()
    print_table(Console(file=stream, width=60), table())
    assert stream.getvalue() == printed(60, terminal=True)


def test_columns_in_line():
    assert aligned([["a", "1"], ["bcd", "22"]], [False, True]) == ["a     1", "bcd  22"]
    assert aligned([["好", "x"], ["abc", "y"]], [False, False]) == ["好   x", "abc  y"]


def test_a_long_cell_moves_its_own_line_only():
    """In a pipe nothing is padded to a width that only prose has."""
    prose = "a sentence of more than thirty-two letters"
    assert aligned([["a", "bb", "x"], ["a", prose, "x"]], [False] * 3) == ["a  bb  x", f"a  {prose}  x"]
