"""What the temperature of a chip changes: only what a source has a law for, and that is said.

Wires: R(T) = R(300 K) (1 + a (T - 300 K)) (NeuroSim has the same law with |T - 300 K|, which would heat wires by
cooling them). No file at hand has a law for its cells, their noise and drift, or for converters: those stay as they
were measured, and `temperature_message` says so.
"""

from ..devices import Chip, Periphery

REFERENCE_KELVINS = 300.0


def wire_ohms(periphery: Periphery) -> float:
    """Resistance of a wire segment at the temperature of the chip; 0 where it is unknown."""
    return (periphery.wire_ohms_per_cell or 0.0) * wire_factor(periphery)


def wire_factor(periphery: Periphery) -> float:
    """Wire resistance over that at 300 K."""
    kelvins, coefficient = periphery.temperature_kelvins, periphery.wire_temperature_coefficient
    if kelvins is None or coefficient is None:
        return 1.0
    return 1.0 + coefficient * (kelvins - REFERENCE_KELVINS)


def temperature_message(chip: Chip) -> str | None:
    """A sentence for the report when the chip does not work at 300 K."""
    kelvins = chip.periphery.temperature_kelvins
    if kelvins is None or kelvins == REFERENCE_KELVINS:
        return None
    known = f"wires have {wire_factor(chip.periphery):.3g} times their resistance at {REFERENCE_KELVINS:g} K"
    if chip.periphery.wire_temperature_coefficient is None:
        known = "the chip file has no wires.temperature_coefficient"
    elif chip.array.wires == "none":
        known += ", but array.wires is none"
    return (
        f"temperature {kelvins:g} K: {known}; no source has a law for cell {chip.cell.name}, its noise and drift, or "
        "for the converters: they are as measured"
    )
