"""Every effect that is simulated, a file each or a few that belong together; `protocol` says what an effect is.

`python -m edge_adapt.simulator.effects` prints the table of docs/simulator.md; a test keeps page, keys and presets in
step.
"""

import importlib
import pkgutil

from ...devices import Chip, list_presets, load_chip
from ..mismatch import Mismatch
from .protocol import READ, TIME, WRITE, Acting, Effect, Held

__all__ = [
    "EFFECTS",
    "READ",
    "TIME",
    "WRITE",
    "Acting",
    "Effect",
    "Held",
    "acting_on",
    "messages",
    "presets_of",
    "table",
]

SHOWN = 3  # presets of an effect in the table


def _found() -> tuple[Effect, ...]:
    """The effects of all files here, in the order in which they act."""
    found: list[Effect] = []
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in ("protocol", "__main__")):
        found += importlib.import_module(f".{module}", __name__).EFFECTS
    return tuple(sorted(found, key=lambda effect: ((WRITE, TIME, READ).index(effect.act), effect.place)))


EFFECTS = _found()


def acting_on(chip: Chip, mismatch: Mismatch) -> tuple[Acting, ...]:
    """What acts on a matrix of a chip with these converters, in order; effects that share a kind act together."""
    kinds = dict.fromkeys(effect.acting for effect in EFFECTS if effect.acting is not None and effect.on(chip))
    return tuple(kind(chip, mismatch) for kind in kinds)


def messages(chip: Chip, age_seconds: float) -> list[str]:
    """What the report of a chip whose oldest cells are so old should say of effects."""
    said = (effect.message(chip, age_seconds) for effect in EFFECTS if effect.message is not None)
    return [sentence for sentence in said if sentence]


def presets_of(effect: Effect) -> tuple[str, ...]:
    """The shipped chips that an effect acts on."""
    return tuple(name for name in list_presets("chip") if effect.on(load_chip(name)))


def table() -> str:
    """The table as Markdown, a line an effect, in the order in which they act."""
    lines = ["| | effect | key | holds for | acts at | presets, for example |", "|---|---|---|---|---|---|"]
    for number, effect in enumerate(EFFECTS, 1):
        keys = ", ".join(f"`{key}`" for key in effect.keys)
        chips = presets_of(effect)
        shown = ", ".join(chips[:SHOWN]) or "none yet" if len(chips) < len(list_presets("chip")) else "all"
        lines.append(f"| {number} | {effect.name} | {keys} | {effect.persistence} | {effect.act} | {shown} |")
    return "\n".join(lines) + "\n"
