"""Wires between the cells of a chip's arrays: the conductances that reads see behind them.

`array.wires` says what is simulated:

none: lines are ideal, reads see the conductances of the cells.
exact: every line is a chain of segments of `wires.resistance`, driven at column 0 (`wires.driver_resistance`) and held
    at 0 V behind the last row (`wires.sense_resistance`); all bit lines of an array are held during a read. The
    conductance of a cell is what its verify reads saw, with its access device, and that is not added again.
exact_with_access: the same, and `layout.access_resistance` is in series with every cell: for cell files whose
    conductances are those of the bare element.

The network is linear, so an array is the matrix of its effective conductances (see `wires`), and these take the place
of the cells': in sums, in products with the transposed matrix (by reciprocity of the network they are what word lines
would sense) and in the energy of a read (V² G with all word lines driven alike).

Where cells lie: an array holds the outputs one beside the other, in an output the slices from the least significant
one, in a slice the plus and the minus cell; then the reference columns of the offset mapping, one a slice, at a place
that does not depend on how many outputs the array holds; then the spare columns. The first input is the word line
farthest from the sense amplifiers. An array that is not full leaves its farthest word lines and bit lines unused, and
cells of lines that are not used are open: their access devices are off.

Read noise: with E the effective conductance of a cell of conductance G, its noise counts E / G times, the part of the
drive that reaches the cell. That is exact without wires. With wires it takes the voltage at a cell from the drive of
its own word line alone, and leaves out the little that shows in other bit lines: an approximation of first order in the
wires, within 2 % of the variance of random draws through the wires for inputs of both signs in 128 x 128 arrays of the
chip `reram-wires` (within 10 % if all inputs have one sign; 15 % of the current is lost there).

Writing and verifying see the cells without wires. Cells whose current is not proportional to the voltage (`iv_curve`)
have no matrix of effective conductances, and a chip with both is refused: `nonlinear_wires.nonlinear_read` solves one
array and drive at a time, for analysis.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from ..devices import Chip
from .mapping import Layout
from .temperature import wire_ohms
from .wires import effective_conductances

AT_ONCE = 1 << 21  # cells of arrays that are looked at together
Place = tuple[int, int]  # an array: which of those below each other, which of those beside each other


@dataclass(frozen=True)
class ArrayWires:
    """The wires of every array of a chip, in ohms."""

    segment: float
    driver: float
    sense: float
    access: float

    @staticmethod
    def of(chip: Chip) -> "ArrayWires | None":
        """The wires of a chip; None where they are ideal."""
        if chip.array.wires == "none":
            return None
        p = chip.periphery
        access = (chip.cell.access_ohms or 0.0) if chip.array.wires == "exact_with_access" else 0.0
        return ArrayWires(wire_ohms(p), p.driver_ohms or 0.0, p.sense_ohms or 0.0, access)

    def behind(
        self,
        siemens: np.ndarray,
        layout: Layout,
        spares: np.ndarray | None = None,
        only: Collection[Place] | None = None,
        on_arrays: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """Effective conductances of cells (slices, polarities, inputs, sensed) float32, in the same order and type.

        spares: (row_tiles, sensed) int, the spare group that holds an output of an array, -1 for none. only: the arrays
        that are looked at; the others stay as they are. on_arrays: called now and then with how many arrays are done
        since the last call.
        """
        out = siemens.copy()
        places = [
            (tile, array)
            for tile in range(layout.row_tiles)
            for array in range(layout.column_tiles)
            if only is None or (tile, array) in only
        ]
        alike: dict[tuple[int, int], list[tuple[Place, np.ndarray]]] = {}
        for tile, array in places:
            lines = bit_lines(layout, array, None if spares is None else spares[tile])
            rows = word_lines(layout, tile)
            alike.setdefault((rows.stop - rows.start, int(lines.max()) + 1), []).append(((tile, array), lines))
        for (rows_used, width), members in alike.items():
            step = max(1, AT_ONCE // (rows_used * width))
            for start in range(0, len(members), step):
                self._look(siemens, layout, members[start : start + step], (rows_used, width), out, on_arrays)
        return out

    def _look(
        self, siemens: np.ndarray, layout: Layout, members: list, shape: Place, out: np.ndarray, on_arrays
    ) -> None:
        cells = np.zeros((len(members), *shape), np.float32)
        for n, ((tile, array), lines) in enumerate(members):
            held = siemens[:, :, word_lines(layout, tile)][..., sensed_of(layout, array)]
            cells[n][:, lines] = np.moveaxis(held, 2, 0)
        done = 0

        def pass_on(now: int) -> None:
            nonlocal done
            if on_arrays is not None:
                on_arrays(now - done)
            done = now

        effective_conductances(
            cells, self.segment, self.segment, self.driver, self.sense, access_ohms=self.access, out=cells,
            on_tile=pass_on,
        )  # fmt: skip
        for n, ((tile, array), lines) in enumerate(members):
            out[:, :, word_lines(layout, tile), sensed_of(layout, array)] = np.moveaxis(cells[n][:, lines], 0, 2)


def word_lines(layout: Layout, tile: int) -> slice:
    """The inputs of the arrays of one row of arrays."""
    return slice(tile * layout.rows, min((tile + 1) * layout.rows, layout.inputs))


def sensed_of(layout: Layout, array: int) -> slice | np.ndarray:
    """The sensed columns of a matrix that lie in one of the arrays beside each other: outputs, then its reference."""
    first = array * layout.outputs_per_array
    outputs = slice(first, min(first + layout.outputs_per_array, layout.outputs))
    return np.append(np.arange(outputs.start, outputs.stop), layout.outputs + array) if layout.references else outputs


def bit_lines(layout: Layout, array: int, spares: np.ndarray | None = None) -> np.ndarray:
    """The bit lines of an array's cells, (slices, polarities, sensed in the array) int. spares: (sensed,) int, the
    spare group that holds an output, -1 for none.
    """
    each = layout.cells_per_weight
    sensed = sensed_of(layout, array)
    numbers = np.arange(sensed.start, sensed.stop) if isinstance(sensed, slice) else sensed
    local = numbers - array * layout.outputs_per_array
    start = local * each
    if spares is not None:
        moved = spares[numbers]
        start = np.where(moved >= 0, layout.columns + moved * each, start)
    cell = np.arange(each).reshape(layout.slices, layout.polarities, 1)
    lines = start + cell
    if layout.references and (spares is None or spares[numbers[-1]] < 0):
        lines[..., -1] = layout.outputs_per_array * each + cell[..., 0]
    return lines
