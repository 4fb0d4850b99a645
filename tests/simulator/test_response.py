"""The published curve of pulses: against NeuroSim's own equations, its table, and the plain-numpy twin."""

import dataclasses
import math

import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.devices import load_cell
from edge_adapt.errors import UsageError
from edge_adapt.simulator import program_cells, reference
from edge_adapt.simulator.response import curve_constant, pulse_numbers

FEFET = load_cell("fefet")
# Label to A / P_max, as printed in NeuroSim's formula.cpp.
TABLE = {0.5: 2.519877, 1.0: 1.251653, 2.0: 0.609035, 4.88: 0.200303, 5.0: 0.192406, 6.0: 0.135619}


@pytest.mark.parametrize(("label", "published"), TABLE.items())
def test_the_law_of_the_label_is_neurosims_table(label, published):
    assert curve_constant(label) == pytest.approx(published, rel=2e-5)
    assert curve_constant(-label) == -curve_constant(label)


def test_a_label_of_zero_is_a_straight_line():
    assert math.isinf(curve_constant(0.0))
    straight = dataclasses.replace(FEFET, set_nonlinearity=0.0, reset_nonlinearity=0.0)
    p = pulse_numbers(straight, 0.0)
    step = (FEFET.g_max_siemens - FEFET.g_min_siemens) / FEFET.range_pulses
    assert (p.up_step, p.down_step) == pytest.approx((step, step)) and p.up_slope == p.down_slope == 0.0


def curve(cell, label, pulses):
    """G after P pulses, NeuroSim's equation written out."""
    a = curve_constant(label) * cell.range_pulses
    b = (cell.g_max_siemens - cell.g_min_siemens) / (1 - np.exp(-cell.range_pulses / a))
    return b * (1 - np.exp(-pulses / a)) + cell.g_min_siemens


@pytest.mark.parametrize("label", [0.04, 1.75, 4.88, -2.4])
@pytest.mark.parametrize("way", ["set", "reset"])
def test_pulse_after_pulse_follows_the_curve(label, way):
    quiet = dataclasses.replace(FEFET, cell_to_cell_sigma=0.0, cycle_to_cycle_range_sigma=0.0,
                                program_tolerance_siemens=1e-15, **{f"{way}_nonlinearity": label})  # fmt: skip
    along = curve(quiet, label, np.arange(quiet.range_pulses + 1))
    assert along[0] == quiet.g_min_siemens and along[-1] == pytest.approx(quiet.g_max_siemens)
    start, goal = (along[:-1], along[1:]) if way == "set" else (along[1:], along[:-1])
    reached, log = program_cells(goal, quiet, np.random.default_rng(0), start)
    assert np.allclose(reached, goal, rtol=1e-9)
    assert (log.pulses == 1).all()


def test_each_pulse_spreads_by_its_part_of_the_window():
    cell = dataclasses.replace(FEFET, cell_to_cell_sigma=0.0, pulses_max=1, cycle_to_cycle_range_sigma=0.01)
    middle = np.full(20_000, (cell.g_min_siemens + cell.g_max_siemens) / 2)
    reached, _ = program_cells(np.full(20_000, cell.g_max_siemens), cell, np.random.default_rng(0), middle)
    assert reached.std() == pytest.approx(0.01 * (cell.g_max_siemens - cell.g_min_siemens), rel=0.02)


@pytest.mark.parametrize("name", ["fefet", "reram-taox"])
def test_curved_cells_stay_in_their_window_and_equal_the_reference(name):
    cell = load_cell(name)
    target = np.random.default_rng(1).uniform(cell.g_min_siemens, cell.g_max_siemens, (20, 64))
    fast, log = program_cells(target, cell, np.random.default_rng(4))
    slow, ref = program_cells(target, cell, np.random.default_rng(4), implementation=reference.program_blocks)
    assert np.allclose(fast, slow, rtol=1e-9) and np.array_equal(log.pulses, ref.pulses)
    assert fast.min() >= cell.g_min_siemens and fast.max() <= cell.g_max_siemens * (1 + 1e-12)
    assert log.failed.mean() < 0.01 and (log.reversals, log.verifies) == (ref.reversals, ref.verifies)
    assert log.energy_joules == pytest.approx(ref.energy_joules, rel=1e-9)


def test_asymmetry_costs_pulses():
    """From the middle up and back: a curve that is bent takes more looks than a straight one of as many pulses."""
    bent = dataclasses.replace(FEFET, set_nonlinearity=4.88, reset_nonlinearity=-4.88)
    straight = dataclasses.replace(FEFET, set_nonlinearity=0.0, reset_nonlinearity=0.0)
    target = np.random.default_rng(1).uniform(FEFET.g_min_siemens, FEFET.g_max_siemens, 4000)
    pulses = [program_cells(target, cell, np.random.default_rng(0))[1].pulses.mean() for cell in (straight, bent)]
    assert pulses[1] != pytest.approx(pulses[0], rel=0.05)


def test_either_a_step_or_a_curve():
    with pytest.raises(UsageError, match=r"either response\.pulse_step or the curve"):
        load_chip("fefet", {"response.pulse_step": "1 uS"})
    with pytest.raises(UsageError, match=r"response\.reset_nonlinearity is null but response\.set_nonlinearity"):
        load_chip("fefet", {"reset_nonlinearity": "null"})
    with pytest.raises(UsageError, match=r"at most 9"):
        load_chip("fefet", {"set_nonlinearity": "12"})
