"""The programming figures: how many pulses cells took, and one tile as wanted, as programmed and the difference."""

from typing import TYPE_CHECKING, Any

from .canvas import INK, MUTED, WIDE_INCHES, Drawing, finish, is_wide, new_figure, quiet_axes
from .records.programming import Programming, Tile
from .values import count, digits, si

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

_BAR_COLOUR, _LINE_COLOUR = "#2b6fea", "#b84a00"  # both have a light and a dark value in the page
_MOST_BARS = 80
_CLIPPED_PERCENTILE = 99.0


def pulses(programming: Programming, width_inches: float = WIDE_INCHES) -> Drawing | None:
    """Histogram of program-and-verify pulses per cell and the share of cells not yet done. None without pulses."""
    import numpy as np

    counts = np.asarray(programming.pulses_histogram, dtype=np.int64)
    cells = int(counts.sum())
    if cells == 0:
        return None
    last = int(np.flatnonzero(counts)[-1])
    counts = counts[: last + 1]
    wide = is_wide(width_inches)
    with new_figure(2.75 if wide else 5.1, width_inches) as figure:
        bars, tail = figure.subplots(1, 2, width_ratios=[1.35, 1]) if wide else figure.subplots(2, 1)
        figure.subplots_adjust(
            left=0.65 / width_inches, right=1 - 0.11 / width_inches, top=0.86 if wide else 0.925,
            bottom=0.19 if wide else 0.1, wspace=0.27, hspace=0.46,
        )  # fmt: skip
        failed = programming.failed_cells
        _histogram(bars, counts, programming)
        _tail(tail, counts, failed)
        for axes in (bars, tail):
            quiet_axes(axes, "y")
        mean = programming.pulses_mean
        average = "unknown" if mean is None else digits(mean)
        words = f"{count(cells)} cells, mean {average} pulses, {count(failed)} out of tolerance"
        return finish(
            figure,
            "write-pulses",
            "Write pulses per cell",
            f"One-time programming of backbone and pool, cell by cell: {words}. First panel: share of cells by the "
            "number of pulses they took (0: already within tolerance). Second: share of cells that needed more than so "
            "many pulses, logarithmic, to show the tail.",
            f"Histogram of write pulses per cell and the share of cells not yet done after k pulses. {words}.",
            programming.label,
        )


def _histogram(axes: "Axes", counts: "np.ndarray", programming: Programming) -> None:
    """The share of cells by the number of pulses; counts: cells that took k pulses."""
    import numpy as np

    last, cells = len(counts) - 1, int(counts.sum())
    width = -(-len(counts) // _MOST_BARS)
    binned = np.add.reduceat(counts, np.arange(0, len(counts), width))
    edges = np.arange(len(binned) + 1) * width - 0.5
    axes.stairs(100 * binned / cells, edges, fill=True, color=_BAR_COLOUR)
    axes.set_ylim(bottom=0)
    axes.set_xlim(-0.5 - last / 60, last + 0.5 + last / 60)
    axes.set_title("pulses per cell")
    axes.set_xlabel("program-and-verify pulses" + (f", bins of {width}" if width > 1 else ""))
    axes.set_ylabel("cells, %")
    _mark(axes, "mean", programming.pulses_mean, 0.97)
    _mark(axes, "95th percentile", programming.pulses_p95, 0.82)


def _tail(axes: "Axes", counts: "np.ndarray", failed: int) -> None:
    """The share of cells that needed more than k pulses."""
    import numpy as np

    last, cells = len(counts) - 1, int(counts.sum())
    left_over = 1 - np.cumsum(counts) / cells
    axes.step(np.arange(last + 1), 100 * np.clip(left_over, 0, None), where="post", color=_BAR_COLOUR, linewidth=1.6)
    axes.set_title("cells that need more")
    axes.set_xlabel("pulses given")
    floor = [100 * float(v) for v in left_over if v > 0] + ([100 * failed / cells] if failed else [])
    axes.set_yscale("log" if floor else "linear")  # no cell needed a pulse: nothing to put on a logarithmic axis
    axes.set_ylabel(f"cells not yet done, %{' (log.)' if floor else ''}")
    axes.set_ylim(min(floor) / 4 if floor else 0, 150)
    axes.yaxis.set_major_formatter(lambda value, _: digits(value, 1) if value >= 1e-4 else f"{value:.0e}")
    if failed:
        axes.axhline(100 * failed / cells, color=_LINE_COLOUR, linewidth=1.2, linestyle=(0, (5, 3)))
        axes.annotate(
            f"out of tolerance at the end: {digits(100 * failed / cells, 2)} %",
            (0, 100 * failed / cells),
            xycoords=("axes fraction", "data"),
            xytext=(5, -11),
            textcoords="offset points",
            fontsize=8,
            color=_LINE_COLOUR,
        )


def _mark(axes: "Axes", name: str, value: float | None, height: float) -> None:
    """A vertical line with its name and value to the right of it."""
    if value is None:
        return
    axes.axvline(value, color=INK, linewidth=1.0, linestyle=(0, (4, 2)))
    near_edge = value > 0.6 * axes.get_xlim()[1]
    axes.annotate(
        f"{name} {digits(value)}",
        (value, height),
        xycoords=("data", "axes fraction"),
        xytext=(-4 if near_edge else 4, 0),
        textcoords="offset points",
        fontsize=8,
        va="top",
        ha="right" if near_edge else "left",
    )


def conductance_map(tile: Tile | None, label: str, width: float = WIDE_INCHES) -> Drawing | None:
    """Target, programmed and difference of one tile, in siemens. None without a tile."""
    if tile is None:
        return None
    import numpy as np

    target, programmed = (np.asarray(grid, dtype=float) for grid in (tile.target_siemens, tile.programmed_siemens))
    difference = programmed - target
    high = float(max(target.max(), programmed.max())) or 1e-9
    limit = (
        float(np.percentile(np.abs(difference), _CLIPPED_PERCENTILE)) or float(np.abs(difference).max()) or high / 100
    )
    beyond = int((np.abs(difference) > limit).sum())
    rms = float(np.sqrt(np.mean(difference**2)))
    wide = is_wide(width)
    size = 2.22 if wide else 1.72
    tall = min(size * target.shape[0] / target.shape[1], 2.6)
    row = tall + 1.26
    height = row if wide else 2 * row
    with new_figure(height, width) as figure:
        titles = ("target", "programmed", "programmed − target")
        for index, (title, values) in enumerate(zip(titles, (target, programmed, difference), strict=True)):
            left = 0.42 + (index if wide else index % 2) * (size + 0.2)
            axes = _panel(figure, left, 0.78 + (0 if wide or index == 2 else row), size, tall)
            signed = index == 2
            axes.imshow(
                values,
                cmap="RdBu_r" if signed else "viridis",
                vmin=-limit if signed else 0.0,
                vmax=limit if signed else high,
                interpolation="none",
                aspect="auto",
            )
            axes.set_title(title)
            quiet_axes(axes, "none")
            axes.set_xlabel("bit line", labelpad=1)
            if index == 0 or not (wide or index == 1):
                axes.set_ylabel("word line")
            else:
                axes.set_yticklabels([])
        _scale(figure, 0.42, 0.3 if wide else row + 0.3, 2 * size + 0.2, "viridis", 0.0, high)
        _scale(figure, 0.42 + 2 * (size + 0.2) if wide else 0.42, 0.3, size, "RdBu_r", -limit, limit)
        words = f"{target.shape[0]} × {target.shape[1]} cells of {tile.tensor}, rms difference {si(rms, 'S')}"
        return finish(
            figure,
            "conductance-map",
            "Conductance of a tile",
            f"{words}; neighbouring bit lines hold the two cells of a pair. "
            "First: conductance wanted; second: after program-and-verify; third: the difference, red too high "
            f"and blue too low, its colours end at ± {si(limit, 'S')} ({beyond} cells lie beyond).",
            f"Three maps of conductance: target, programmed and difference. {words}; targets reach {si(high, 'S')}.",
            label,
        )


def _panel(figure: Any, left: float, bottom: float, width: float, tall: float) -> "Axes":
    """Axes at a place given in inches."""
    whole, height = figure.get_size_inches()
    return figure.add_axes((left / whole, bottom / height, width / whole, tall / height))


def _scale(figure: Any, left: float, bottom: float, width: float, colours: str, low: float, high: float) -> None:
    """A horizontal colour scale as one small image (a colour bar would be hundreds of paths)."""
    import numpy as np
    from matplotlib.ticker import MaxNLocator

    axes = _panel(figure, left, bottom, width, 0.11)
    axes.imshow(
        np.linspace(0, 1, 256)[None], cmap=colours, extent=(low, high, 0, 1), aspect="auto", interpolation="none"
    )
    ticks = [low, 0.0, high] if low < 0 else [t for t in MaxNLocator(5).tick_values(low, high) if low <= t <= high]
    axes.set_xticks(ticks, [si(float(t), "S", 2).replace("-", "−") for t in ticks])
    if low < 0:  # the outer labels stay below the scale
        axes.get_xticklabels()[0].set_horizontalalignment("left")
        axes.get_xticklabels()[-1].set_horizontalalignment("right")
    axes.set_yticks([])
    quiet_axes(axes, "none")
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(labelcolor=MUTED)
