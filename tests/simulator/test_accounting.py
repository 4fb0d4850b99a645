"""Counts from the geometry by hand, energy as counts times cost, and conservation: parts add up to the whole."""

import dataclasses

import numpy as np
import pytest
from edge_adapt.simulator import CostTable, EventCounts, area, program
from edge_adapt.simulator.accounting import COMPONENTS


def test_events_of_one_read_counted_by_hand(reram, rng):
    """200 inputs (2 row tiles of 128), 96 outputs (2 column tiles of 64 pairs), 8-bit inputs: sign and 7 one-bit
    cycles.
    """
    model = program(reram, {"w": rng.standard_normal((96, 200))}, rng)
    model.matvec("w", rng.standard_normal((10, 200)))
    counts = model.counts
    assert reram.periphery.dac_bits == 1 and model.input_cycles() == 7
    assert counts.reads == 10
    assert counts.dac_drives == 10 * 200 * 2 * 7
    assert counts.adc_conversions == counts.sample_holds == counts.shift_adds == 10 * 96 * 2 * 7
    assert counts.array_cycles == 10 * 7
    assert counts.buffer_bytes == 10 * (200 + 2 * 96)


def test_cell_energy_of_a_read_is_v_squared_g_t(quiet, rng):
    wide = dataclasses.replace(quiet, periphery=dataclasses.replace(quiet.periphery, dac_bits=8))
    model = program(wide, {"w": rng.standard_normal((4, 50))}, rng)
    x = np.ones((1, 50), np.float32)
    model.matvec("w", x)
    cell = quiet.cell
    g = model.matrix("w").conductance_siemens().sum(dtype=float)
    assert model.counts.cell_read_joules == pytest.approx(cell.read_voltage_volts**2 * g * cell.read_seconds, rel=1e-5)


def test_transposed_reads_drive_outputs_and_sense_inputs(reram, rng):
    model = program(reram, {"w": rng.standard_normal((96, 200))}, rng)
    model.matvec("w", rng.standard_normal((10, 200)))
    forward = dataclasses.replace(model.counts)
    model.count_transposed("w", 10)
    back = model.counts.minus(forward)
    assert back.transposed_reads == 10 and back.reads == 0
    assert back.adc_conversions == 10 * 200 * 2 * 7
    assert back.dac_drives == 10 * 96 * 2 * 2 * 7
    assert back.cell_read_joules == pytest.approx(forward.cell_read_joules)


def test_cost_is_counts_times_the_chip_files_numbers(reram):
    table, p = CostTable.of(reram), reram.periphery
    counts = EventCounts(
        dac_drives=3, adc_conversions=5, digital_macs=7, cell_write_joules=1e-9, array_cycles=2, write_seconds=0.5
    )
    cost = table.cost(counts)
    assert set(cost.joules) == set(COMPONENTS)
    assert cost.joules["adc"] == pytest.approx(5 * p.adc_energy_joules)
    assert cost.total_joules == pytest.approx(
        3 * p.dac_energy_joules + 5 * p.adc_energy_joules + 7 * p.digital_mac_energy_joules + 1e-9
    )
    assert cost.seconds["writes"] == 0.5
    # One ADC converts the 64 pairs of an array in 50 ns, inside the read cycle of 100 ns.
    assert cost.seconds["array_reads"] == pytest.approx(2 * 100e-9)


def test_more_adcs_shorten_the_cycle_only_until_the_array_settles(reram):
    slow = dataclasses.replace(reram, periphery=dataclasses.replace(reram.periphery, adc_conversion_seconds=1e-8))
    one = CostTable.of(slow).array_cycle_seconds
    four = CostTable.of(dataclasses.replace(slow, periphery=dataclasses.replace(slow.periphery, adcs_per_array=4)))
    assert one == pytest.approx(64e-8) and four.array_cycle_seconds == pytest.approx(16e-8)
    many = CostTable.of(dataclasses.replace(slow, periphery=dataclasses.replace(slow.periphery, adcs_per_array=64)))
    assert many.array_cycle_seconds == reram.periphery.read_cycle_seconds


def test_counts_add_and_subtract(reram, rng):
    model = program(reram, {"a": rng.standard_normal((8, 30)), "b": rng.standard_normal((12, 8))}, rng)
    total = EventCounts()
    for name, x in (("a", rng.standard_normal((3, 30))), ("b", rng.standard_normal((5, 8)))):
        before = dataclasses.replace(model.counts)
        model.matvec(name, x)
        total.add(model.counts.minus(before))
    for f in dataclasses.fields(EventCounts):
        assert getattr(total, f.name) == pytest.approx(getattr(model.counts, f.name))
    half = model.counts.scaled(0.5)
    assert half.adc_conversions == model.counts.adc_conversions / 2


def test_area_is_cells_plus_converters(reram):
    parts = area(reram, arrays=10)
    cell = reram.cell.area_f2 * reram.periphery.node_meters**2
    assert parts["cells"] == pytest.approx(10 * 128 * 128 * cell)
    assert parts["adc"] == pytest.approx(10 * reram.periphery.adc_area_square_meters * reram.periphery.adcs_per_array)
    assert parts["total"] == pytest.approx(sum(v for k, v in parts.items() if k != "total" and v is not None))


def test_a_rewrite_is_charged_to_writes_verifies_and_time(reram, rng):
    weight = rng.standard_normal((20, 40)).astype(np.float32)
    model = program(reram, {"w": weight}, rng)
    assert model.counts == EventCounts(), "the one-time programming is in write_log, not in the counts"
    log = model.rewrite("w", -weight)
    counts = model.counts
    assert counts.verify_conversions == counts.adc_conversions == log.verifies
    joules = counts.cell_write_joules + counts.verify_conversions * reram.periphery.adc_energy_joules
    assert joules == pytest.approx(log.energy_joules)
    assert counts.write_seconds == log.time_seconds > 0
