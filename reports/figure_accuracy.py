"""The accuracy figures: against adaptation energy, and over the time since programming."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .canvas import (
    GRID,
    MUTED,
    PAPER,
    WIDE_INCHES,
    Drawing,
    fill_of,
    finish,
    is_wide,
    marker_of,
    new_figure,
    percent_axis,
    percent_limits,
    quiet_axes,
    si_axis,
    text_size,
)
from .frontier import frontier
from .label_layout import Box, place_labels, spread_vertically
from .rows import Row, by_shots, labels_of, seeds_in_words
from .values import duration, percent, si

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .uncertainty import Errors

_PANEL_INCHES, _EDGE_INCHES = 3.35, 0.85
_MARKERS = "Markers: ○ digital, □ cells rewritten every step, ◇ cells rewritten once per task; hollow: estimated."


def accuracy_against_energy(
    rows: Sequence[Row],
    colours: Mapping[str, str],
    errors: "Errors",
    width: float = WIDE_INCHES,
) -> Drawing | None:
    """Accuracy on the chip against the energy of one adaptation, a panel per number of shots. None without data."""
    panels = {f"{shots} shots": group for shots, group in by_shots(rows).items()}
    return energy_panels(panels, colours, "accuracy-energy", "Accuracy against adaptation energy", errors, width)


def energy_panels(
    panels: Mapping[str, Sequence[Row]],
    colours: Mapping[str, str],
    name: str,
    title: str,
    errors: "Errors",
    width: float = WIDE_INCHES,
) -> Drawing | None:
    """Accuracy on the chip against the energy of one adaptation with the frontier, a panel per group of rows; None
    without data. `errors` give the error bars, and say whether one row is better than another.
    """
    known = {panel: _with_energy(rows) for panel, rows in panels.items()}
    groups = {
        panel: adapting
        for panel, rows in known.items()
        if (adapting := [r for r in rows if r.stat("adaptation_energy_joules").mean])
    }
    if not groups:
        return None
    drawn = [row for group in groups.values() for row in group]
    fronts = {panel: frontier(known[panel], errors.better) for panel in groups}
    with new_figure(_EDGE_INCHES + _PANEL_INCHES * len(groups), width) as figure:
        axes_of = figure.subplots(len(groups), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        _margins(figure)
        ends = [(r.stat("accuracy_chip").mean or 0, errors.mean(r, "chip") or 0) for r in drawn]
        runs = [record.accuracy_chip for r in drawn for record in r.records]
        low, high = _limits([*runs, *(mean + sign * error for mean, error in ends for sign in (-1, 1))], 0.12)
        energies = [e for r in drawn for record in r.records if (e := record.adaptation_energy_joules)]
        for axes, (panel, group) in zip(axes_of, groups.items(), strict=True):
            axes.set_xscale("log")
            axes.set_xlim(min(energies) / 4, max(energies) * 4)
            axes.set_ylim(low, high)
            percent_axis(axes.yaxis, (low, high))
            axes.set_title(panel)
            axes.set_ylabel("accuracy on the chip, %")
            line = _front(axes, fronts[panel])
            for row in group:
                _point(axes, row, colours, errors)
            still = [r for r in known[panel] if r not in group]
            _labels(axes, group, colours, errors, [*line, *_reference_lines(axes, still, colours)])
            quiet_axes(axes)
            si_axis(axes.xaxis, "J", most_ticks=9 if is_wide(width) else 5)
        axes_of[-1].set_xlabel("energy of one adaptation (logarithmic)")
        spoken, on_it = _energy_words(known), _frontier_words(fronts)
        return finish(
            figure,
            name,
            title,
            "Test accuracy on the chip after one adaptation against the energy of that adaptation (reads, digital work "
            "and cell writes, without the one-time programming). Up and to the left is better. Line: the frontier. "
            f"Each method on it is more accurate than every cheaper one by more than the error ({on_it}); the others "
            f"are within the error of it, or worse. {_error_words(drawn, errors)}{_MARKERS}",
            f"Scatter plot of accuracy on the chip against adaptation energy. {spoken}. On the frontier: {on_it}.",
            labels_of(drawn),
        )


def _with_energy(rows: Sequence[Row]) -> list[Row]:
    """The rows that have a place in the figure."""
    names = ("accuracy_chip", "adaptation_energy_joules")
    return [row for row in rows if None not in (row.stat(name).mean for name in names)]


def _energy_words(known: Mapping[str, Sequence[Row]]) -> str:
    return "; ".join(
        f"{r.title}, {panel}: {percent(r.stat('accuracy_chip'))} % for "
        f"{si(r.stat('adaptation_energy_joules').mean, 'J')}"
        for panel, rows in known.items()
        for r in rows
    )


def _frontier_words(fronts: Mapping[str, Sequence[Row]]) -> str:
    titles = {panel: ", ".join(row.title for row in front) for panel, front in fronts.items()}
    return "; ".join(f"{panel}: {rows}" if len(fronts) > 1 else rows for panel, rows in titles.items())


def accuracy_over_time(rows: Sequence[Row], colours: Mapping[str, str], width: float = WIDE_INCHES) -> Drawing | None:
    """Accuracy on the chip at ages after programming, with the point after adapting again. None without drift data."""
    drawn = [r for r in rows if len([s for s in r.ages().values() if s.mean is not None]) > 1]
    adapting = [r for r in drawn if r.stat("adaptation_energy_joules").mean]
    drawn = adapting or drawn
    if not drawn:
        return None
    groups = by_shots(drawn)
    ages = sorted({age for r in drawn for age in r.ages() if age > 0})
    with new_figure(_EDGE_INCHES + _PANEL_INCHES * len(groups), width) as figure:
        panels = figure.subplots(len(groups), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        _margins(figure)
        means = [s.mean for r in drawn for s in (*r.ages().values(), r.stat("accuracy_readapted"))]
        low, high = _limits(means, 0.15)
        slots = {0.0: math.log10(ages[0]) - 1.2} | {age: math.log10(age) for age in ages}
        again = math.log10(ages[-1]) + 1.2
        widest = max(text_size(figure, r.short_title, 8.5)[0] for r in drawn) + 4
        room = (again + 1.07 - slots[0.0]) * widest / (panels[0].get_window_extent().width - widest)
        for axes, (shots, group) in zip(panels, groups.items(), strict=True):
            axes.set_title(f"{shots} shots")
            axes.set_ylabel("accuracy on the chip, %")
            axes.set_xlim(slots[0.0] - 0.35, again + 0.72 + room)
            axes.set_ylim(low, high)
            percent_axis(axes.yaxis, (low, high))
            axes.axvspan(slots[ages[-1]] + 0.6, again + 0.6, color=GRID, alpha=0.45, linewidth=0)
            _courses(axes, group, colours, slots, again)
            quiet_axes(axes, "y")
            first = "as adapted" if is_wide(width) else "as\nadapted"
            axes.set_xticks([*slots.values(), again], [first, *map(duration, ages), "adapted\nagain"])
        words = "time since programming (logarithmic)"
        shaded = "; shaded: adapted again at the last age"
        panels[-1].set_xlabel(words + (shaded if is_wide(width) else ""), loc="left")
        spoken = "; ".join(
            f"{r.title}, {r.shots} shots: "
            + ", ".join(f"{percent(s)} % at {duration(age)}" for age, s in r.ages().items())
            + f", {percent(r.stat('accuracy_readapted'))} % adapted again"
            for r in drawn
        )
        left_out = len(rows) - len(drawn)
        return finish(
            figure,
            "accuracy-drift",
            "Accuracy over drift time",
            "Test accuracy on the chip at ages after programming without touching it, and (shaded) after adapting "
            f"again on the drifted chip. {_spread_words(drawn)}"
            f"Series are shifted sideways a little to be told apart. {_MARKERS}"
            f"{' Methods that do not adapt, or have no drift data, are in the tables only.' if left_out else ''}",
            f"Accuracy on the chip over time since programming. {spoken}.",
            labels_of(drawn),
        )


def _margins(figure: Any) -> None:
    width, height = figure.get_size_inches()
    figure.subplots_adjust(
        left=0.6 / width, right=1 - 0.22 / width, top=1 - 0.36 / height, bottom=0.6 / height, hspace=0.18
    )


def _limits(values: Sequence[float | None], margin: float) -> tuple[float, float]:
    return percent_limits([100 * v for v in values if v is not None], margin)


def _spread_words(rows: Sequence[Row]) -> str:
    if all(len(r.records) == 1 for r in rows):
        return "One seed: no spread. "
    return f"Mean over {seeds_in_words(rows)}; bars: ± one sample standard deviation. "


def _error_words(rows: Sequence[Row], errors: "Errors") -> str:
    runs = seeds_in_words(rows).replace("seed", "run")
    if all(errors.mean(row, "chip") is None for row in rows):
        return f"Mean over {runs}, too few to tell an error. "
    of = "of the test examples" if runs == "1 run" else "of test examples, draws and chips"
    return f"Mean over {runs}; bars: ± one standard error, {of}. "


def _marker_style(row: Row, colours: Mapping[str, str]) -> dict[str, Any]:
    colour, fill = colours[row.method], fill_of(row.method, colours)
    return {
        "marker": marker_of(row.placement),
        "markersize": 7.5,
        "fillstyle": fill,
        "markerfacecoloralt": PAPER,
        "markerfacecolor": PAPER if row.estimated else colour,
        "markeredgecolor": colour if row.estimated or fill != "full" else PAPER,
        "markeredgewidth": 1.6 if row.estimated else 0.9,
    }


def _point(axes: "Axes", row: Row, colours: Mapping[str, str], errors: "Errors") -> None:
    """Every run faintly, then the mean with its standard error."""
    colour = colours[row.method]
    runs = [(r.adaptation_energy_joules, r.accuracy_chip) for r in row.records]
    seeds = [(energy, accuracy) for energy, accuracy in runs if energy and accuracy is not None]
    energy, accuracy = row.stat("adaptation_energy_joules").mean, row.stat("accuracy_chip")
    assert energy is not None  # the caller draws known rows only
    assert accuracy.mean is not None
    if len(seeds) > 1:
        axes.plot(
            [s[0] for s in seeds],
            [100 * s[1] for s in seeds],
            linestyle="none",
            marker="o",
            markersize=2.6,
            color=colour,
            alpha=0.4,
            markeredgewidth=0,
        )
    axes.errorbar(
        energy,
        100 * accuracy.mean,
        yerr=100 * (errors.mean(row, "chip") or 0),
        color=colour,
        elinewidth=1.3,
        capsize=0,
        **_marker_style(row, colours),
    )


def _front(axes: "Axes", rows: Sequence[Row]) -> list[Box]:
    """The frontier `rows` as a line of steps to the right edge; a row without energy starts it at the left edge.
    Returns where it runs, for the labels.
    """
    left, right = axes.get_xlim()
    corners = [
        (row.stat("adaptation_energy_joules").mean or left, 100 * (row.stat("accuracy_chip").mean or 0.0))
        for row in rows
    ]
    corners = [corner for corner in corners if corner[1] >= axes.get_ylim()[0]]
    if not corners:
        return []
    xs, ys = ([corner[i] for corner in corners] for i in (0, 1))
    axes.step([*xs, right], [*ys, ys[-1]], where="post", color=MUTED, linewidth=1.1, alpha=0.75, zorder=0.8)
    points = [(float(x), float(y)) for x, y in axes.transData.transform([*corners, (right, ys[-1])])]
    return [
        box
        for (x, y), (next_x, next_y) in itertools.pairwise(points)
        for box in (Box(x, y - 1, next_x, y + 1), Box(next_x - 1, y, next_x + 1, next_y))
    ]


def _reference_lines(axes: "Axes", rows: Sequence[Row], colours: Mapping[str, str]) -> list[Box]:
    """Rows without adaptation energy: a dashed line, or a note in the corner when they are off the axis."""
    notes, taken = [], []
    low, high = axes.get_ylim()
    frame = axes.get_window_extent()
    for row in rows:
        mean = 100 * (row.stat("accuracy_chip").mean or 0.0)
        if low < mean < high:
            axes.axhline(mean, color=colours[row.method], linewidth=1.1, linestyle=(0, (5, 3)))
            y = axes.transData.transform((1.0, mean))[1]
            width, height = text_size(axes.figure, row.short_title, 8)
            axes.annotate(
                row.short_title,
                (0, mean),
                xycoords=("axes fraction", "data"),
                xytext=(4, 3),
                textcoords="offset points",
                fontsize=8,
                color=colours[row.method],
            )
            taken += [Box(frame.x0, y - 1, frame.x1, y + 1), Box(frame.x0, y, frame.x0 + width + 6, y + height + 5)]
        else:
            notes.append(f"{row.short_title}: {percent(row.stat('accuracy_chip'))} % for {si(0, 'J')} (off this axis)")
    if notes:
        text = "\n".join(notes)
        width, height = text_size(axes.figure, text, 8)
        axes.annotate(
            text,
            (1, 0),
            xycoords="axes fraction",
            xytext=(-4, 5),
            textcoords="offset points",
            fontsize=8,
            color=MUTED,
            ha="right",
        )
        taken.append(Box(frame.x1 - width - 8, frame.y0, frame.x1, frame.y0 + height + 8))
    return taken


def _labels(
    axes: "Axes", rows: Sequence[Row], colours: Mapping[str, str], errors: "Errors", obstacles: list[Box]
) -> None:
    """A label beside every point, with a thin leader where it had to move away."""
    points, boxes = [], list(obstacles)
    for row in rows:
        accuracy = row.stat("accuracy_chip")
        energy = row.stat("adaptation_energy_joules").mean
        assert energy is not None
        assert accuracy.mean is not None
        x, y = (float(v) for v in axes.transData.transform((energy, 100 * accuracy.mean)))
        top = 100 * (accuracy.mean + (errors.mean(row, "chip") or 0))
        half = float(axes.transData.transform((energy, top))[1]) - y
        points.append((x, y))
        boxes += [Box(x - 5, y - 5, x + 5, y + 5), Box(x - 1.5, y - half, x + 1.5, y + half)]
    frame = axes.get_window_extent()
    font = 8.5 if len(rows) <= 10 else 7.5
    sizes = [text_size(axes.figure, row.short_title, font) for row in rows]
    bounds = Box(frame.x0 + 2, frame.y0 + 2, frame.x1, frame.y1)
    for row, (x, y), box in zip(rows, points, place_labels(points, sizes, boxes, bounds), strict=True):
        middle = ((box.left + box.right) / 2, (box.bottom + box.top) / 2)
        near = (min(max(x, box.left), box.right), min(max(y, box.bottom), box.top))
        if math.dist(near, (x, y)) > 14:
            ends = axes.transData.inverted().transform([(x, y), near])
            axes.plot(ends[:, 0], ends[:, 1], color=colours[row.method], linewidth=0.7, alpha=0.7, zorder=1)
        label_x, label_y = (float(v) for v in axes.transData.inverted().transform(middle))
        axes.text(label_x, label_y, row.short_title, color=colours[row.method], fontsize=font, ha="center", va="center")


def _courses(
    axes: "Axes", rows: Sequence[Row], colours: Mapping[str, str], slots: Mapping[float, float], again: float
) -> None:
    """The line of each series with its re-adapted point, and its label at the right."""
    low, high = axes.get_ylim()
    ends = []
    for index, row in enumerate(rows):
        colour = colours[row.method]
        shift = 0.44 * ((index + 0.5) / len(rows) - 0.5)
        course = [(slots[age] + shift, s) for age, s in row.ages().items() if s.mean is not None]
        readapted = row.stat("accuracy_readapted")
        style = {"color": colour, "elinewidth": 0.9, **_marker_style(row, colours), "markersize": 5.5}
        for x, statistic in [*course, *([(again + shift, readapted)] if readapted.mean is not None else [])]:
            axes.errorbar(x, 100 * (statistic.mean or 0), yerr=100 * (statistic.spread or 0), **style)
        axes.plot(
            [x for x, _ in course], [100 * (s.mean or 0) for _, s in course], color=colour, linewidth=1.5, zorder=1
        )
        last_x, last = course[-1]
        if readapted.mean is not None:
            axes.plot(
                [last_x, again + shift],
                [100 * (last.mean or 0), 100 * readapted.mean],
                color=colour,
                linewidth=1.1,
                linestyle=(0, (1, 2)),
                zorder=1,
            )
            last_x, last = again + shift, readapted
        ends.append((last_x, 100 * (last.mean or 0)))
    height_points = axes.get_window_extent().height
    heights = spread_vertically([y for _, y in ends], 12.5 / height_points * (high - low), low, high)
    for row, (x, y), height in zip(rows, ends, heights, strict=True):
        axes.plot(
            [x + 0.08, again + 0.62, again + 0.68],
            [y, height, height],
            color=colours[row.method],
            linewidth=0.7,
            alpha=0.7,
        )
        axes.text(again + 0.72, height, row.short_title, color=colours[row.method], fontsize=8.5, va="center")
