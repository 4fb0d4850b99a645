"""What happened on a chip, as counts: `EventCounts`. What one of each costs stands in `costs.py`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from ..display import Shown


def _count(meaning: str) -> float:
    return field(default=0.0, metadata={"meaning": meaning})


@dataclass(repr=False)
class EventCounts(Shown):
    """How often each thing happened. Everything adds up: counts of parts sum to the counts of the whole.

    Fields in joules are tallies of events that each cost something else (a pulse depends on its voltage and its cell).
    """

    reads: float = _count("products of a matrix and a vector")
    transposed_reads: float = _count("products of a transposed matrix and a vector (backward passes)")
    word_line_drives: float = _count("a row driven for one digit of its input, once for each array it crosses")
    bit_line_drives: float = _count("the same of a column, in transposed reads; both cells of a pair are driven")
    read_conversions: float = _count("ADC conversions of reads: one a pair of columns, array and input digit")
    verify_conversions: float = _count("ADC conversions of verify reads: one a cell and look")
    sample_holds: float = _count("a current sampled for its conversion")
    shift_adds: float = _count("a converted result shifted and added to the others")
    buffer_bytes: float = _count("bytes of inputs and results moved through the buffers of a matrix")
    router_bytes: float = _count("bytes brought to every array and taken from it, one hop each")
    cell_read_joules: float = _count("V²·G·t of the cells, summed over all reads")
    set_pulses: float = _count("SET pulses")
    reset_pulses: float = _count("RESET pulses")
    reversals: float = _count("times the polarity turned while a cell was written: two are one SET/RESET cycle")
    cells_written: float = _count("writes of a cell that took at least one pulse")
    pulse_joules: float = _count("energy of the pulses in the cells, summed pulse by pulse")
    access_joules: float = _count("energy of the pulses in the access devices of the cells, summed pulse by pulse")
    write_line_joules: float = _count("C·V² of charging the lines, summed pulse by pulse")
    verify_joules: float = _count("V²·G·t of the verify reads, summed cell by cell")
    pulse_turns: float = _count("pulses one after another: the cells of a row, and arrays of a matrix, go together")
    set_turns: float = _count("SET pulses among them, where SET and RESET pulses come one after another")
    reset_turns: float = _count("RESET pulses among them, where SET and RESET pulses come one after another")
    verify_turns: float = _count("verify reads one after another")
    digital_macs: float = _count("multiply-adds of the digital unit, in fp32")
    bf16_macs: float = _count("the same in bf16")
    fp16_macs: float = _count("the same in fp16")
    int8_macs: float = _count("the same in int8")
    digital_adds: float = _count("additions of the digital unit: rotation of inputs and weights")
    sram_bytes: float = _count("bytes read from or written to SRAM")
    sram_surcharge_bytes: float = _count("the same, each times what a memory of its size costs more than the smallest")
    dram_bytes: float = _count("bytes read from or written to DRAM, since they do not fit on the chip")
    flow_bytes: float = _count("of the bytes of both: queries, keys, values and contexts, and their gradients")
    kept_bytes: float = _count("of them: activations kept for the backward pass, hidden states that steps go on from")
    feature_bytes: float = _count("of them: stored features of a method that trains only a head")
    moment_bytes: float = _count("of them: what the optimiser keeps; the rest are weights, gradients and factors")
    array_cycles: float = _count("array read cycles one after another; the arrays of one matrix work together")
    transposed_cycles: float = _count("the same of transposed reads, one slice after another")
    hidden_cycles: float = _count("array cycles that nothing waits for where layers overlap")
    hidden_transposed_cycles: float = _count("the same of transposed cycles")
    hidden_macs: float = _count("multiply-adds that nothing waits for where the digital unit works beside the arrays")
    busy_cycles: float = _count("arrays times the read cycles that each of them works in")
    busy_transposed_cycles: float = _count("the same of transposed reads")
    array_seconds: float = _count("arrays on the chip times the seconds that they are powered")
    gated_seconds: float = _count("arrays on the chip times the seconds that they are cut off")
    pump_seconds: float = _count("seconds that charge pumps stand ready: while cells are written")
    digital_seconds: float = _count("seconds that the digital unit is powered")
    sram_byte_seconds: float = _count("bytes of SRAM on the chip times the seconds that they are kept")

    def _facts(self) -> dict[str, float]:
        return {name: value for name, value in vars(self).items() if value}

    @property
    def dac_drives(self) -> float:
        """Rows and columns driven."""
        return self.word_line_drives + self.bit_line_drives

    @property
    def adc_conversions(self) -> float:
        """Conversions of reads and of verifies."""
        return self.read_conversions + self.verify_conversions

    @property
    def macs(self) -> float:
        """Multiply-adds of the digital unit in all formats."""
        return self.digital_macs + self.bf16_macs + self.fp16_macs + self.int8_macs

    @property
    def cell_write_joules(self) -> float:
        """Pulses, line charging and verify currents."""
        return self.pulse_joules + self.access_joules + self.write_line_joules + self.verify_joules

    def add(self, other: "EventCounts", times: float = 1.0) -> "EventCounts":
        """Add `other`, `times` over, in place and return self."""
        mine, theirs = vars(self), vars(other)
        for name in mine:
            mine[name] += theirs[name] * times
        return self

    def scaled(self, factor: float) -> "EventCounts":
        """These counts times a factor."""
        return EventCounts().add(self, factor)

    def minus(self, earlier: "EventCounts") -> "EventCounts":
        """What happened since `earlier`."""
        return EventCounts().add(self).add(earlier, -1.0)

    def as_dict(self) -> dict[str, float]:
        """Field name to count, as a report has them."""
        return {name: float(value) for name, value in vars(self).items()}

    @staticmethod
    def meanings() -> Mapping[str, str]:
        """Field name to what it counts."""
        return {f.name: f.metadata["meaning"] for f in fields(EventCounts)}
