"""Everything that matters at a glance: a row per method and placement, a panel per metric, a point per device."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .canvas import (
    GRID,
    INK,
    MUTED,
    PAPER,
    WIDE_INCHES,
    Drawing,
    finish,
    is_wide,
    new_figure,
    percent_axis,
    percent_limits,
    quiet_axes,
    si_axis,
    text_size,
)
from .compare_rows import never_wears, row_like
from .rows import Row, labels_of
from .values import count, duration, percent, si

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = "osD^vPXp"
_LINE_INCHES, _GAP_INCHES, _TOP_INCHES, _BOTTOM_INCHES = 0.088, 0.085, 0.62, 0.3


@dataclass(frozen=True)
class Metric:
    """One panel: a field of the records, its title, and the unit of its logarithmic axis ("%" is linear)."""

    name: str
    title: str
    unit: str


_METRICS = (
    Metric("accuracy_chip", "accuracy\non the chip, %", "%"),
    Metric("adaptation_energy_joules", "energy of\none adaptation", "J"),
    Metric("adaptation_time_seconds", "time of\none adaptation", "s"),
    Metric("inference_energy_joules", "energy of\none example", "J"),
    Metric("tasks_until_worn_out", "adaptations until\nworn out", ""),
)


def metrics_by_device(
    groups: Mapping[str, Sequence[Row]],
    colours: Mapping[str, str],
    name: str,
    title: str,
    width: float = WIDE_INCHES,
) -> Drawing | None:
    """A dot plot: rows of every device (device -> its rows, one task), one panel per metric that has any value."""
    every = list({(r.method, r.placement): r for rows in groups.values() for r in rows}.values())
    metrics = [m for m in _METRICS if any(_value(r, m) for rows in groups.values() for r in rows)]
    if not every or not metrics:
        return None
    pitch = _LINE_INCHES * len(groups) + _GAP_INCHES
    panel, wide = pitch * len(every), is_wide(width)
    height = _TOP_INCHES + _BOTTOM_INCHES + (panel if wide else len(metrics) * (panel + 0.66) - 0.66)
    with new_figure(height, width) as figure:
        margin = max(text_size(figure, row.short_title, 8)[0] for row in every) / 72 + 0.1
        shape = (1, len(metrics)) if wide else (len(metrics), 1)
        panels = figure.subplots(*shape, sharey=True, squeeze=False).ravel()
        figure.subplots_adjust(
            left=margin / width, right=1 - 0.12 / width, top=1 - _TOP_INCHES / height,
            bottom=_BOTTOM_INCHES / height, wspace=0.12, hspace=0.66 / panel,
        )  # fmt: skip
        for axes, metric in zip(panels, metrics, strict=True):
            axes.set_ylim(len(every) - 0.5, -0.5)
            for y in range(1, len(every), 2):
                axes.axhspan(y - 0.5, y + 0.5, color=GRID, alpha=0.4, linewidth=0, zorder=0)
            _scale(axes, metric, groups)
            for y, row in enumerate(every):
                for place, rows in enumerate(groups.values()):
                    found = row_like(rows, row)
                    if found is not None:
                        offset = (place - (len(groups) - 1) / 2) * _LINE_INCHES / pitch
                        _dot(axes, metric, found, y + offset, colours[row.method], _MARKERS[place % len(_MARKERS)])
            quiet_axes(axes, "x")
            axes.spines["left"].set_visible(False)
        panels[0].set_yticks(range(len(every)), [row.short_title for row in every])
        for axes in panels[:1] if wide else panels:
            axes.tick_params(axis="y", labelsize=8)
            for label, row in zip(axes.get_yticklabels(), every, strict=True):
                label.set_color(colours[row.method])
        _legend(figure, list(groups), 8 if wide else 4, 1 - 0.04 / height)
        spoken = "; ".join(
            f"{row.title} on {device}: " + ", ".join(f"{m.title} {_words(row, m)}".replace("\n", " ") for m in metrics)
            for device, rows in groups.items()
            for row in rows
        )
        worn = (
            " At the right edge (∞): writes no cell, or cells that do not wear out." if metrics[-1].unit == "" else ""
        )
        return finish(
            figure,
            name,
            title,
            "One row per method and placement, in its colour; one point per device, whose shape the legend gives. "
            "First panel: accuracy as adapted, and a thin line to where 30 days bring it. Other axes are logarithmic."
            f"{worn} Means over the seeds; a missing point is unknown, or zero on a logarithmic axis.",
            f"Dot plot of {title}. {spoken}.",
            labels_of(every),
        )


def _legend(figure: "Figure", devices: Sequence[str], columns: int, top: float) -> None:
    """The marker of each device."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="none", marker=_MARKERS[n % len(_MARKERS)], color=INK, markersize=4.6)
        for n in range(len(devices))
    ]
    figure.legend(
        handles, list(devices), loc="upper left", ncols=columns, frameon=False, fontsize=8.5, borderaxespad=0,
        bbox_to_anchor=(0.0, top), handlelength=1, handletextpad=0.3, columnspacing=1.6,
    )  # fmt: skip


def _value(row: Row, metric: Metric) -> float | None:
    if metric.name == "tasks_until_worn_out":
        tasks = row.tasks_until_worn_out
        return tasks if isinstance(tasks, float) else None
    return row.stat(metric.name).mean


def _words(row: Row, metric: Metric) -> str:
    if metric.unit == "%":
        return f"{percent(row.stat(metric.name))} %"
    if metric.unit == "":
        return "unlimited" if never_wears(row) else count(_value(row, metric))
    value = _value(row, metric)
    return duration(value) if metric.unit == "s" else si(value, metric.unit)


def _scale(axes: "Axes", metric: Metric, groups: Mapping[str, Sequence[Row]]) -> None:
    """Limits and ticks of a panel, the same for all rows."""
    axes.set_title(metric.title, fontsize=8.5, fontweight="normal", pad=4)
    axes.tick_params(axis="x", labelsize=7.5)
    rows = [row for group in groups.values() for row in group]
    if metric.unit == "%":
        ends = [row.stat(name).mean for row in rows for name in ("accuracy_chip", "accuracy_drifted")]
        known = [100 * end for end in ends if end is not None]
        axes.set_xlim(*percent_limits(known, 0.08))
        percent_axis(axes.xaxis, axes.get_xlim(), most_ticks=3)
        return
    positive = [value for row in rows if (value := _value(row, metric))]
    low, high = min(positive), max(positive)
    wide = max(high / low, 10.0) ** 0.1
    left, right = low / wide, high * wide ** (1 if metric.unit else 4)  # at the right there is room for ∞
    if math.ceil(math.log10(left)) > math.floor(math.log10(right)):
        left = 10.0 ** math.floor(math.log10(left))  # a tick needs a whole decade
    axes.set_xscale("log")
    axes.set_xlim(left, right)
    si_axis(axes.xaxis, metric.unit, most_ticks=4)


def _dot(axes: "Axes", metric: Metric, row: Row, y: float, colour: str, marker: str) -> None:
    style: Any = {
        "linestyle": "none", "marker": marker, "markersize": 4.6, "color": colour, "zorder": 3,
        "markerfacecolor": PAPER if row.estimated else colour, "markeredgewidth": 0.8,
    }  # fmt: skip
    value = _value(row, metric)
    if metric.unit == "%":
        if value is None:
            return
        later = row.stat("accuracy_drifted").mean
        if later is not None:
            axes.plot([100 * value, 100 * later], [y, y], color=colour, linewidth=0.9, alpha=0.8, zorder=2)
        axes.plot(100 * value, y, **style)
    elif metric.unit == "" and never_wears(row):
        axes.annotate(
            "∞", (0.97, y), xycoords=("axes fraction", "data"), ha="right", va="center", fontsize=7.5, color=MUTED
        )
    elif value:
        axes.plot(value, y, **style)
