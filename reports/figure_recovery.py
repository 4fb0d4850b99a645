"""What 30 days take from each method, and what adapting again gives back, as paired differences with their errors."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from .canvas import (
    INK,
    MUTED,
    WIDE_INCHES,
    Drawing,
    finish,
    new_figure,
    percent_axis,
    percent_limits,
    quiet_axes,
    text_size,
)
from .rows import Row, labels_of
from .values import JOIN, duration, percent, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .paired import Difference
    from .uncertainty import Errors

_ROW_INCHES, _TOP_INCHES, _BOTTOM_INCHES = 0.56, 0.58, 0.5
_POINTS = ("o", "X", "D")  # as adapted, later, adapted again
_NAMES = ("chip", "drifted", "readapted")


def points(difference: "Difference | None") -> str:
    """A paired difference in points with its standard error: "−4.0 ± 1.2"; "–" when unknown."""
    if difference is None or difference.points is None:
        return "–"
    text = signed(difference.points)
    return text if difference.error is None else f"{text}{JOIN}±{JOIN}{difference.error:.1f}"


Changes = tuple["Difference | None", "Difference | None"]


def changes(row: Row, errors: "Errors") -> Changes:
    """(later minus as adapted, adapted again minus later) of one row."""
    return errors.difference(row, "drifted", row, "chip"), errors.difference(row, "readapted", row, "drifted")


def recovery(
    rows: Sequence[Row], colours: Mapping[str, str], errors: "Errors", width: float = WIDE_INCHES
) -> Drawing | None:
    """Two arrows for every row that was adapted again: what time takes, what adapting again gives back.

    None when no row was adapted again after drift. `rows`: those of one number of shots.
    """
    drawn = [row for row in rows if all(row.stat(f"accuracy_{name}").mean is not None for name in _NAMES)]
    if not drawn:
        return None
    age = max((point.age_seconds for row in drawn for record in row.records for point in record.drift), default=0)
    later = f"{duration(age)} later" if age else "later"
    height = _TOP_INCHES + _BOTTOM_INCHES + _ROW_INCHES * len(drawn)
    with new_figure(height, width) as figure:
        axes = figure.subplots()
        figure.subplots_adjust(
            left=0.12 / width, right=1 - 0.16 / width, top=1 - _TOP_INCHES / height, bottom=_BOTTOM_INCHES / height
        )
        values = [100 * (row.stat(f"accuracy_{name}").mean or 0) for row in drawn for name in _NAMES]
        changed = {row: changes(row, errors) for row in drawn}
        bar = max(_bar(difference) for pair in changed.values() for difference in pair)
        low, high = percent_limits(values, 0.06)
        axes.set_xlim(low - bar, high + bar)
        percent_axis(axes.xaxis, axes.get_xlim())
        axes.set_ylim(len(drawn), 0)
        axes.set_yticks([])
        axes.set_xlabel("accuracy on the chip, %")
        for place, row in enumerate(drawn):
            _row(axes, row, changed[row], place, colours[row.method])
        quiet_axes(axes, "x")
        axes.spines["left"].set_visible(False)
        _legend(figure, ("as adapted", later, "adapted again"))
        still = "; ".join(row.title for row in drawn if row.writes_cells is False)
        return finish(
            figure,
            "drift-recovery",
            f"What {f'{duration(age)} take' if age else 'time takes'}, and what adapting again gives back",
            f"Accuracy on the chip at {drawn[0].shots} shots: as adapted, {later} on cells that have drifted, and "
            "after a second, shorter adaptation on them. Beside each name: the two changes in points, as means of "
            f"paired differences of the same test examples{_error_words(changed.values())}. "
            f"{f'Without a written cell: {still}.' if still else ''}",
            f"Accuracy as adapted, {later} and adapted again. "
            f"{'; '.join(_spoken(row, changed[row]) for row in drawn)}.",
            labels_of(drawn),
        )


def _error_words(changed: Iterable[Changes]) -> str:
    """What the caption says of errors: too few answers or runs have none."""
    known = any(_bar(difference) for pair in changed for difference in pair)
    return " ± one standard error, which the bars show too" if known else ", too few to tell an error"


def _spoken(row: Row, changed: Changes) -> str:
    accuracies = ", ".join(f"{percent(row.stat(f'accuracy_{name}'))} %" for name in _NAMES)
    return f"{row.title}: {accuracies}, change {points(changed[0])}, then {points(changed[1])} points"


def _bar(difference: "Difference | None") -> float:
    """Length of an error bar in points; 0 where there is none."""
    return 0.0 if difference is None or difference.error is None else difference.error


def _row(axes: "Axes", row: Row, changed: Changes, place: int, colour: str) -> None:
    """One row: its name and numbers above two lanes, the fall and the recovery."""
    first, last = changed
    start, middle, end = (100 * (row.stat(f"accuracy_{name}").mean or 0) for name in _NAMES)
    text = axes.annotate(
        row.short_title, (0, place + 0.20), xycoords=("axes fraction", "data"), fontsize=8.5, color=colour, va="center"
    )
    size = text_size(axes.figure, row.short_title, 8.5)[0]
    axes.annotate(
        f"{points(first)}, then {points(last)}", (0, place + 0.20), xycoords=("axes fraction", "data"),
        xytext=(size + 8, 0), textcoords="offset points", fontsize=8.5, color=INK, va="center",
    )  # fmt: skip
    text.set_fontweight("normal")
    if place:
        axes.axhline(place, color=MUTED, linewidth=0.4, alpha=0.5)
    for lane, (come, go, difference, marker) in enumerate(
        ((start, middle, first, _POINTS[1]), (middle, end, last, _POINTS[2]))
    ):
        y = place + 0.5 + 0.27 * lane
        axes.annotate(
            "", (go, y), (come, y),
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 2.0, "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip
        axes.errorbar(
            go, y, xerr=_bar(difference), marker=marker, markersize=6.5, color=colour,
            markeredgewidth=0.8, elinewidth=0.9, capsize=2.5,
        )  # fmt: skip
    axes.plot(start, place + 0.5, marker=_POINTS[0], markersize=6.5, color=colour)
    axes.plot([middle, middle], [place + 0.5, place + 0.77], color=colour, linewidth=0.8, linestyle=(0, (1, 2)))


def _legend(figure: "Figure", names: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="none", marker=marker, markersize=6, color=MUTED) for marker in _POINTS[: len(names)]
    ]
    figure.legend(
        handles, names, loc="upper left", ncols=3, frameon=False, fontsize=8.5, borderaxespad=0, handletextpad=0.2,
        columnspacing=1.2, bbox_to_anchor=(0.005, 1 - 0.24 / figure.get_figheight()),
    )  # fmt: skip
