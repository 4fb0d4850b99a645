"""What the hardware does: programming, noise, drift, faults, converters, mapping, event counts, energy (numpy and
numba).
"""

import os

from ..errors import require

require("numba")
# Read when the thread pool of the kernels starts. A pool that spins while it waits makes a small read 200 times
# slower when other programs use the cores (25 ms instead of 0.13 ms).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from .accounting import EventCounts  # noqa: E402
from .chip import ProgrammedModel, program  # noqa: E402
from .costs import Breakdown, CostTable, area  # noqa: E402
from .nonlinear_wires import nonlinear_read, sinh_cell  # noqa: E402
from .wires import effective_conductance, effective_conductances  # noqa: E402
from .writing import WriteLog, program_cells  # noqa: E402

__all__ = [
    "Breakdown", "CostTable", "EventCounts", "ProgrammedModel", "WriteLog", "area", "effective_conductance",
    "effective_conductances", "nonlinear_read", "program", "program_cells", "sinh_cell",
]  # fmt: skip
