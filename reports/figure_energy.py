"""Where the energy goes.

Stacked bars on a logarithmic axis have no meaning, and on a linear one most methods would vanish beside the most
expensive. So: totals as points on a logarithmic axis, and beside them each total split into shares on a linear axis.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .canvas import (
    COMPONENT_COLOURS,
    MUTED,
    ON_FILL,
    PAPER,
    WIDE_INCHES,
    Drawing,
    fill_of,
    finish,
    is_wide,
    marker_of,
    new_figure,
    quiet_axes,
    si_axis,
    text_size,
)
from .rows import Row, component_title, labels_of
from .values import si

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW_INCHES = 0.36
_OTHER_COLOURS = ("#e0c0e0", "#c0e0e0", "#e0e0c0")


def energy_by_component(
    rows: Sequence[Row], colours: Mapping[str, str], what: str, width: float = WIDE_INCHES
) -> Drawing | None:
    """Totals and shares by component of `what` (`adaptation` or `inference`). None when no energy is known.

    Args:
        rows: rows of one number of shots.
        colours: colour of each method.
    """
    total_name, parts_name = f"{what}_energy_joules", f"{what}_energy_by_component_joules"
    known = [row for row in rows if row.stat(total_name).mean]
    if not known:
        return None
    known.sort(key=lambda row: row.stat(total_name).mean or 0.0, reverse=True)  # drawn from the bottom up
    totals = [row.stat(total_name).mean or 0.0 for row in known]
    found = dict.fromkeys(name for row in known for name, v in row.components(parts_name).items() if v > 0)
    names = [n for n in COMPONENT_COLOURS if n in found] + [n for n in found if n not in COMPONENT_COLOURS]
    fills = _fills(names)
    wide = is_wide(width)
    columns = 5 if wide else 3
    top = 0.46 + 0.17 * -(-len(names) // columns)
    panel = 0.4 + _ROW_INCHES * len(known)
    height = top + 0.5 + (panel if wide else 2 * panel + 0.5)
    with new_figure(height, width) as figure:
        margin = max(text_size(figure, row.short_title, 8.5)[0] for row in known) / 72 + 0.14
        shape: dict[str, Any] = {"ncols": 2, "width_ratios": [1.0, 1.55]} if wide else {"nrows": 2}
        left, right = figure.subplots(sharey=True, **shape)
        figure.subplots_adjust(
            left=margin / width, right=1 - 0.14 / width, top=1 - top / height, bottom=0.5 / height, wspace=0.07,
            hspace=0.5 / panel,
        )  # fmt: skip
        left.set_yticks(range(len(known)), [row.short_title for row in known])
        left.set_ylim(-0.6, len(known) - 0.4)
        left.set_xscale("log")
        left.set_xlim(10 ** math.floor(math.log10(min(totals) * 0.7)), max(totals) * (40 if wide else 200))
        unit = "one adaptation" if what == "adaptation" else "one example"
        left.set_xlabel(f"energy of {unit} (log.)")
        right.set_xlabel("share of this energy, % (linear)")
        right.set_xlim(0, 100)
        for y, (row, total) in enumerate(zip(known, totals, strict=True)):
            _total(left, y, row, total, colours)
            _shares(right, y, row.components(parts_name), fills)
        quiet_axes(left, "x")
        quiet_axes(right, "none")
        si_axis(left.xaxis, "J", most_ticks=5)
        right.spines["left"].set_visible(False)
        _legend(figure, fills, columns, 1 - 0.16 / height)
        spoken = "; ".join(
            f"{row.title} {si(total, 'J')}: "
            + ", ".join(f"{component_title(n)} {si(v, 'J')}" for n, v in row.components(parts_name).items() if v > 0)
            for row, total in zip(reversed(known), reversed(totals), strict=True)
        )
        words = f"{unit} at {known[0].shots} shots"
        return finish(
            figure,
            f"energy-{what}",
            f"Energy of {unit} by component",
            f"Points: energy of {words}, mean over the seeds, on a logarithmic axis. Bars: the same energy split into "
            "shares on a linear axis, shares of 6 % and more in numbers. Lengths of bars can be compared only as "
            "shares; the joules of every component are in the table.",
            f"Energy of {words} by component. {spoken}.",
            labels_of(known),
        )


def _fills(names: Sequence[str]) -> dict[str, str]:
    """The colour of each component."""
    extra = iter(_OTHER_COLOURS * len(names))
    return {name: COMPONENT_COLOURS.get(name) or next(extra) for name in names}


def _total(axes: "Axes", y: float, row: Row, total: float, colours: Mapping[str, str]) -> None:
    """The point of a row, with its value."""
    colour = colours[row.method]
    axes.plot(
        total, y, marker=marker_of(row.placement), markersize=7, color=colour,
        markerfacecolor=PAPER if row.estimated else colour, fillstyle=fill_of(row.method, colours),
        markerfacecoloralt=PAPER, markeredgewidth=1.4,
    )  # fmt: skip
    axes.annotate(si(total, "J"), (total, y), xytext=(8, 0), textcoords="offset points", va="center", fontsize=8.5)


def _shares(axes: "Axes", y: float, parts: Mapping[str, float], fills: Mapping[str, str]) -> None:
    """The bar of a row, cut into its components."""
    edge, whole = 0.0, sum(parts.values())
    for name, fill in fills.items():
        share = 100 * parts.get(name, 0.0) / whole if whole else 0.0
        axes.barh(y, share, left=edge, height=0.66, color=fill, edgecolor=PAPER, linewidth=0.5)
        if share >= 6:
            axes.text(edge + share / 2, y, f"{share:.0f}", ha="center", va="center", fontsize=8, color=ON_FILL)
        edge += share


def _legend(figure: "Figure", fills: Mapping[str, str], columns: int, top: float) -> None:
    from matplotlib.patches import Patch

    figure.legend(
        [Patch(facecolor=fill, edgecolor=MUTED, linewidth=0.4) for fill in fills.values()],
        [component_title(name) for name in fills],
        loc="upper left", ncols=columns, frameon=False, fontsize=8.5, bbox_to_anchor=(0.0, top), borderaxespad=0,
        handlelength=1, columnspacing=1.4,
    )  # fmt: skip
