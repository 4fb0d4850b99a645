"""The summary on the terminal: the set-up, a table per number of shots, and what follows from it."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from .findings import findings
from .fitting import print_table
from .headlines import headlines
from .records import SimulateReport
from .rows import Row, by_shots, labels_of, ratio_title, rows_of
from .unknown import unknown_components, without
from .values import JOIN, count, duration, percent, ratio, readable, si

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from .store import ReportPaths

_WIDE = 138  # columns from which one table holds everything
_VERDICT_STYLE = {"fits": "green", "does not fit": "red", "cannot tell": "yellow", "too few answers": "yellow"}
#: topics of the findings that the terminal prints; the page has them all
_TOPICS = ("accuracy and energy", "gain over the start", "break-even", "pool fit", "drift", "chips", "wear")

_Form = Callable[[Row], str]


def _mean(name: str, form: Callable[[float | None], str]) -> _Form:
    return lambda row: form(row.stat(name).mean)


def _tasks(row: Row) -> str:
    tasks = row.tasks_until_worn_out
    return tasks if isinstance(tasks, str) else count(tasks)


def _joules(value: float | None) -> str:
    return si(value, "J")


def _accuracy(age_seconds: float) -> tuple[tuple[str, _Form], ...]:
    """The columns of accuracies; the chip was tested again at this age."""
    return (
        ("exact\n%", lambda row: percent(row.stat("accuracy_exact"))),
        ("chip\n%", lambda row: percent(row.stat("accuracy_chip"))),
        (f"{_plain(duration(age_seconds))}\n%", lambda row: percent(row.stat("accuracy_drifted"))),
        ("adapted\nagain %", lambda row: percent(row.stat("accuracy_readapted"))),
    )


_COST: tuple[tuple[str, _Form], ...] = (
    ("trained", _mean("trained_parameters", count)),
    ("cell\nwrites", _mean("cells_written", count)),
    ("write\nenergy", _mean("write_energy_joules", _joules)),
    ("adapt\nenergy", _mean("adaptation_energy_joules", _joules)),
    ("adapt\ntime", _mean("adaptation_time_seconds", duration)),
    ("per\nexample", _mean("inference_energy_joules", _joules)),
    ("tasks till\nworn out", _tasks),
)


def print_summary(report: SimulateReport, console: "Console", paths: "ReportPaths | None" = None) -> None:
    """Print the summary of a valid report; fits 80 columns, and uses one wide table where there is room.

    `paths` adds where the report is.
    """
    from rich.text import Text

    console.print(Text(_plain(findings(report)[0].text), style="bold"))
    console.print()
    _facts(console, headlines(report))
    rows = rows_of(report.results)
    for shots, group in by_shots(rows).items():
        console.print()
        _tables(console, shots, group, report.task.metric, _accuracy(report.ages_seconds[-1]))
    marks = ["~ estimated"] if any(row.estimated for row in rows) else []
    if plain := labels_of(row for row in rows if not row.estimated):
        marks.append(f"{'the others' if marks else 'all'} {plain}")
    marks.append("trained: without the head")
    if lacking := without(unknown_components(report.device)):
        marks.append(f"energies {lacking}, whose price is unknown")
    if any(len(row.records) > 1 for row in rows):
        marks.append("± in the table is the sample standard deviation over runs, elsewhere a standard error")
    console.print("; ".join(marks), style="dim")
    console.print()
    _sentences(console, report)
    if paths is not None:
        console.print()
        console.print(Text.assemble(("report: ", "bold"), str(paths.html)), soft_wrap=True)


def _sentences(console: "Console", report: SimulateReport) -> None:
    """What follows from the tables, one point each; the pool's verdict in its colour, messages in yellow."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1))
    for finding in findings(report):
        if finding.topic in _TOPICS:
            fit = report.pool_fit if finding.topic == "pool fit" else None
            grid.add_row("•", Text(_plain(finding.text), style=_VERDICT_STYLE[fit.verdict] if fit else ""))
    if ratios := _ratios(report.programming.write_read_ratio):
        grid.add_row("•", Text(ratios))
    for message in report.messages:
        grid.add_row("!", Text(_plain(readable(message)), style="yellow"))
    console.print(grid)


def _plain(text: str) -> str:
    """No-break spaces as plain ones, so that the output can be searched."""
    return text.replace(JOIN, " ")


def _facts(console: "Console", facts: Sequence[tuple[str, str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for subject, line in facts:
        grid.add_row(subject.lower(), Text(_plain(line)))
    console.print(grid)


def _tables(
    console: "Console", shots: int, group: Sequence[Row], metric: str, accuracy: tuple[tuple[str, _Form], ...]
) -> None:
    title = f"{shots} shots"
    if console.width >= _WIDE:
        print_table(console, _table(f"{title}, {metric} and cost", group, (*_COST[:2], *accuracy, *_COST[2:])))
        return
    print_table(console, _table(f"{title}: {metric}", group, accuracy))
    console.print()
    print_table(console, _table(f"{title}: cost", group, _COST, narrow=True))


def _table(title: str, group: Sequence[Row], columns: Sequence[tuple[str, _Form]], narrow: bool = False) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=0,
        pad_edge=False,
    )
    table.add_column("", no_wrap=True)
    for heading, _ in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in group:
        style = "bold" if row.writes_cells is False and row.stat("trained_parameters").mean else ""
        title = row.title.replace(" · ", "\n· ") if narrow else row.title
        name = Text(("~ " if row.estimated else "") + title, style=style)
        table.add_row(name, *(Text(_plain(form(row))) for _, form in columns))
    return table


def _ratios(found: Mapping[str, float | None]) -> str:
    """The write/read ratios in one sentence; "" when there are none."""
    parts = [f"{ratio_title(name)} {_plain(ratio(value))}" for name, value in found.items() if value is not None]
    return f"Energy of a write against a read: {'; '.join(parts)}." if parts else ""
