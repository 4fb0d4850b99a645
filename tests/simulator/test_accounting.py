"""Counts from the geometry by hand, energy as counts times cost, and conservation: parts add up to the whole."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.simulator import CostTable, EventCounts, area, program
from edge_adapt.simulator.costs import COMPONENTS, described
from edge_adapt.simulator.counting import line_farads, read_events, write_events, write_times
from edge_adapt.simulator.mapping import Layout
from edge_adapt.simulator.prices import cycle_seconds
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def neurram():
    return load_chip("neurram")


def of(chip, **periphery):
    """The chip with some numbers of its periphery changed."""
    return dataclasses.replace(chip, periphery=dataclasses.replace(chip.periphery, **periphery))


def test_events_of_one_read_counted_by_hand(reram, rng):
    """200 inputs (2 row tiles of 128), 96 outputs (2 column tiles of 64 pairs), 8-bit inputs: sign and 7 one-bit
    cycles.
    """
    model = program(reram, {"w": rng.standard_normal((96, 200))}, rng)
    model.matvec("w", rng.standard_normal((10, 200)))
    counts = model.counts
    assert reram.periphery.dac_bits == 1 and model.input_cycles() == 7
    assert counts.reads == 10
    assert counts.dac_drives == counts.word_line_drives == 10 * 200 * 2 * 7
    assert counts.adc_conversions == counts.sample_holds == counts.shift_adds == 10 * 96 * 2 * 7
    assert counts.array_cycles == 10 * 7 and counts.transposed_cycles == 0
    assert counts.buffer_bytes == 10 * (200 + 2 * 96)
    # Both column tiles get all inputs; both row tiles hand 96 partial results of 2 bytes over.
    assert counts.router_bytes == 10 * (2 * 200 + 2 * 2 * 96)


def test_cell_energy_of_a_read_is_v_squared_g_t(quiet, rng):
    model = program(of(quiet, dac_bits=8), {"w": rng.standard_normal((4, 50))}, rng)
    x = np.ones((1, 50), np.float32)
    model.matvec("w", x)
    cell, seconds = quiet.cell, quiet.integration_seconds
    g = model.matrix("w").conductance_siemens().sum(dtype=float)
    assert model.counts.cell_read_joules == pytest.approx(cell.read_voltage_volts**2 * g * seconds, rel=1e-5)


def test_transposed_reads_drive_outputs_and_sense_inputs(reram, rng):
    model = program(reram, {"w": rng.standard_normal((96, 200))}, rng)
    model.matvec("w", rng.standard_normal((10, 200)))
    forward = dataclasses.replace(model.counts)
    model.count_transposed("w", 10)
    back = model.counts.minus(forward)
    assert back.transposed_reads == 10 and back.reads == 0
    assert back.adc_conversions == 10 * 200 * 2 * 7
    assert back.dac_drives == back.bit_line_drives == 10 * 96 * 2 * 2 * 7
    assert back.array_cycles == 0 and back.transposed_cycles == 10 * 7
    assert back.cell_read_joules == pytest.approx(forward.cell_read_joules)


def test_the_slices_of_a_transposed_read_follow_one_another(reram):
    sliced = dataclasses.replace(reram, array=dataclasses.replace(reram.array, slices=3))
    layout = Layout.of(sliced, (20, 30))
    assert read_events(sliced, layout, 7).array_cycles == 7
    assert read_events(sliced, layout, 7, transposed=True).transposed_cycles == 21


def test_cost_is_counts_times_the_chip_files_numbers(reram):
    table, p = CostTable.of(reram), reram.periphery
    counts = EventCounts(
        word_line_drives=3, read_conversions=5, digital_macs=7, verify_joules=1e-9, array_cycles=2, verify_turns=800
    )
    cost = table.cost(counts)
    assert set(cost.joules) == set(COMPONENTS)
    assert cost.joules["adc"] == pytest.approx(5 * p.adc_energy_joules)
    # A word line: 0.032 fF for each of 128 cells, at 1 V, one bit a drive.
    assert cost.joules["lines"] == pytest.approx(3 * 0.032e-15 * 128)
    assert cost.total_joules == pytest.approx(
        3 * (p.dac_energy_joules + 0.032e-15 * 128) + 5 * p.adc_energy_joules + 7 * p.digital_mac_energy_joules + 1e-9
    )
    # Verifying 128 cells with one ADC takes 128 * 0.78125 ns = 100 ns.
    assert cost.seconds["writes"] == pytest.approx(800 * 100e-9)
    # One ADC converts the 64 pairs of an array in 50 ns, inside the read cycle of 100 ns.
    assert cost.seconds["array_reads"] == pytest.approx(2 * 100e-9)


def test_more_adcs_shorten_the_cycle_only_until_the_array_settles(reram):
    slow = of(reram, adc_conversion_seconds=1e-8)
    cycle = lambda adcs: CostTable.of(of(slow, adcs_per_array=adcs)).array_cycle_seconds
    assert cycle(1) == pytest.approx(64e-8) and cycle(4) == pytest.approx(16e-8)
    assert cycle(5) == pytest.approx(13e-8), "the busiest of five converters has 13 of 64 conversions"
    assert cycle(64) == reram.periphery.read_cycle_seconds
    # A transposed read has the 128 rows to convert.
    assert CostTable.of(of(slow, adcs_per_array=4)).transposed_cycle_seconds == pytest.approx(32e-8)


def test_sequential_conversions_add_to_settling(reram, neurram):
    assert CostTable.of(reram).array_cycle_seconds == pytest.approx(100e-9)
    assert CostTable.of(of(reram, adc_schedule="sequential")).array_cycle_seconds == pytest.approx(150e-9)
    # 4.35 us of integration, then one 8-bit conversion of 2.4 us on every column at once.
    assert CostTable.of(neurram).array_cycle_seconds == pytest.approx(6.75e-6)


@pytest.mark.parametrize(
    ("name", "periphery", "seconds"),
    [
        # As the files of the cells say, where the chip says nothing.
        ("pcm", {}, 250e-9),
        ("pcm-hermes", {}, 512e-9),
        ("reram-cmo", {}, 1e-6),
        ("reram", {}, 100e-9),  # 2 ns of reading in 100 ns of settling
        # 64 pairs, one after another: 50 ns after the read.
        ("pcm", {"adc_schedule": "sequential"}, 300e-9),
        # Of inputs of 7 magnitude bits a digit of 7 bits is up to 127 pulses of 10 ns; one of 3 bits up to 7.
        ("reram-milo", {"dac_coding": "pulses", "dac_bits": 7}, 1270e-9),
        ("reram-milo", {"dac_coding": "pulses", "dac_bits": 12}, 1270e-9),
        ("reram-milo", {"dac_coding": "pulses", "dac_bits": 3}, 100e-9),
        ("reram-cmo", {"dac_coding": "pulses", "dac_bits": 3}, 7e-6),
        ("reram-cmo", {"dac_coding": "pulses", "dac_bits": 1}, 1e-6),
    ],
)
def test_a_cycle_is_not_shorter_than_the_read_of_its_cells(name, periphery, seconds):
    table = CostTable.of(of(load_chip(name, {"array.integration_time": "null"}), **periphery))
    assert table.array_cycle_seconds == pytest.approx(seconds)
    # A transposed cycle conducts as long, and one converter takes 100 ns for 128 rows.
    more = 50e-9 if "adc_schedule" in periphery else 0.0
    assert table.transposed_cycle_seconds == pytest.approx(seconds + more)
    (cycle,) = (cost for cost in table.costs if cost.counts == ("array_cycles",))
    assert {"cell.read_seconds", "periphery.read_cycle_seconds"} <= set(cycle.numbers) and "read time" in cycle.formula
    assert ("pulses" in cycle.formula) == (periphery.get("dac_bits", 1) > 1)


@pytest.mark.parametrize(
    ("name", "settings", "seconds", "cycle"),
    [
        ("reram", {}, 10e-9, 100e-9),
        ("pcm-hermes", {}, 100e-9, 100e-9),
        ("reram-cmo", {"array.integration_time": "400 ns"}, 400e-9, 400e-9),
        ("pcm", {"read.time": "300 ns"}, 300e-9, 300e-9),  # set by hand, it counts
        ("pcm", {"read.time": "300 ns", "array.integration_time": "200 ns"}, 200e-9, 200e-9),
        ("neurram", {}, 2e-9, 6.75e-6),
    ],
)
def test_cells_conduct_as_long_as_the_circuit_of_the_chip_integrates(name, settings, seconds, cycle, rng):
    chip = load_chip(name, settings)
    assert chip.integration_seconds == seconds
    assert CostTable.of(chip).array_cycle_seconds == pytest.approx(cycle)
    assert write_times(chip).verify_seconds >= seconds
    model = program(chip, {"w": rng.standard_normal((4, 50))}, rng)
    log, volts = model.write_log, chip.cell.read_voltage_volts
    # Every cell is looked at once when erased, and after each pulse: between that and what it ends at.
    least = volts**2 * seconds * chip.cell.g_min_siemens * log.verifies
    assert least < log.verify_joules < least * chip.cell.g_max_siemens / chip.cell.g_min_siemens
    model.matvec("w", np.ones((1, 50), np.float32))
    table = CostTable.of(chip)
    (look,) = (cost for cost in table.costs if cost.component == "cells_read")
    assert look.value == pytest.approx(volts**2 * seconds) and chip.integration in look.numbers


def test_what_a_file_does_not_know_costs_nothing_and_is_named(neurram):
    table = CostTable.of(neurram)
    assert table.unknown == (
        "periphery.bit_line_farads_per_cell",
        "periphery.router_energy_joules_per_byte",
        "periphery.leakage_watts_per_array",
        "periphery.pump_watts",
        "periphery.digital_leakage_watts",
        "periphery.sram_leakage_watts_per_byte",
    )
    cost = table.cost(EventCounts(bit_line_drives=1e6, router_bytes=1e6, array_seconds=10.0))
    assert cost.total_joules == pytest.approx(1e6 * neurram.periphery.dac_energy_joules)


def test_leakage_is_power_times_arrays_times_time(reram):
    table = CostTable.of(of(reram, leakage_watts_per_array=2e-6))
    counts = table.powered(EventCounts(array_cycles=1e7, digital_macs=256e9), arrays=30)
    assert counts.array_seconds == pytest.approx(30 * (1.0 + 1.0))
    assert table.cost(counts).joules["leakage"] == pytest.approx(60 * 2e-6)
    assert table.powered(counts, arrays=30).array_seconds == pytest.approx(counts.array_seconds)


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


@pytest.mark.parametrize("name", ["reram", "neurram", "pcm"])
def test_programming_energy_and_time_are_counts_times_cost(name, rng):
    """`pcm` has fixed pulse energies: its pulses are a count times a price; the others a tally of V^2 G t."""
    chip = load_chip(name)
    log = program(chip, {"a": rng.standard_normal((70, 200)), "b": rng.standard_normal((9, 5))}, rng).write_log
    table, counts = CostTable.of(chip), write_events(log)
    cost = table.cost(counts)
    assert cost.total_joules == pytest.approx(log.energy_joules, rel=1e-12)
    assert table.write_joules(counts) == pytest.approx(log.energy_joules, rel=1e-12)
    assert cost.joules["cells_write"] == pytest.approx(log.cell_joules + log.line_joules + log.verify_joules, rel=1e-12)
    assert cost.total_seconds == pytest.approx(log.time_seconds, rel=1e-12)
    assert cost.seconds["writes"] == cost.total_seconds


@pytest.mark.parametrize("name", ["reram", "neurram", "sram"])
def test_each_lines_count_times_value_is_its_total(name, rng):
    chip = load_chip(name)
    model = program(chip, {"w": rng.standard_normal((30, 300))}, rng)
    model.matvec("w", rng.standard_normal((4, 300)))
    model.count_transposed("w", 2)
    model.rewrite("w", rng.standard_normal((30, 300)))
    table, counts = CostTable.of(chip), model.counts.as_dict()
    lines = [(cost, cost.product(counts)) for cost in table.costs if cost.quantity == "energy"]
    for cost, line in lines:
        assert line.events * (line.each or 0.0) == pytest.approx(line.total, rel=1e-12, abs=1e-30), cost.event
    assert sum(line.total for _, line in lines) == pytest.approx(table.cost(model.counts).total_joules, rel=1e-12)


layouts = st.builds(
    lambda outputs, inputs, rows, columns, slices: (outputs, inputs, rows, columns, slices),
    st.integers(1, 700), st.integers(1, 700), st.integers(1, 256), st.integers(16, 256), st.integers(1, 7),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(layouts, st.integers(1, 8), st.booleans())
def test_events_follow_from_walking_over_the_arrays(shape, cycles, transposed):
    """Counted array by array, as a controller would issue them, in place of the closed formula."""
    outputs, inputs, rows, columns, slices = shape
    base = load_chip("reram")
    chip = dataclasses.replace(base, array=dataclasses.replace(base.array, rows=rows, columns=columns, slices=slices))
    per_array = columns // (2 * slices)
    drives = conversions = arrays = 0
    results = delivered = 0
    for first_row in range(0, inputs, rows):
        used_rows = min(rows, inputs - first_row)
        for first_output in range(0, outputs, per_array):
            used = min(per_array, outputs - first_output)
            arrays += 1
            for _ in range(cycles):
                drives += 2 * slices * used if transposed else used_rows
                conversions += slices * (used_rows if transposed else used)
            delivered += used if transposed else used_rows
            results += used_rows if transposed else used
    layout = Layout.of(chip, (outputs, inputs))
    events = read_events(chip, layout, cycles, transposed)
    assert layout.arrays == arrays
    assert events.dac_drives == drives
    assert events.adc_conversions == events.sample_holds == events.shift_adds == conversions
    assert events.router_bytes == delivered + 2 * results
    inward, outward = (outputs, inputs) if transposed else (inputs, outputs)
    assert events.buffer_bytes == inward + 2 * outward


def test_area_is_cells_plus_converters(reram):
    parts = area(reram, arrays=10)
    cell = reram.cell.area_f2 * reram.periphery.node_meters**2
    assert parts["cells"] == pytest.approx(10 * 128 * 128 * cell)
    assert parts["adc"] == pytest.approx(10 * reram.periphery.adc_area_square_meters * reram.periphery.adcs_per_array)
    p = reram.periphery
    assert parts["other"] == pytest.approx(
        10 * (128 * p.sample_hold_area_square_meters + p.shift_add_area_square_meters)
    )
    assert parts["total"] == pytest.approx(sum(v for k, v in parts.items() if k != "total" and v is not None))


def test_a_rewrite_is_charged_to_writes_verifies_and_time(reram, rng):
    weight = rng.standard_normal((20, 40)).astype(np.float32)
    model = program(reram, {"w": weight}, rng)
    assert model.counts == EventCounts(), "the one-time programming is in write_log, not in the counts"
    log = model.rewrite("w", -weight)
    counts, table = model.counts, CostTable.of(reram)
    assert counts.verify_conversions == counts.adc_conversions == log.verifies
    assert counts.cells_written == np.count_nonzero(log.pulses) and counts.reversals == log.reversals
    assert counts.set_pulses + counts.reset_pulses == log.pulses.sum()
    assert table.write_joules(counts) == pytest.approx(log.energy_joules)
    assert table.cost(counts).total_joules == pytest.approx(log.energy_joules)
    assert table.cost(counts).seconds["writes"] == pytest.approx(log.time_seconds) and log.time_seconds > 0


def test_write_turns_counted_by_hand(reram, rng):
    """One row of 70 outputs: 64 in one array and 6 in the next, which are written at once or one after the other; each
    waits for its slowest cell.
    """
    reram = of(reram, write_polarities="together")
    for chip in (reram, of(reram, write_arrays_in_parallel=1), of(reram, write_arrays_in_parallel=10**6)):
        log, times = program(chip, {}, rng).add("w", rng.standard_normal((70, 1))), write_times(chip)
        pulses = log.pulses.reshape(2, 70).max(0).astype(int)
        arrays = [pulses[:64].max(), pulses[64:].max()]
        turns = sum(arrays) if times.arrays == 1 else max(arrays)
        looks = sum(arrays) + 2 if times.arrays == 1 else max(arrays) + 1
        assert (log.pulse_turns, log.verify_turns) == (turns, looks)
        assert times.set_seconds == times.reset_seconds == 1e-6 and log.set_turns == log.reset_turns == 0
        assert log.time_seconds == pytest.approx(turns * 1e-6 + looks * 100e-9)


@pytest.mark.parametrize("mapping", ["differential", "offset"])
def test_turns_of_whole_arrays_are_those_of_each_written_alone(reram, rng, mapping):
    """Groups of cells that go together end with their array, its reference column among them."""
    weight = rng.standard_normal((150, 200)).astype(np.float32)
    chip = of(
        load_chip("reram", {"array.mapping": mapping, "write.polarities": "together"}), write_arrays_in_parallel=3,
        write_cells_in_parallel=50,
    )  # fmt: skip
    log = program(chip, {}, rng).add("w", weight)
    layout = Layout.of(chip, weight.shape)
    slowest = log.pulses.max((0, 1)).astype(int)
    found = []
    for top in range(0, 200, 128):
        for tile in range(layout.column_tiles):
            columns = np.flatnonzero(layout.array_of_output() == tile)
            step = 50 // layout.cells_per_weight
            cuts = [slowest[top : top + 128, columns[i : i + step]] for i in range(0, len(columns), step)]
            found.append(sum(int(cut.max(1).sum()) for cut in cuts))
    assert log.pulse_turns == max(*found, -(-sum(found) // 3))


def test_a_cycle_converts_the_references_too():
    digits = {"array.mapping": "offset", "array.slices": "8", "conductance.levels": "2"}
    chip = of(load_chip("reram", digits), read_cycle_seconds=1e-9)
    layout = Layout.of(chip, (15, 4))
    events = read_events(chip, layout, 1)
    assert layout.column_tiles == 1 and events.read_conversions == 128
    assert cycle_seconds(chip)[0] == pytest.approx(128 / chip.periphery.adcs_per_array
                                                    * chip.periphery.adc_conversion_seconds)  # fmt: skip


def test_a_pulse_charges_its_bit_line_and_its_share_of_the_word_line(reram):
    assert line_farads(reram) == pytest.approx(0.032e-15 * (128 + 1))
    assert line_farads(of(reram, write_cells_in_parallel=32)) == pytest.approx(0.032e-15 * (128 + 4))


def test_every_cost_names_numbers_of_the_chip_with_their_sources(reram):
    rows = described(reram)
    assert {row["quantity"] for row in rows} == {"energy", "time", "area"}
    fields = {f.name for f in dataclasses.fields(EventCounts)} | {"arrays"}
    for row in rows:
        assert row["numbers"] and row["formula"] and fields.issuperset(row["counts"])
        assert row["counts"] or row["tally"] in fields
        assert all(number["status"] for number in row["numbers"])
    adc = next(row for row in rows if row["event"] == "conversions of reads")
    assert adc["numbers"][0]["key"] == "periphery.adc.energy" and adc["numbers"][0]["source"] == "accelergy-isaac"
    assert adc["value"] == reram.periphery.adc_energy_joules


def test_every_event_is_explained_on_the_page():
    page = (Path(__file__).resolve().parents[2] / "docs" / "energy.md").read_text(encoding="utf-8")
    for name, meaning in EventCounts.meanings().items():
        assert f"| `{name}` | {meaning} |" in page
