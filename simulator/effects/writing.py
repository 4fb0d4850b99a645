"""Effects that decide where weights are written, and how far a pulse moves a cell.

They set numbers of the mapping (`mapping`, `rotation`), of the pulses (`response`, `writing`, `pulse_kernel`) and of
the cells that fail (`faults`, `spares`), which belong to writing itself.
"""

from ...devices import Chip
from .. import reference
from ..accounting import EventCounts
from ..mapping import Layout
from ..rotation import additions
from .protocol import WRITE, Effect, nulls

_CURVE = ("response.set_nonlinearity", "response.reset_nonlinearity")


def _additions(chip: Chip, layout: Layout) -> EventCounts:
    return EventCounts(digital_adds=additions(chip, layout.inputs))


EFFECTS = (
    Effect("conductance levels", ("conductance.levels",), "none: a rule", WRITE, place=1, figure="levels"),
    Effect("bit slices", ("array.slices",), "none: a rule", WRITE, {"array.slices": "1"}, 1, place=2, figure="slices"),
    Effect("Hadamard rotation", ("array.rotation",), "none: a rule", WRITE, {"array.rotation": "none"}, "none", place=3,
           events=_additions, reference=reference.transform, figure="rotation"),
    Effect("offset column instead of pairs", ("array.mapping",), "none: a rule", WRITE,
           {"array.mapping": "differential"}, "differential", place=4, figure="mapping"),
    Effect("stuck cells", ("faults.stuck_low", "faults.stuck_high"), "the life of the chip", WRITE,
           nulls("faults.stuck_low", "faults.stuck_high"), place=5, figure="faults"),
    Effect("stuck cells in clusters", ("faults.cluster_cells",), "the life of the chip", WRITE,
           nulls("faults.cluster_cells"), place=6, figure="faults"),
    Effect("spare columns", ("array.spare_columns",), "the life of the chip", WRITE, {"array.spare_columns": "0"},
           place=7, figure="faults"),
    Effect("program-and-verify", ("programming.tolerance", "programming.pulses_max"), "until the next write", WRITE,
           place=8, reference=reference.program_blocks, figure="pulses"),
    Effect("LTP/LTD curve", _CURVE, "none: a rule", WRITE, dict.fromkeys(_CURVE, "0"), place=9, figure="curves"),
    Effect("growth of the step with the voltage", ("response.pulse_step_growth",), "none: a rule", WRITE,
           {"response.pulse_step_growth": "0"}, place=10, figure="steps"),
    Effect("cell-to-cell spread of the step", ("response.cell_to_cell_sigma",), "the life of the chip", WRITE,
           {"response.cell_to_cell_sigma": "0"}, place=11, figure="steps"),
    Effect("cycle-to-cycle spread of the step", ("response.cycle_to_cycle_sigma",), "one pulse", WRITE,
           {"response.cycle_to_cycle_sigma": "0"}, place=12, figure="steps"),
    Effect("cycle-to-cycle spread, part of the window", ("response.cycle_to_cycle_range_sigma",), "one pulse", WRITE,
           nulls("response.cycle_to_cycle_range_sigma"), place=13, figure="curves"),
    Effect("cells dying of writes", ("endurance.spread",), "the life of the chip", WRITE, nulls("endurance.spread"),
           place=14, figure="wear"),
)  # fmt: skip
