"""What the report says of where working sets lie."""

from ..simulator import CostTable, EventCounts
from ..simulator.memories import WorkingSets, traffic

Worked = tuple[EventCounts, WorkingSets]


def noted(note: str, table: CostTable, adapting: Worked, answering: Worked) -> str:
    """The note of a record, with where each working set of an adaptation and of an answer lies."""
    said = [note] if note else []
    for what, (counts, sets) in (("adapting", adapting), ("answering", answering)):
        found = table.memories.place(traffic(counts, sets))
        if found:
            said.append(f"Memory while {what}: " + "; ".join(one.words(table.memories) for one in found))
    return ". ".join(said)
