"""The one-time programming of a chip in a report."""

from .kinds import Amount, Amounts, Grid, Integer, Integers, Text
from .spec import LABELS, LATE, Total, record, says


@record
class Share:
    """The part of the backbone, or of the pool, in programming."""

    cells: Integer | None = says("cells programmed", "1", "simulated")
    energy_joules: Amount | None = says("write and verify energy", "J", "simulated")
    time_seconds: Amount | None = says("time with the chip's write parallelism", "s", "simulated")


@record
class ChipFacts:
    """What is said of every chip."""

    chip_seed: Integer = says("which chip")
    seeds: Integers = says("seeds of the runs on it", at_least=1)
    weight_error_relative: Amount = says("as above, of this chip", "1", "simulated")
    weight_error_rms_relative: Amount = says("as above, of this chip", "1", "simulated")
    failed_cells: Integer = says("as above, of this chip", "1", "simulated")
    energy_joules: Amount = says("as above, of this chip", "J", "simulated")


@record
class Programming:
    """The one-time programming of backbone and pool, on the chip of the first run."""

    chip_seed: Integer = says("which chip that is")
    cells: Integer = says("cells programmed", "1", "counted")
    pulses_mean: Amount | None = says("pulses per cell, mean", "1", "simulated")
    pulses_p95: Amount | None = says("pulses per cell, 95th percentile", "1", "simulated")
    failed_cells: Integer = says("cells out of tolerance after the last pulse", "1", "simulated")
    energy_joules: Amount | None = says("write and verify energy", "J", "simulated", total=Total("event_counts"))
    time_seconds: Amount | None = says("time", "s", "simulated", total=Total("event_counts"))
    weight_error_relative: Amount | None = says(
        "mean |programmed − wanted| over mean |wanted| of the weights", "1", "simulated"
    )
    weight_error_rms_relative: Amount | None = says(
        "root mean square of programmed − wanted over that of wanted", "1", "simulated"
    )
    pulses_histogram: Integers = says("cells that took k pulses, k = 0, 1, …", "1", "simulated")
    backbone: Share = says("the backbone's share")
    pool: Share | None = says("the pool's share; null without a pool")
    event_counts: Amounts = says("what happened, by kind of event", "1", "simulated")
    chips: list[ChipFacts] = says(
        "every chip of the report; chips differ in variation and faults", at_least=1, default=LATE
    )
    write_read_ratio: Amounts = says(
        "energy of writing over energy of reading: `cell_pulse` (a mean pulse over a read of the cell), "
        "`cell_program_verify` (programming a cell over reading it), `array_with_converters` "
        "(programming all over reading all, converters included)",
        "1",
        "simulated",
        default=LATE,
    )
    label: Text = says("how the figures of this object come about", choices=LABELS, default=LATE)


@record
class Tile:
    """The corner of an array, as a picture."""

    tensor: Text = says("the matrix the tile belongs to")
    target_siemens: Grid = says(
        "conductance wanted, rows × columns; the two cells of a pair are neighbours", "S", "counted"
    )
    programmed_siemens: Grid = says("conductance after programming", "S", "simulated")
