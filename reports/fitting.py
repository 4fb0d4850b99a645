"""Tables that lose nothing: as records where they are too wide for a terminal, one line an entry where none reads."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_PADDED = 32  # longer cells do not widen a column of lines
_PROSE = 20  # characters that a column of prose must keep, to be read in a column


def print_table(console: "Console", table: "Table", listing: bool = False) -> None:
    """Print a table as it is where its numbers fit; else as records, one under the other, with the headings as names.

    `listing`: a list of things with names. Where standard output is no terminal, nothing of it is wrapped: every row is
    one line, its columns in line, whatever the width, without lines between them.
    """
    if listing and not console.is_terminal:
        _print_lines(console, table)
    elif fits(console, table):
        console.print(table)
    else:
        _print_records(console, table)


def fits(console: "Console", table: "Table") -> bool:
    """Whether a table loses nothing on this console, and its prose is not a column of single words."""
    from rich.measure import Measurement

    least = Measurement.get(console, console.options.update(max_width=10_000), table).minimum
    for n, column in enumerate(table.columns):
        texts = [*_cells(console, table, n), _text(console, column.header)]
        if table.show_footer:
            texts.append(_text(console, column.footer))
        # rich counts on breaking between words, also where a column says not to
        word = max((len(word) for text in texts for word in text.plain.split()), default=0)
        longest = max((line.cell_len for text in texts for line in text.split("\n")), default=0)
        least += max(0, (longest if column.no_wrap else min(_PROSE, longest)) - word)
    return least <= console.width


def _text(console: "Console", cell: object) -> "Text":
    from rich.text import Text

    if isinstance(cell, Text):
        return cell
    return console.render_str(str(cell), highlight=False) if cell is not None else Text()


def _cells(console: "Console", table: "Table", column: int) -> "list[Text]":
    return [_text(console, cell) for cell in table.columns[column].cells]


def _rows(console: "Console", table: "Table") -> "list[list[Text]]":
    columns = [_cells(console, table, n) for n in range(len(table.columns))]
    return [list(row) for row in zip(*columns, strict=True)]


def _headings(console: "Console", table: "Table") -> list[str]:
    return [_in_line(_text(console, column.header), " ").replace("- ", "") for column in table.columns]


def _in_line(text: "Text", between: str = "; ") -> str:
    """The lines of a cell as one; a line that goes on with a dot belongs to the one before."""
    found = ""
    for line in (" ".join(line.split()) for line in text.plain.splitlines()):
        if line:
            found += f"{(' ' if line.startswith('·') else between) if found else ''}{line}"
    return found


def _print_lines(console: "Console", table: "Table") -> None:
    lines = [_headings(console, table)] if table.show_header and any(_headings(console, table)) else []
    lines += [[_in_line(text) for text in row] for row in _rows(console, table)]
    if table.show_footer:
        lines.append([_in_line(_text(console, column.footer)) for column in table.columns])
    if table.title:
        print_line(console, _text(console, table.title).plain)
    for line in aligned(lines, [column.justify == "right" for column in table.columns]):
        print_line(console, line)


def aligned(lines: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    """Lines of cells with their columns in line, two spaces apart; `right`: columns of numbers. A long cell moves the
    rest of its own line only.
    """
    from rich.cells import cell_len

    lengths = [[cell_len(line[n]) for line in lines] for n in range(len(right))]
    widths = [max((length for length in column if length <= _PADDED), default=0) for column in lengths]
    padded = lambda text, n: f"{' ' * (widths[n] - cell_len(text))}{text}" if right[n] else (
        f"{text}{' ' * (widths[n] - cell_len(text))}"
    )  # fmt: skip
    return ["  ".join(padded(text, n) for n, text in enumerate(line)).rstrip() for line in lines]


def print_line(console: "Console", text: str) -> None:
    """One line, neither wrapped nor cut, nor read as markup."""
    console.print(text, markup=False, highlight=False, soft_wrap=True, emoji=False)


def _print_records(console: "Console", table: "Table") -> None:
    """Each row as a heading, its first cell, and a line for every other one that says something."""
    from rich.table import Table
    from rich.text import Text

    headings = _headings(console, table)
    if table.title:
        console.print(Text(_text(console, table.title).plain, style="bold"))
    rows = _rows(console, table)
    if table.show_footer:
        rows.append([_text(console, column.footer) for column in table.columns])
    for row in rows:
        console.print(Text(_in_line(row[0]), style="bold"))
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        for heading, text in zip(headings[1:], row[1:], strict=True):
            if text.plain.strip():
                grid.add_row(f"  {heading}", Text(_in_line(text), style=text.style))
        console.print(grid)
