"""What feeds the pulses of a chip: pumps, a supply that gives no more than its current, SET and RESET in phases."""

import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.errors import UsageError
from edge_adapt.simulator import CostTable, program
from edge_adapt.simulator.counting import line_farads, pulse_amperes, write_events, write_times

OLD = {"write.polarities": "together", "write.pump_loss": "0 J/J"}


def written(settings, shape=(70, 1), device="reram"):
    chip = load_chip(device, settings)
    log = program(chip, {}, np.random.default_rng(1)).add("w", np.random.default_rng(2).standard_normal(shape))
    return chip, log


def test_pumps_lose_their_part_of_pulses_and_lines():
    chip, log = written({"write.pump_loss": "1.5 J/J"})
    handed_on = log.cell_joules + log.access_joules + log.line_joules
    assert log.pump_joules == pytest.approx(1.5 * handed_on)
    assert log.energy_joules == pytest.approx(
        handed_on / 0.4 + log.verify_joules + log.converter_joules
    )  # an efficiency of 40 %
    counts, table = write_events(log), CostTable.of(chip)
    joules = table.cost(counts).joules
    assert joules["write_pump"] == pytest.approx(log.pump_joules)
    assert joules["write_access"] == pytest.approx(log.access_joules)
    assert joules["cells_write"] == pytest.approx(log.cell_joules + log.line_joules + log.verify_joules)
    assert table.write_joules(counts) == pytest.approx(log.energy_joules)


@pytest.mark.parametrize("device", ["sram", "neurram"])
def test_chips_without_a_pump_lose_nothing(device):
    chip, log = written({}, device=device)
    assert log.pump_joules == 0.0
    assert CostTable.of(chip).cost(write_events(log)).joules["write_pump"] == 0.0


def test_fixed_energies_go_through_the_pump_too():
    chip, log = written({}, device="pcm")
    assert log.access_joules == 0.0 and log.pump_joules == pytest.approx(1.5 * (log.cell_joules + log.line_joules))
    counts = write_events(log)
    assert CostTable.of(chip).write_joules(counts) == pytest.approx(log.energy_joules)


def test_the_old_figures_come_back():
    """Pulses of both kinds in one turn, no pump, no access device: as if neither was known."""
    _, log = written(OLD | {"layout.access_resistance": "null"})
    assert log.pump_joules == log.access_joules == 0.0
    assert log.energy_joules == pytest.approx(
        log.cell_joules + log.line_joules + log.verify_joules + log.converter_joules
    )
    pulses = log.pulses.reshape(2, 70).max(0).astype(int)
    assert log.pulse_turns == max(pulses[:64].max(), pulses[64:].max())


def test_phases_counted_by_hand():
    """One row of 70 outputs, 64 in one array and 6 in the next: as many SET phases as the cell with most SET pulses
    has, and RESET phases alike.
    """
    chip, log = written({"write.arrays_in_parallel": "1", "programming.reset_pulse": "3 us"})
    sets = log.sets.reshape(2, 70).max(0).astype(int)
    resets = (log.pulses - log.sets).reshape(2, 70).max(0).astype(int)
    most = lambda kind: kind[:64].max() + kind[64:].max()
    assert (log.set_turns, log.reset_turns) == (most(sets), most(resets)) and log.reset_turns > 0
    assert log.pulse_turns == log.set_turns + log.reset_turns and log.verify_turns == log.pulse_turns + 2
    verify = write_times(chip).verify_seconds
    assert log.time_seconds == pytest.approx(log.set_turns * 1e-6 + log.reset_turns * 3e-6 + log.verify_turns * verify)
    counts, table = write_events(log), CostTable.of(chip)
    assert table.cost(counts).seconds["writes"] == pytest.approx(log.time_seconds)


def test_phases_change_time_and_nothing_else():
    (_, phases), (_, together) = written({}), written({"write.polarities": "together"})
    assert phases.time_seconds > together.time_seconds
    assert np.array_equal(phases.pulses, together.pulses) and phases.energy_joules == together.energy_joules


def test_the_largest_current_of_a_pulse():
    cell = load_chip("reram").cell
    assert pulse_amperes(cell) == pytest.approx((1.5 + 29 * 0.1) * 40e-6)
    assert pulse_amperes(load_chip("pcm").cell) == 300e-6
    assert pulse_amperes(load_chip("sram").cell) is None


@pytest.mark.parametrize(
    ("limit", "together", "arrays"),
    [("1 A", 128, 8), ("200 mA", 128, 8), ("100 mA", 128, 4), ("25 mA", 128, 1), ("17.6 mA", 100, 1), ("1.3 mA", 7, 1),
     ("1 uA", 1, 1)],
)  # fmt: skip
def test_cells_wait_for_a_supply_that_cannot_feed_them_all(limit, together, arrays):
    """176 uA a cell at most: 1.3 mA feed 7 cells, 100 mA 568, which are four arrays of 128."""
    times = write_times(load_chip("reram", {"write.current_max": limit}))
    assert (times.cells_together, times.arrays) == (together, arrays)


def test_turns_under_a_limit_by_hand():
    """One row of one array, 8 outputs of two cells; 1.06 mA feed 6 cells, so 3, 3 and 2 outputs one after another."""
    one, limited = (
        written({"write.polarities": "together"} | limit, (8, 1)) for limit in ({}, {"write.current_max": "1.06 mA"})
    )
    slowest = limited[1].pulses.max((0, 1))[0].astype(int)
    groups = [slowest[:3].max(), slowest[3:6].max(), slowest[6:].max()]
    assert (limited[1].pulse_turns, limited[1].verify_turns) == (sum(groups), sum(groups) + 3)
    assert one[1].pulse_turns == slowest.max()
    # Time, and nothing else: the word line stays up while the groups take their turns.
    assert limited[1].energy_joules == pytest.approx(one[1].energy_joules)
    assert line_farads(limited[0]) == line_farads(one[0])


def test_an_access_device_takes_no_more_than_everything():
    """80 kohm cannot be in series with cells that are seen to have 25 kohm together with it: it takes all at g_max."""
    (_, known), (_, more) = (written({"layout.access_resistance": ohms}) for ohms in ("25 kohm", "80 kohm"))
    assert 0 < more.cell_joules == known.cell_joules and more.access_joules == known.access_joules
    (_, alone) = written({"layout.access_resistance": "80 kohm", "programming.voltage_across": "cell"})
    assert alone.access_joules > alone.cell_joules == pytest.approx(more.cell_joules + more.access_joules)


def test_a_limit_needs_the_current_of_a_pulse():
    with pytest.raises(UsageError, match=r"write.current_max is 1 mA, but neither programming.set_current nor"):
        load_chip("sram", {"write.current_max": "1 mA"})
    load_chip("sram", {"write.current_max": "1 mA", "programming.set_current": "1 uA",
                       "programming.reset_current": "1 uA"})  # fmt: skip
