"""Draws what wire resistance does to a read: which cells lose how much, and how the error grows with the array.

    python examples/plot_ir_drop.py [FILE]

writes the picture to FILE (PNG or SVG), or into the folder for temporary files. Cells have random levels of the
`reram` cell. On the left, one word line after the other is driven: a cell of low conductance may gain current by way
of its neighbours (sneak paths). The segment resistances are examples, around the 2.1 ohm that the
`isaac-32nm` periphery takes from NeuroSim.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from edge_adapt import load_chip
from edge_adapt.simulator import effective_conductance
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator, ScalarFormatter

SIZES = (16, 32, 64, 128, 256)
OHMS = (0.3, 1.0, 3.0, 10.0)
SHOWN = (128, 1.0)


def random_cells(size: int, rng: np.random.Generator) -> np.ndarray:
    """(size, size) siemens: every level of the cell with the same probability."""
    cell = load_chip("reram").cell
    return np.linspace(cell.g_min_siemens, cell.g_max_siemens, cell.levels)[rng.integers(0, cell.levels, (size, size))]


def current_error(cells: np.ndarray, effective: np.ndarray, rng: np.random.Generator) -> float:
    """Root mean square error of the bit-line currents for random voltages, as a part of the currents."""
    volts = rng.uniform(0.0, 0.2, (64, len(cells)))
    return float(np.linalg.norm(volts @ (effective - cells)) / np.linalg.norm(volts @ cells))


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.gettempdir()) / "ir-drop.png"
    rng = np.random.default_rng(7)
    arrays = {size: random_cells(size, rng) for size in SIZES}
    errors = {
        ohms: [current_error(cells, effective_conductance(cells, ohms, ohms), rng) for cells in arrays.values()]
        for ohms in OHMS
    }
    print("error of the currents   " + "".join(f"{size:>9}" for size in SIZES))
    for ohms, values in errors.items():
        print(f"{ohms:>6} ohm a segment   " + "".join(f"{value:>9.2%}" for value in values))

    size, ohms = SHOWN
    cells = arrays[size]
    drop = 1.0 - effective_conductance(cells, ohms, ohms) / cells
    percent = FuncFormatter(lambda value, _: f"{100 * value:g}%")
    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.1, 1.0))
    image = left.imshow(drop, cmap=colormaps["viridis"].with_extremes(under="lightgrey"), vmin=0.0)
    figure.colorbar(image, ax=left, format=percent, extend="min", label="lost of the cell's current (grey: gained)")
    left.set(title=f"{size} × {size} cells, {ohms:g} Ω a segment", xlabel="bit line (drivers on the left)",
             ylabel="word line (amplifiers below)")  # fmt: skip
    for number, (ohms, values) in enumerate(errors.items()):
        right.loglog(SIZES, values, "o-", color=f"C{number}")
        right.annotate(f"{ohms:g} Ω  ", (SIZES[0], values[0]), ha="right", va="center", color=f"C{number}")
    right.set(title="error of the bit-line currents", xlabel="rows and columns", xticks=SIZES, xlim=(10, 300))
    right.xaxis.set_major_formatter(ScalarFormatter())
    right.xaxis.set_minor_locator(NullLocator())
    right.yaxis.set_major_formatter(percent)
    right.grid(True, which="major", alpha=0.3)
    figure.savefig(path, dpi=150)
    print(f"drawn: {path}")


if __name__ == "__main__":
    main()
