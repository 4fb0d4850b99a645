"""What a report says of wires that are left out."""

import dataclasses

import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.simulator import effective_conductance
from edge_adapt.simulator.arrays import CrossbarMatrix
from edge_adapt.studies.wiring import left_out, wire_message


def test_what_the_wires_of_reram_would_do():
    """A review of the model found a gain of 0.85 and errors of 17.3 and 23.4 % for such arrays."""
    left = left_out(load_chip("reram"))
    assert left.gain == pytest.approx(0.85, abs=0.02)
    assert (left.error, left.error_with_wires) == pytest.approx((0.173, 0.234), abs=0.005)
    words = wire_message(load_chip("reram"))
    assert words.startswith("lines are without resistance (array.wires: none)") and "2.12 ohm" in words
    assert f"{left.gain:.2f} times as large" in words


def test_the_gain_is_that_of_the_conductances_behind_the_wires():
    """Without noise, faults and converters' steps to speak of: the pairs of one array, solved by themselves."""
    chip = load_chip("reram", {"read.noise": "null", "faults.stuck_low": "0", "faults.stuck_high": "0"})
    outputs = 64
    weight = np.random.default_rng(0).standard_normal((outputs, 128), dtype=np.float32)
    matrix = CrossbarMatrix(chip, weight.shape, np.random.default_rng(1))
    matrix.write(weight)
    g = matrix.conductance_siemens()[0]  # (polarities, inputs, outputs): neighbouring columns
    array = np.moveaxis(g, 0, 2).reshape(128, 2 * outputs).astype(float)
    ohms = chip.periphery.wire_ohms_per_cell
    pairs = lambda cells: cells[:, ::2] - cells[:, 1::2]
    seen = pairs(effective_conductance(array, ohms, ohms))
    held = pairs(array)
    assert left_out(chip).gain == pytest.approx((seen * held).sum() / (held**2).sum(), abs=0.02)


def test_nothing_is_worked_out_where_it_cannot_be():
    assert left_out(load_chip("neurram")) is None  # no resistance
    assert left_out(load_chip("reram-milo")) is None  # bent currents
    assert left_out(load_chip("reram", {"array.rows": "1024", "array.columns": "1024"})) is None
    for name in ("neurram", "reram-milo"):
        assert wire_message(load_chip(name)) == "lines are without resistance (array.wires: none)"


def test_wires_that_are_there_are_told_as_before():
    chip = load_chip("reram-wires")
    assert wire_message(chip).startswith("wires: 2.12 ohm from cell to cell, solved exactly")
    off = dataclasses.replace(chip, array=dataclasses.replace(chip.array, wires="none"))
    assert left_out(off) == left_out(load_chip("reram"))
