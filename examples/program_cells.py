"""Programs one crossbar array pulse by pulse and shows what the write cost.

Prints pulses per cell, cells that gave up, energy and time for a first write, for writing the same again (verify reads
only) and for moving every tenth cell by one level; then how many pulses the cells needed.
"""

import numpy as np
from edge_adapt import load_chip
from edge_adapt.simulator import WriteLog, program_cells

ROWS = COLUMNS = 128


def show(what: str, log: WriteLog) -> None:
    """One line of a write's log."""
    print(
        f"{what:<22} {log.pulses.mean():6.2f} pulses/cell  {log.failed.mean():6.2%} gave up  "
        f"{log.energy_joules * 1e9:8.2f} nJ ({log.verify_joules / log.energy_joules:5.1%} verify reads)  "
        f"{log.time_seconds * 1e3:7.3f} ms"
    )


def main() -> None:
    cell = load_chip("reram").cell
    rng = np.random.default_rng(0)
    levels = np.linspace(cell.g_min_siemens, cell.g_max_siemens, cell.levels)
    chosen = rng.integers(cell.levels, size=(ROWS, COLUMNS))

    conductance, log = program_cells(levels[chosen], cell, rng)
    show("first write", log)
    error = np.abs(conductance - levels[chosen])[~log.failed].max() * 1e6
    print(f"{'':<22} largest error of the others {error:.2f} uS")

    settled = np.where(log.failed, levels[chosen], conductance)
    _, again = program_cells(levels[chosen], cell, rng, initial_siemens=settled)
    show("the same again", again)

    moved = chosen.copy()
    moved.ravel()[::10] = np.clip(moved.ravel()[::10] + 1, 0, cell.levels - 1)
    _, small = program_cells(levels[moved], cell, rng, initial_siemens=conductance)
    show("a tenth moved a level", small)

    print("\npulses  cells of the first write")
    counts, edges = np.histogram(log.pulses, bins=np.arange(0, cell.pulses_max + 3, 2))
    for count, low in zip(counts, edges, strict=False):
        print(f"{low:>3}-{low + 1:<3} {'#' * round(100 * count / log.pulses.size)} {count}")


if __name__ == "__main__":
    main()
