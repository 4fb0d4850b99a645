"""Wires and their temperature. `ir_drop.ArrayWires` solves whole arrays; what reads see behind them is `Held.seen`."""

from ...devices import Chip
from ..temperature import temperature_message
from .protocol import READ, Effect, nulls


def _temperature(chip: Chip, age_seconds: float) -> str | None:
    return temperature_message(chip)


EFFECTS = (
    Effect("temperature of the wires", ("technology.temperature",), "none: a rule", READ,
           nulls("technology.temperature"), place=1, message=_temperature, figure="temperature"),
    Effect("wire resistance", ("array.wires",), "until cells change", READ, {"array.wires": "none"}, "none", place=2,
           figure="ir-drop"),
)  # fmt: skip
