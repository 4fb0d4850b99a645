"""Effects of the time since a write: relaxation and drift (`retention`, and `kernels.age_cells` for both at once), and
what a chip does against them (`compensation`).
"""

from ...devices import Chip
from .. import reference
from ..retention import held_message
from .protocol import TIME, Effect, nulls

_LOG = ("relaxation.log_sigma", "relaxation.log_mean", "relaxation.programming_sigma")
_DRIFT = ("drift.t0", "drift.exponent_coefficients", "drift.exponent_limits")
_SPREAD = ("drift.exponent_sigma_coefficients", "drift.exponent_sigma_limits", "drift.exponent_sigma_above")


def _held(chip: Chip, age_seconds: float) -> str | None:
    return held_message(chip.cell, age_seconds)


EFFECTS = (
    Effect("relaxation, table", ("relaxation.points",), "until the next write", TIME, nulls("relaxation.points"),
           place=1, message=_held, reference=reference.age_cells, figure="relaxation"),
    Effect("relaxation, law in log time", _LOG[:1], "until the next write", TIME, nulls(*_LOG), place=2,
           reference=reference.age_cells, figure="relaxation"),
    Effect("drift", _DRIFT[:1], "a function of time", TIME, nulls(*_DRIFT, *_SPREAD), place=3,
           reference=reference.age_cells, figure="drift"),
    Effect("spread of the drift exponent", _SPREAD[:1], "the life of the chip", TIME, nulls(*_SPREAD), place=4,
           reference=reference.age_cells, figure="drift"),
    Effect("drift compensation", ("array.drift_compensation",), "until the clock is set", TIME,
           {"array.drift_compensation": "none"}, "none", place=9, figure="compensation"),
)  # fmt: skip
