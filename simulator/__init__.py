"""What the hardware does: programming, noise, drift, faults, converters, mapping, event counts, energy (numpy and numba)."""

from ..errors import require

require("numba")

from .accounting import Breakdown, CostTable, EventCounts, area  # noqa: E402
from .chip import ProgrammedModel, program  # noqa: E402
from .writing import WriteLog, program_cells  # noqa: E402

__all__ = ["Breakdown", "CostTable", "EventCounts", "ProgrammedModel", "WriteLog", "area", "program", "program_cells"]
