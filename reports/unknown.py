"""Which components of a total no price is known for: their joules read 0 in a report, but they are not free."""

from .records.device import Device
from .rows import component_title


def unknown_components(device: Device, quantity: str = "energy") -> tuple[str, ...]:
    """The components of the device of which no event has a price; those with one known price are not among them."""
    known: dict[str, bool] = {}
    for cost in device.costs:
        if cost.quantity == quantity:
            priced = cost.value is not None or bool(cost.tally)
            known[cost.component] = known.get(cost.component, False) or priced
    return tuple(component for component, priced in known.items() if not priced)


def without(components: tuple[str, ...]) -> str:
    """What a total lacks: "without leakage"; "" when it lacks nothing."""
    names = [component_title(component) for component in components]
    listed = " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else "".join(names)
    return f"without {listed}" if listed else ""
