"""How every figure looks, and how it becomes SVG: fonts, colours, deterministic output, light and dark.

A family of methods has one colour, a placement one marker. Methods of one family are told apart by how much of the
marker is filled, from the sixth on by a second shade. Hollow markers are estimated figures. The colours were searched
for so that they stay apart with normal, protan, deutan and tritan vision and have the contrast of text on a light or
dark page; tests measure both.

Every figure is drawn twice: at the width of a page, and for narrow screens with its panels one below the other.
"""

import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape, quoteattr

from ..defaults import DEFAULT_METHODS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID, PAPER = "#1a1d21", "#5a646e", "#dfe3e8", "#fefefe"
ON_FILL = "#101317"  # text on a coloured bar, the same in light and dark

#: family of methods (`methods.spec.FAMILIES`) -> colour on a light and on a dark page
FAMILY_COLOURS = {
    "fusion": ("#2b6fea", "#3b85f9"),
    "low-rank": ("#b84a00", "#f06e09"),
    "all": ("#c4409a", "#aa6e9b"),
    "head": ("#00855f", "#6ac3a4"),
    "none": ("#4d5359", "#dfe5e9"),
    "token-vectors": ("#5c3a00", "#efc84d"),
    "prompts": ("#48337d", "#b8a8f9"),
    "vectors": ("#8a09aa", "#ef21dd"),
    "updates": ("#621331", "#fe1268"),
    "side": ("#013b52", "#acfda4"),
}
#: of methods that are not registered here: those of another version's records
_OTHER_COLOURS = (
    ("#8a5a3c", "#d0a184"),
    ("#4b6f00", "#a5cc4d"),
    ("#c2185b", "#ff7fae"),
    ("#007d88", "#4fcbd6"),
    ("#455a64", "#9fb4be"),
)
#: light fills for components: a set of their own, so that a component is not taken for a method
COMPONENT_COLOURS = {
    "cells_read": "#77aadd",
    "cells_write": "#ee8866",
    "write_access": "#f4b8a0",
    "write_pump": "#c87858",
    "lines": "#d8b8a0",
    "dac": "#eedd88",
    "adc": "#44bb99",
    "sample_hold": "#99ddff",
    "shift_add": "#aaaa44",
    "buffer": "#ffaabb",
    "router": "#b0a8d8",
    "digital": "#bbcc33",
    "sram": "#c8c8d0",
    "dram": "#a8a8c0",
    "leakage": "#a8c8b8",
    "pump_leakage": "#d8c0c8",
    "digital_leakage": "#d4dca0",
    "sram_leakage": "#e0e0e6",
}
_MARKERS = {"NVM_STEP": "s", "NVM_TASK": "D", "DIGITAL": "o", "NVM_FROZEN": "v"}
_FILLS = ("full", "left", "top", "right", "bottom")


def _deeper(colour: str, towards: str) -> str:
    """A second shade of a colour, for the sixth method of a family and those behind it."""
    pairs = [(int(colour[i : i + 2], 16), int(towards[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(0.55 * own + 0.45 * other):02x}" for own, other in pairs)


_SERIES = (*FAMILY_COLOURS.values(), *_OTHER_COLOURS)
_DARK = {INK: "#e8eaed", MUTED: "#a3adb8", GRID: "#343a41", PAPER: "#17191c", **dict(_SERIES)} | {
    _deeper(light, "#000000"): _deeper(dark, "#ffffff") for light, dark in _SERIES
}
#: colour in the drawing -> CSS variable of the page, which has a light and a dark value
_VARIABLES = {INK: "ink", MUTED: "muted", GRID: "line", PAPER: "paper"} | {
    colour: f"series-{number}"
    for number, colour in enumerate(name for name in _DARK if name not in (INK, MUTED, GRID, PAPER))
}
_FONTS = "'DejaVu Sans', Verdana, 'Segoe UI', Arial, sans-serif"
#: widths of the two forms of a figure; the narrow one has text of 10 px and more on a screen of 390 px
WIDE_INCHES, NARROW_INCHES = 7.6, 4.2


@dataclass(frozen=True)
class Drawing:
    """One figure: `svg` is a complete file; `inline` the same for a page, with the page's colours and no XML header;
    `narrow` is its form for narrow screens, for a page.
    """

    name: str
    title: str
    caption: str
    alt: str
    label: str
    svg: str
    inline: str
    narrow: str = ""


def in_both_widths(draw: Callable[[float], Drawing | None]) -> Drawing | None:
    """The drawing of `draw(width in inches)` with its narrow form; None when there is nothing to draw."""
    wide = draw(WIDE_INCHES)
    narrow = draw(NARROW_INCHES) if wide is not None else None
    return None if wide is None else replace(wide, narrow=narrow.inline if narrow is not None else "")


def colours_of(methods: Iterable[str]) -> dict[str, str]:
    """A colour for each method: that of its family; a second shade of it where a family has more than five.

    The usual yardsticks come first, so that they have the full mark of their family whoever stands beside them.
    """
    from ..methods import METHODS

    colours: dict[str, str] = {}
    members: dict[str, int] = {}
    others, usual = 0, {entry.partition(":")[0] for entry in DEFAULT_METHODS}
    for name in sorted(dict.fromkeys(methods), key=lambda name: name not in usual):
        if name in METHODS:
            colour = FAMILY_COLOURS[METHODS[name].family][0]
        else:
            colour, others = _OTHER_COLOURS[others % len(_OTHER_COLOURS)][0], others + 1
        members[colour] = members.get(colour, 0) + 1
        colours[name] = colour if members[colour] <= len(_FILLS) else _deeper(colour, "#000000")
    return colours


def fill_of(method: str, colours: Mapping[str, str]) -> str:
    """How the markers of a method are filled: "full", or a half for the next ones that have the same colour."""
    same = [name for name, colour in colours.items() if colour == colours.get(method)]
    return _FILLS[same.index(method) % len(_FILLS)] if method in same else "full"


def page_colours() -> dict[str, tuple[str, str]]:
    """CSS variable -> (light, dark) for all colours that figures use."""
    return {name: (light, _DARK[light]) for light, name in _VARIABLES.items()}


def marker_of(placement: str) -> str:
    """The marker of a placement."""
    return _MARKERS.get(placement.upper(), "P")


@contextmanager
def new_figure(height_inches: float, width_inches: float = WIDE_INCHES) -> Iterator["Figure"]:
    """A figure in the house style, drawn without any global state of pyplot."""
    import matplotlib
    from matplotlib.figure import Figure

    style: Any = {
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "axes.titlesize": 9.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.labelsize": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": MUTED,
        "axes.linewidth": 0.8,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "grid.linewidth": 0.7,
        "xtick.labelsize": 8.5,
        "ytick.labelsize": 8.5,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.titlecolor": INK,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "figure.dpi": 72,
        "savefig.dpi": 72,
        "svg.fonttype": "none",
        "svg.hashsalt": "edge-adapt",
        "path.simplify": False,
        "text.parse_math": False,  # names are shown as they are
    }
    with matplotlib.rc_context(style):
        yield Figure(figsize=(width_inches, height_inches))


def finish(figure: "Figure", name: str, title: str, caption: str, alt: str, label: str) -> Drawing:
    """Turn a figure into a `Drawing`; call it inside `new_figure`. `label` is printed into the figure's corner."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    width, height = figure.get_size_inches()
    figure.text(
        1 - 0.04 / width, 1 - 0.05 / height, label, ha="right", va="top", fontsize=8, color=MUTED, style="italic"
    )
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = buffer.getvalue()
    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    body = body.replace("'DejaVu Sans'", _FONTS)
    body = _own_ids(body, name if is_wide(width) else f"{name}-narrow")
    start = body.index(">") + 1
    accessible = body[: start - 1] + f' role="img" aria-label={quoteattr(alt)}>'
    opening = f"\n <title>{escape(title)}</title>\n <desc>{escape(alt)}</desc>"
    background = '\n <rect width="100%" height="100%" fill="#ffffff"/>'
    svg = '<?xml version="1.0" encoding="utf-8"?>\n' + accessible + opening + background + body[start:]
    return Drawing(name, title, caption, alt, label, svg, _themed(accessible + body[start:]))


def _own_ids(svg: str, name: str) -> str:
    """Prefix every id with the figure's name: several figures stand in one page."""
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    return re.sub(r'href="#', f'href="#{name}-', svg)


def _themed(svg: str) -> str:
    """Let the page decide the colours: every known colour becomes a CSS variable with the colour as its fallback."""

    def themed(found: re.Match[str]) -> str:
        colour = found.group(0).lower()
        return f"var(--{_VARIABLES[colour]}, {colour})" if colour in _VARIABLES else colour

    svg = re.sub(r"(?<=[: ])#[0-9a-fA-F]{6}\b", themed, svg)
    head, rest = svg.split(">", maxsplit=1)
    return re.sub(r' (?:width|height)="[^"]*"', "", head) + ">" + rest  # the page gives the size


def is_wide(width_inches: float) -> bool:
    """Whether panels stand side by side at this width."""
    return width_inches > (WIDE_INCHES + NARROW_INCHES) / 2


def text_size(figure: Any, text: str, size: float) -> tuple[float, float]:
    """Width and height of a text in points; the measuring text leaves no trace."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()
    probe = figure.text(0, 0, text, fontsize=size)
    box = probe.get_window_extent(renderer)
    probe.remove()
    return box.width, box.height


def si_axis(axis: Any, unit: str, most_ticks: int = 9) -> None:
    """Label a logarithmic axis (`axes.xaxis` or `axes.yaxis`) with SI prefixes, whole decades only."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    from .values import si

    axis.set_major_locator(LogLocator(base=10, numticks=most_ticks))
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda value, _: si(value, unit, significant=1)))


def percent_limits(values: Iterable[float], margin: float) -> tuple[float, float]:
    """Ends of an axis that holds these per cents, with a margin on both sides as a share of their range.

    The range is two points at least, so that equal accuracies are not drawn as if hundredths of a point counted.
    """
    known = list(values)
    middle, span = (min(known) + max(known)) / 2, max(max(known) - min(known), 2.0)
    return middle - (0.5 + margin) * span, middle + (0.5 + margin) * span


def percent_axis(axis: Any, limits: tuple[float, float], most_ticks: int = 8) -> None:
    """Ticks of an axis (`axes.xaxis` or `axes.yaxis`) of accuracies in per cent: plain numbers, none outside 0 to 100,
    where the axis may go on to make room for marks and labels.
    """
    from matplotlib.ticker import MaxNLocator

    low, high = max(min(limits), 0.0), min(max(limits), 100.0)
    ticks = [round(float(tick), 6) for tick in MaxNLocator(most_ticks, steps=[1, 2, 5, 10]).tick_values(low, high)]
    known = [tick for tick in ticks if low <= tick <= high]  # rounded first: 100 may come as 100.00000000000001
    axis.set_ticks(known, [f"{tick:.6g}" for tick in known])


def quiet_axes(axes: "Axes", grid: str = "both") -> None:
    """No tick marks, and grid lines on one axis (`x`, `y`), both or `none`."""
    axes.tick_params(length=0, which="both")
    if grid == "none":
        axes.grid(visible=False)
    elif grid != "both":
        axes.grid(visible=False, axis="y" if grid == "x" else "x")
