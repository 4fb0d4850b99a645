"""A tornado: how far the ratio of two methods' energies goes when each constant takes its lowest and highest value."""

import math
from typing import TYPE_CHECKING

from .canvas import COMPONENT_COLOURS, INK, MUTED, WIDE_INCHES, Drawing, finish, new_figure, quiet_axes, text_size
from .sensitivity import Ranking, Turn
from .sensitivity_words import in_words, ratio_text
from .values import si

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch

_ROW_INCHES = 0.3
_TICKS = (0.1, 0.2, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
_LOW, _HIGH = COMPONENT_COLOURS["adc"], COMPONENT_COLOURS["cells_write"]


def tornado(ranking: Ranking, width: float = WIDE_INCHES) -> Drawing | None:
    """The ranking's constants that have a range, the widest first. None where there are none.

    A bar goes from the ratio at the lowest value of the constant to that at its highest; the first method takes less
    where it is below 1.
    """
    turns = [turn for turn in ranking.turns if turn.ends is not None and min(turn.ends) > 0]
    if not turns:
        return None
    turns.sort(key=_span)  # drawn from the bottom up
    now = ranking.joules[0] / ranking.joules[1]
    height = 0.75 + 0.5 + _ROW_INCHES * len(turns)
    with new_figure(height, width) as figure:
        names = [_short(turn, width) for turn in turns]
        margin = max(text_size(figure, name, 8.5)[0] for name in names) / 72 + 0.14
        axes = figure.subplots()
        figure.subplots_adjust(
            left=margin / width, right=1 - 0.3 / width, top=1 - 0.62 / height, bottom=0.6 / height
        )  # fmt: skip
        axes.set_yticks(range(len(turns)), names)
        axes.set_ylim(-0.6, len(turns) - 0.4)
        axes.set_xscale("log")
        for y, turn in enumerate(turns):
            assert turn.ends is not None
            bars = zip(turn.ends, (_LOW, _HIGH), strict=True)
            for end, colour in sorted(bars, key=lambda bar: -abs(bar[0] - now)):  # the shorter one in front
                axes.barh(y, end - now, left=now, height=0.6, color=colour, edgecolor=MUTED, linewidth=0.4)
        axes.axvline(1.0, color=INK, linewidth=1.2)
        axes.axvline(now, color=MUTED, linewidth=0.9, linestyle=":")
        _ratio_axis(axes, [now, 1.0, *(end for turn in turns for end in turn.ends or ())])
        axes.set_xlabel(f"energy of {ranking.first} over {ranking.second}")
        axes.legend(
            [_patch(_LOW), _patch(_HIGH)], ["lowest of the sources", "highest"], loc="lower left", ncols=2,
            frameon=False, fontsize=8.5, bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2, handlelength=1,
        )  # fmt: skip
        quiet_axes(axes, "x")
        spoken = "; ".join(f"{in_words(turn)}: {ratio_text(turn)}" for turn in reversed(turns))
        return finish(
            figure,
            "sensitivity",
            "What the energy ranking rests on",
            f"Bars: the energy of an adaptation with {ranking.first} over that with {ranking.second}, when a constant "
            "takes the lowest and the highest value that sources give and all others stay. Left of 1, the first takes "
            f"less. Dotted: as it is, {now:.2f}.",
            f"Energy of {ranking.first} over {ranking.second}: {now:.2f} now. {spoken}.",
            "simulated",
        )


def _span(turn: Turn) -> float:
    assert turn.ends is not None
    return abs(math.log(turn.ends[1] / turn.ends[0]))


def _short(turn: Turn, width: float) -> str:
    """The key without its part, and the range where there is room."""
    name = turn.key.partition(".")[2] or turn.key
    if turn.between is None or width < WIDE_INCHES:
        return name
    return f"{name}, {si(turn.between.low, turn.unit)} to {si(turn.between.high, turn.unit)}"


def _ratio_axis(axes: "Axes", values: list[float]) -> None:
    """Limits and ticks of a logarithmic axis of ratios: 0.5, 1, 2 and so on."""
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

    low, high = min(values) / 1.1, max(values) * 1.1
    wanted = [tick for tick in _TICKS if low <= tick <= high]
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(wanted))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(wanted, [f"{tick:g}" for tick in wanted])


def _patch(colour: str) -> "Patch":
    from matplotlib.patches import Patch

    return Patch(facecolor=colour, edgecolor=MUTED, linewidth=0.4)
