"""What a method's own programming of the chip costs: of matrices whose weights it changes before that."""

from typing import Any

from ..methods.plan import Plan
from ..simulator import CostTable, EventCounts

FIELDS = ("own_programming_energy_joules", "own_programming_time_seconds", "own_programming_event_counts")
"""Of a result."""


def own_fields(table: CostTable, counts: EventCounts | None) -> dict[str, Any]:
    """The fields of a result; None for a method that has the chip programmed with the model as it is."""
    if counts is None:
        return dict.fromkeys(
            ("own_programming_energy_joules", "own_programming_time_seconds", "own_programming_event_counts")
        )
    cost = table.cost(counts)
    return dict(zip(FIELDS, (cost.total_joules, cost.total_seconds, counts.as_dict()), strict=True))


def said(note: str, plan: Plan) -> str:
    """The note of a result, with what a reader is to know of it."""
    if not plan.kept_weights:
        return note
    numbers = sum(plan.tensors[name].numbers for name in plan.kept_weights)
    share, matrices = 100 * sum(plan.kept_weights.values()) / numbers, len(plan.kept_weights)
    own = f"the chip is programmed with {share:.3g} % of the weights of {matrices} matrices, 0 elsewhere"
    return f"{note}; {own}" if note else own
