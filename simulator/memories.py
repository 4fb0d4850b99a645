"""Where working sets lie: on the chip, in a memory of their own size, and beyond its capacity in DRAM.

The energy of a byte grows with a power of the size of its memory (`sram.growth`), from the size that `sram.energy` is
of. The working sets of which a byte on the chip saves most come first; one that does not fit is cut, and each of its
bytes is moved as often as the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..devices import Chip
from ..devices.units import pretty
from .accounting import EventCounts


@dataclass(frozen=True)
class WorkingSets:
    """Bytes of what the digital unit works on.

    flow: queries, keys, values and contexts of one sequence in one block; kept: what waits for the backward pass, and
    hidden states that steps go on from; features: those of all examples, for a head alone; weights: what is trained,
    held digitally, or summed up as a gradient; moments: what the optimiser keeps; copies: of frozen weights, for a
    training away from the chip.
    """

    flow: float = 0.0
    kept: float = 0.0
    features: float = 0.0
    weights: float = 0.0
    moments: float = 0.0
    copies: float = 0.0

    @property
    def memory(self) -> float:
        """All but what flows and what is frozen."""
        return self.kept + self.features + self.weights + self.moments


def traffic(counts: EventCounts, sets: WorkingSets) -> list["Traffic"]:
    """The working sets that bytes of the counts belong to."""
    total = counts.sram_bytes + counts.dram_bytes
    own = {
        "attention of a block": (sets.flow, counts.flow_bytes),
        "activations": (sets.kept, counts.kept_bytes),
        "features": (sets.features, counts.feature_bytes),
        "moments": (sets.moments, counts.moment_bytes),
    }
    rest = total - sum(moved for _, moved in own.values())
    own["weights and gradients"] = sets.weights + sets.copies, rest
    return [Traffic(name, size, moved) for name, (size, moved) in own.items() if moved > 0]


@dataclass(frozen=True)
class Memories:
    """The memories of a chip. `limit`: bytes of SRAM; infinite where the file states none, or has no DRAM beyond."""

    limit: float
    joules_per_byte: float
    size: float | None
    growth: float
    dram_joules_per_byte: float | None

    @staticmethod
    def of(chip: Chip) -> "Memories":
        p = chip.periphery
        bounded = p.sram_capacity_bytes is not None and p.dram_energy_joules_per_byte is not None
        return Memories(
            limit=p.sram_capacity_bytes or 0.0 if bounded else float("inf"),
            joules_per_byte=p.sram_energy_joules_per_byte,
            size=p.sram_size_bytes,
            growth=p.sram_growth or 0.0,
            dram_joules_per_byte=p.dram_energy_joules_per_byte,
        )

    def factor(self, size: float) -> float:
        """The energy of a byte in a memory of `size` bytes, over that of `sram.energy`."""
        return 1.0 if self.size is None else max(1.0, size / self.size) ** self.growth

    def place(self, sets: Sequence["Traffic"]) -> list["Placed"]:
        """Where each of the working sets lies."""
        left, found = self.limit, []
        for one in sorted(sets, key=self._saving, reverse=True):
            here = min(one.size, left)
            left -= here
            found.append(Placed(one, here / one.size if one.size else 1.0, self.factor(here)))
        return found

    def _saving(self, one: "Traffic") -> float:
        """What each byte of SRAM saves that a working set gets."""
        if not one.size:
            return float("inf")
        here = self.factor(min(one.size, self.limit)) * self.joules_per_byte
        return one.moved / one.size * ((self.dram_joules_per_byte or float("inf")) - here)


@dataclass(frozen=True)
class Traffic:
    """A working set: its name, how large it is, and how many bytes are moved."""

    name: str
    size: float
    moved: float


@dataclass(frozen=True)
class Placed:
    """A working set in its memories. share: of its bytes that lie on the chip; factor: of the energy of a byte there
    over that of the smallest memory.
    """

    traffic: Traffic
    share: float
    factor: float

    @property
    def sram_bytes(self) -> float:
        return self.share * self.traffic.moved

    @property
    def dram_bytes(self) -> float:
        return (1.0 - self.share) * self.traffic.moved

    def words(self, memories: Memories) -> str:
        """ "weights 1.2 MB: SRAM (13.1 pJ/byte)"."""
        each = f"SRAM ({self.factor * memories.joules_per_byte * 1e12:.3g} pJ/byte)"
        part = f"{100 * self.share:.0f} % {each}, the rest DRAM" if self.share else "DRAM"
        where = each if self.share == 1.0 else part
        return f"{self.traffic.name} {pretty(float(f'{self.traffic.size:.3g}'), 'B')}: {where}"
