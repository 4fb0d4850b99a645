"""Every effect that is simulated, in the order in which they act: the table of docs/simulator.md.

`python -m edge_adapt.simulator.effects` prints the table; a test keeps the page, the keys and the presets in step.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..devices import Chip, list_presets, load_chip
from ..devices.overrides import resolve_key

WRITE, TIME, READ = "write", "time", "read"
SHOWN = 3  # presets of an effect in the table


@dataclass(frozen=True)
class Effect:
    """One effect. `keys`: what switches it (any of them known and not zero: it is on); `persistence`: how long a draw
    holds; `act`: when it acts; `off`: overrides that switch it off (empty: always on); `neutral`: the value of its keys
    that means off, beside null and 0.
    """

    name: str
    keys: tuple[str, ...]
    persistence: str
    act: str
    off: Mapping[str, str] = field(default_factory=dict)
    neutral: object = None

    def values(self, chip: Chip) -> list[object]:
        """The values of its keys on a chip."""
        found = []
        for key in self.keys:
            part, name, _ = resolve_key(key)
            found.append(getattr(getattr(chip, part), name))
        return found

    def on(self, chip: Chip) -> bool:
        """Whether the effect acts on a chip."""
        return any(value not in (None, 0, (), self.neutral) for value in self.values(chip))


def _nulls(*keys: str) -> dict[str, str]:
    return dict.fromkeys(keys, "null")


_LOG = ("relaxation.log_sigma", "relaxation.log_mean", "relaxation.programming_sigma")
_DRIFT = ("drift.t0", "drift.exponent_coefficients", "drift.exponent_limits")
_DRIFT_SPREAD = ("drift.exponent_sigma_coefficients", "drift.exponent_sigma_limits", "drift.exponent_sigma_above")
_CURVE = ("response.set_nonlinearity", "response.reset_nonlinearity")
_IV = ("read.iv_quadratic", "read.iv_cubic", "read.iv_window", "read.iv_voltage_max")
_ADC = ("adc.offset_sigma", "adc.gain_sigma", "adc.inl_sigma")
_DAC = ("dac.offset_sigma", "dac.gain_sigma", "dac.inl_sigma")

EFFECTS = (
    Effect("conductance levels", ("conductance.levels",), "none: a rule", WRITE),
    Effect("bit slices", ("array.slices",), "none: a rule", WRITE, {"array.slices": "1"}, 1),
    Effect("Hadamard rotation", ("array.rotation",), "none: a rule", WRITE, {"array.rotation": "none"}, "none"),
    Effect("offset column instead of pairs", ("array.mapping",), "none: a rule", WRITE,
           {"array.mapping": "differential"}, "differential"),
    Effect("stuck cells", ("faults.stuck_low", "faults.stuck_high"), "the life of the chip", WRITE,
           _nulls("faults.stuck_low", "faults.stuck_high")),
    Effect("stuck cells in clusters", ("faults.cluster_cells",), "the life of the chip", WRITE,
           _nulls("faults.cluster_cells")),
    Effect("spare columns", ("array.spare_columns",), "the life of the chip", WRITE, {"array.spare_columns": "0"}),
    Effect("program-and-verify", ("programming.tolerance", "programming.pulses_max"), "until the next write", WRITE),
    Effect("LTP/LTD curve", _CURVE, "none: a rule", WRITE, dict.fromkeys(_CURVE, "0")),
    Effect("growth of the step with the voltage", ("response.pulse_step_growth",), "none: a rule", WRITE,
           {"response.pulse_step_growth": "0"}),
    Effect("cell-to-cell spread of the step", ("response.cell_to_cell_sigma",), "the life of the chip", WRITE,
           {"response.cell_to_cell_sigma": "0"}),
    Effect("cycle-to-cycle spread of the step", ("response.cycle_to_cycle_sigma",), "one pulse", WRITE,
           {"response.cycle_to_cycle_sigma": "0"}),
    Effect("cycle-to-cycle spread, part of the window", ("response.cycle_to_cycle_range_sigma",), "one pulse", WRITE,
           _nulls("response.cycle_to_cycle_range_sigma")),
    Effect("cells dying of writes", ("endurance.spread",), "the life of the chip", WRITE, _nulls("endurance.spread")),
    Effect("relaxation, table", ("relaxation.points",), "until the next write", TIME, _nulls("relaxation.points")),
    Effect("relaxation, law in log time", _LOG[:1], "until the next write", TIME, _nulls(*_LOG)),
    Effect("drift", _DRIFT[:1], "a function of time", TIME, _nulls(*_DRIFT, *_DRIFT_SPREAD)),
    Effect("spread of the drift exponent", _DRIFT_SPREAD[:1], "the life of the chip", TIME, _nulls(*_DRIFT_SPREAD)),
    Effect("drift compensation", ("array.drift_compensation",), "until the clock is set", TIME,
           {"array.drift_compensation": "none"}, "none"),
    Effect("temperature of the wires", ("technology.temperature",), "none: a rule", READ,
           _nulls("technology.temperature")),
    Effect("wire resistance", ("array.wires",), "until cells change", READ, {"array.wires": "none"}, "none"),
    Effect("DAC bits", ("array.input_bits", "dac.bits", "dac.coding"), "none: a rule", READ),
    Effect("row drivers that differ", _DAC, "the life of the chip", READ, _nulls(*_DAC)),
    Effect("non-linear I-V", _IV[:2], "none: a rule", READ, _nulls(*_IV)),
    Effect("read noise, part of the conductance", ("read.noise",), "one read", READ, _nulls("read.noise")),
    Effect("read noise, 1/f", ("flicker.time",), "one read", READ, _nulls("flicker.time")),
    Effect("read noise, saturating", ("read.noise_saturation",), "one read", READ, _nulls("read.noise_saturation")),
    Effect("ADC bits and range", ("adc.bits",), "range: from calibration on", READ),
    Effect("ADCs that differ", _ADC, "the life of the chip", READ, _nulls(*_ADC)),
)  # fmt: skip


def presets_of(effect: Effect) -> tuple[str, ...]:
    """The shipped chips that an effect acts on."""
    return tuple(name for name in list_presets("chip") if effect.on(load_chip(name)))


def table() -> str:
    """The table as Markdown, a line an effect, in the order in which they act."""
    lines = ["| | effect | key | holds for | acts at | presets, for example |", "|---|---|---|---|---|---|"]
    for number, effect in enumerate(EFFECTS, 1):
        keys = ", ".join(f"`{key}`" for key in effect.keys)
        chips = presets_of(effect)
        shown = ", ".join(chips[:SHOWN]) if len(chips) < len(list_presets("chip")) else "all"
        lines.append(f"| {number} | {effect.name} | {keys} | {effect.persistence} | {effect.act} | {shown} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")
