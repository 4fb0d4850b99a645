"""Standing power: power times time, of what `leakage.when` says; by hand, in parts, and never falling."""

import dataclasses
import math

import pytest
from edge_adapt import load_chip
from edge_adapt.simulator import CostTable, EventCounts
from edge_adapt.simulator.costs import STANDING, standing_message
from edge_adapt.simulator.counting import read_events
from edge_adapt.simulator.mapping import Layout
from hypothesis import given, settings
from hypothesis import strategies as st

PARTS = ("leakage", "pump_leakage", "digital_leakage", "sram_leakage")


@pytest.fixture(scope="module")
def reram():
    return load_chip("reram")


def of(chip, **changes):
    return dataclasses.replace(chip, periphery=dataclasses.replace(chip.periphery, **changes))


def known(chip, **changes):
    """A chip of which every power is known."""
    powers = {
        "leakage_watts_per_array": 2e-6, "gated_watts_per_array": 1e-7, "pump_watts": 3e-3,
        "digital_leakage_watts": 5e-3, "sram_leakage_watts_per_byte": 7e-9, "sram_capacity_bytes": 1000.0,
    }  # fmt: skip
    return of(chip, **(powers | changes))


# One second of array cycles of 100 ns, one of the digital unit, a tenth of verifies.
COUNTS = EventCounts(array_cycles=1e7, busy_cycles=3e7, digital_macs=256e9, verify_turns=1e6)


def test_always_by_hand(reram):
    table = CostTable.of(known(reram))
    joules = table.cost(table.powered(COUNTS, arrays=30)).joules
    assert joules["leakage"] == pytest.approx(30 * 2.1 * 2e-6)
    assert joules["pump_leakage"] == pytest.approx(0.1 * 3e-3)
    assert joules["digital_leakage"] == pytest.approx(2.1 * 5e-3)
    assert joules["sram_leakage"] == pytest.approx(2.1 * 1000 * 7e-9)


def test_busy_by_hand(reram):
    table = CostTable.of(known(reram, leakage_when="busy", write_arrays_in_parallel=8))
    powered = table.powered(COUNTS, arrays=30)
    # 3e7 cycles of 100 ns in arrays that work, and 8 arrays that are written for 0.1 s.
    assert powered.array_seconds == pytest.approx(3.0 + 0.8)
    assert powered.array_seconds + powered.gated_seconds == pytest.approx(30 * 2.1)
    assert table.cost(powered).joules["leakage"] == pytest.approx(3.8 * 2e-6 + (63 - 3.8) * 1e-7)


def test_never_is_the_energy_of_events_alone(reram):
    table, off = CostTable.of(known(reram)), CostTable.of(known(reram, leakage_when="never"))
    powered = off.powered(COUNTS, arrays=30)
    assert powered == COUNTS
    assert off.cost(powered).total_joules == table.cost(COUNTS).total_joules
    assert off.powered(table.powered(COUNTS, 30), 30) == COUNTS, "also of what was powered before"
    assert "not counted" in standing_message(of(reram, leakage_when="never"))


def test_the_parts_are_the_difference(reram):
    table = CostTable.of(known(reram))
    on, bare = table.cost(table.powered(COUNTS, 30)), table.cost(COUNTS)
    assert math.fsum(on.joules[name] for name in PARTS) == pytest.approx(on.total_joules - bare.total_joules)
    assert on.seconds == bare.seconds


def test_a_read_keeps_the_arrays_of_its_matrix_busy(reram):
    layout = Layout.of(reram, (200, 300))  # 3 x 4 arrays
    assert read_events(reram, layout, 7).busy_cycles == 12 * 7
    back = read_events(reram, layout, 7, transposed=True)
    assert (back.busy_cycles, back.busy_transposed_cycles) == (0, 12 * 7)


def test_what_no_source_gives_is_named_and_counts_nothing():
    found = CostTable.of(load_chip("neurram")).unknown
    assert {"periphery.pump_watts", "periphery.digital_leakage_watts"} <= set(found)
    shipped = CostTable.of(load_chip("reram")).unknown
    assert "periphery.pump_watts" in shipped and "periphery.leakage_watts_per_array" not in shipped
    busy = load_chip("reram", {"periphery.leakage.when": "busy"})
    assert "periphery.gated_watts_per_array" in CostTable.of(busy).unknown


amounts = st.floats(0, 1e9, allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(st.builds(EventCounts, array_cycles=amounts, busy_cycles=amounts, digital_macs=amounts, verify_turns=amounts),
       st.integers(1, 2000), st.integers(0, 2000))  # fmt: skip
def test_more_arrays_and_more_power_never_take_less(counts, arrays, more):
    chip = load_chip("reram")
    tables = [CostTable.of(known(chip, leakage_when=when)) for when in ("never", "busy", "always")]
    totals = [table.cost(table.powered(counts, arrays)).total_joules for table in tables]
    assert totals[0] <= totals[1] * (1 + 1e-12) and totals[1] <= totals[2] * (1 + 1e-12)
    for table, total in zip(tables, totals, strict=True):
        assert table.cost(table.powered(counts, arrays + more)).total_joules >= total * (1 - 1e-12)
        powered = table.powered(counts, arrays)
        assert all(getattr(powered, name) >= 0 for name in STANDING)
