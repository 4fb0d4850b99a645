"""Cells with an I-V curve: reads against the sum of the currents of every cell, each from the published law alone."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.optimize
from edge_adapt import load_chip
from edge_adapt.errors import UsageError
from edge_adapt.simulator import effective_conductance, iv_curve, iv_read, nonlinear_read, program, reference
from edge_adapt.simulator.autograd import ChipReader
from edge_adapt.simulator.effects import EFFECTS
from edge_adapt.simulator.iv_curve import KNOTS, cell_current, curve_of
from edge_adapt.studies.samples import program_sample

CURVE = next(effect for effect in EFFECTS if effect.name == "non-linear I-V")
VOLTS = 0.2
OWN = {"read.noise": "null", "array.rows": "4", "array.columns": "12"}
UNEVEN = {"dac.offset_sigma": "0.05", "dac.gain_sigma": "2 %", "dac.inl_sigma": "0.05"}
DAC = {"dac.energy": "1 pJ", "dac.area": "1 um^2", "sample_hold.energy": "1 fJ", "read.cycle": "100 ns"}


def milo(volts, slope):
    """CrossSim's polynomials of the curves by Milo et al. (IRPS 2021, fig. 1), written out again: A, from V and S."""
    held = min(max(slope, 50e-6), 225e-6)
    x = math.log10(held)
    second = 0.0001388 * x**3 + 0.001541 * x**2 + 0.005711 * x + 0.007063
    third = 8.8710e-05 * x**2 + 6.7919e-04 * x + 1.2968e-03
    return slope * volts + slope / held * (second * volts**2 + third * volts**3)


def slope_of(siemens):
    """The slope at 0 V of a cell that a verify read saw as `siemens`."""
    return scipy.optimize.brentq(lambda g: milo(VOLTS, g) / VOLTS - siemens, 1e-9, 1e-3, xtol=1e-16)


def chip_with(bits=1, exact_adc=True, **overrides):
    chip = load_chip("reram-milo", OWN | (DAC | {"dac.bits": str(bits)} if bits > 1 else {}) | overrides)
    if not exact_adc:
        return chip
    return dataclasses.replace(chip, periphery=dataclasses.replace(chip.periphery, adc_bits=None))


def expected(model, x):
    """(outputs, V * I summed over all cells and cycles), by loops over vectors, digits, cells."""
    chip, matrix = model.chip, model.matrix("w")
    layout, full_scale = matrix.layout, model._ranges["w"].dac
    g = matrix.conductance_siemens().astype(float)
    slopes = np.vectorize(slope_of)(g)
    window = chip.cell.g_max_siemens - chip.cell.g_min_siemens
    top, bits = 2 ** (chip.array.input_bits - 1) - 1, chip.periphery.dac_bits
    cycles = -(-(chip.array.input_bits - 1) // bits)
    last, pulses = top if cycles == 1 else 2**bits - 1, chip.periphery.dac_coding == "pulses"
    levels = matrix.mismatch.digit_levels.astype(float)
    y, power = np.zeros((len(x), layout.outputs)), 0.0
    for b, vector in enumerate(x):
        for i, value in enumerate(vector):
            code = int(np.clip(np.rint(value / full_scale * top), -top, top))
            for d in range(cycles):
                digit = abs(code) if cycles == 1 else abs(code) // 2 ** (d * bits) % 2**bits
                v = math.copysign(levels[i, digit] if levels.size else digit / last, code) if digit else 0.0
                plain = math.copysign(digit / last, code)
                worth = 1.0 if cycles == 1 else 2 ** (d * bits) * last / top
                for s in range(layout.slices):
                    gain = layout.levels**s * (layout.levels - 1) / layout.magnitude_max * full_scale
                    seen = np.zeros(layout.sensed)
                    for column in range(layout.sensed):
                        for p in range(layout.polarities):
                            slope = slopes[s, p, i, column]
                            if pulses:  # as long as it takes, at the full voltage of its sign
                                amperes = abs(v) * milo(math.copysign(VOLTS, code), slope)
                                power += digit * abs(VOLTS * milo(math.copysign(VOLTS, code), slope))
                            else:
                                amperes = milo(v * VOLTS, slope)
                                power += plain * VOLTS * milo(plain * VOLTS, slope)
                            seen[column] += (1 - 2 * p) * amperes / VOLTS / window
                    if layout.references:
                        reference = seen[layout.outputs + np.arange(layout.outputs) // layout.outputs_per_array]
                    else:
                        reference = 0.0
                    scale = matrix.scale[i // layout.rows]
                    y[b] += worth * gain * scale * (seen[: layout.outputs] - reference)
    return y, power


def programmed(chip, rng, fidelity="fast"):
    weight, x = rng.standard_normal((5, 7)), rng.standard_normal((3, 7)).astype(np.float32)
    model = program(chip, {"w": weight}, np.random.default_rng(2), fidelity)
    return model, x


@pytest.mark.parametrize("fidelity", ["fast", "bitserial"])
@pytest.mark.parametrize("bits", [1, 3, 7])
@pytest.mark.parametrize("form", ["pairs", "offset", "slices", "uneven drivers", "pulses", "uneven pulses"])
def test_a_read_is_the_sum_of_the_currents_of_all_cells(rng, fidelity, bits, form):
    change = {
        "pairs": {},
        "offset": {"array.mapping": "offset"},
        "slices": {"conductance.levels": "3", "array.slices": "2"},
        "uneven drivers": UNEVEN,
        "pulses": {"dac.coding": "pulses"},
        "uneven pulses": UNEVEN | {"dac.coding": "pulses"},
    }[form]
    model, x = programmed(chip_with(bits, **change), rng, fidelity)
    y = model.matvec("w", x)
    wanted, power = expected(model, x)
    assert np.abs(y - wanted).max() < 3e-6 * np.abs(wanted).max()
    joules = power * model.chip.integration_seconds
    assert model.counts.cell_read_joules == pytest.approx(joules, rel=1e-5)
    straight = x @ model.effective_weight("w").T
    assert np.abs(y - straight).max() > 0.01 * np.abs(wanted).max(), "the curve is seen"


def test_the_bends_are_the_published_law_in_and_outside_of_its_window():
    cell = load_chip("reram-milo").cell
    curve = curve_of(cell)
    seen = np.geomspace(1e-6, 400e-6, 700)
    a, b = curve.bends(seen)
    slopes = [slope_of(g) for g in seen]
    for v in (-1.0, -0.4, 0.3, 1.0):
        wanted = np.array([milo(v * VOLTS, slope) for slope in slopes]) / VOLTS
        assert np.allclose(seen * v + a * (v**2 - v) + b * (v**3 - v), wanted, rtol=1e-6)
    assert curve.bends(np.zeros(3)).tolist() == [[0, 0, 0]] * 2
    assert curve.shapes.shape == (2, KNOTS)


def test_the_bends_of_a_matrix_follow_writes_and_time(rng):
    chip = chip_with(1, **{"relaxation.points": "null"})
    weight = rng.standard_normal((5, 7)).astype(np.float32)
    model = program(chip, {"w": weight}, rng)
    x = rng.standard_normal((4, 7)).astype(np.float32)
    model.matvec("w", x)
    weight[2:4, 3] *= -1
    model.rewrite("w", weight)
    matrix = model.matrix("w")
    bends, rows = matrix.kept("bends").copy(), matrix.kept("row_bends").copy()
    matrix._cache.clear()
    assert np.array_equal(bends, matrix.kept("bends"))
    assert np.allclose(rows, matrix.kept("row_bends"), rtol=1e-9)
    fork = model.fork(rng, ("w",))
    model.freeze_reading()
    with model.calibrating():
        model.matvec("w", x)
    assert np.isfinite(model.matvec("w", x)).all() and np.array_equal(fork.matrix("w").kept("bends"), bends)


@pytest.mark.parametrize("fidelity", ["fast", "bitserial"])
@pytest.mark.parametrize("bits", [1, 3, 7])
def test_a_curve_of_zeros_is_no_curve(rng, fidelity, bits):
    zeros = {"read.iv_quadratic": "[0] A/V^2", "read.iv_cubic": "[0, 0] A/V^3", "read.noise": "2 %"}
    found = []
    for change in (zeros, dict(CURVE.off) | {"read.noise": "2 %"}):
        model, x = programmed(chip_with(bits, False, **change), np.random.default_rng(4), fidelity)
        found.append((model.matvec("w", x), model.counts.cell_read_joules))
    assert np.array_equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


@pytest.mark.parametrize(("bits", "coding"), [(1, "voltage"), (3, "pulses"), (7, "pulses")])
def test_inputs_of_the_sign_that_verify_has_see_no_curve_bit_by_bit_or_as_pulses(rng, bits, coding):
    weight, x = rng.standard_normal((5, 7)), np.abs(rng.standard_normal((3, 7)))
    chips = [chip_with(bits, **{"dac.coding": coding} | change) for change in ({}, dict(CURVE.off))]
    on, off = (program(chip, {"w": weight}, np.random.default_rng(1)) for chip in chips)
    assert np.array_equal(on.matvec("w", x), off.matvec("w", x))
    negative = [model.matvec("w", -x) for model in (on, off)]
    assert np.abs(negative[0] - negative[1]).max() > 0.01 * np.abs(negative[1]).max()


def test_the_quadratic_part_alone_makes_the_signs_differ(rng):
    model, x = programmed(chip_with(7, **{"read.iv_quadratic": "[0] A/V^2"}), rng)
    y = model.matvec("w", x)
    assert np.array_equal(model.matvec("w", -x), -y)
    assert curve_of(model.chip.cell).bends(np.full(1, 1e-4))[1, 0] != 0
    model, x = programmed(chip_with(7), rng)
    y, turned = model.matvec("w", x), model.matvec("w", -x)
    assert np.abs(y + turned).max() > 0.01 * np.abs(y).max()


@pytest.mark.parametrize("bits", [1, 3])
def test_fast_and_bitserial_add_up_to_the_same(rng, bits):
    results = []
    for fidelity in ("fast", "bitserial"):
        model, x = programmed(chip_with(bits), np.random.default_rng(4), fidelity)
        results.append((model.matvec("w", x), model.counts.cell_read_joules))
    assert np.allclose(results[0][0], results[1][0], rtol=1e-5, atol=1e-6)
    assert results[0][1] == results[1][1]


def test_torch_multiplies_the_same_and_ideal_reads_cost_the_same(rng):
    results = []
    for fidelity in ("fast", "fast", "ideal"):
        model, x = programmed(chip_with(7), np.random.default_rng(4), fidelity)
        if results:
            ChipReader(model)  # puts torch's products in
        results.append((model.matvec("w", x), model.counts.cell_read_joules))
    assert np.allclose(results[0][0], results[1][0], rtol=1e-5, atol=1e-5)
    assert results[0][1] == results[1][1] == pytest.approx(results[2][1], rel=1e-12)


def test_one_array_behind_wires_takes_the_same_curve(rng):
    cell = load_chip("reram-milo").cell
    g, volts = rng.uniform(60e-6, 220e-6, (6, 4)), rng.uniform(-VOLTS, VOLTS, 6)
    read = nonlinear_read(g, volts, cell_current(cell), 0.0, 0.0)
    wanted = [sum(milo(volts[i], slope_of(g[i, j])) for i in range(6)) for j in range(4)]
    assert np.allclose(read.currents_amperes, wanted, rtol=1e-6)
    behind = nonlinear_read(g, volts, cell_current(cell), 20.0, 20.0).currents_amperes
    straight = nonlinear_read(g, volts, cell_current(load_chip("reram-milo", CURVE.off).cell), 20.0, 20.0)
    assert np.allclose(straight.currents_amperes, volts @ effective_conductance(g, 20.0, 20.0), rtol=1e-9)
    assert not np.allclose(behind, straight.currents_amperes, rtol=1e-3)


def test_the_energy_of_a_sample_has_the_curve_in_it():
    """Half of the inputs are negative, where cells conduct more: the published shape at g_min says how much."""
    chips = [load_chip("reram-milo", change) for change in ({}, CURVE.off)]
    on, off = (program_sample(chip).read_joules_per_cell for chip in chips)
    low = slope_of(50e-6)
    most = -milo(-VOLTS, low) / milo(VOLTS, low)
    assert 1.0 < on / off < 1 + 0.5 * (most - 1)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"read.voltage": "0.6 V"}, r"read\.voltage.*read\.iv_voltage_max"),
        ({"read.iv_cubic": "null"}, r"read\.iv_cubic is null but read\.iv_quadratic is given"),
        ({"read.iv_window": "[225, 50] uS"}, r"read\.iv_window: the lower limit"),
        ({"read.iv_window": "[0, 50] uS"}, r"read\.iv_window"),
        ({"read.iv_quadratic": "[1] A/V"}, r"read\.iv_quadratic.*wrong dimension"),
        ({"array.wires": "exact"}, r"array\.wires is 'exact'.*read\.iv_quadratic"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(overrides, message):
    with pytest.raises(UsageError, match=message):
        load_chip("reram-milo", overrides)


def test_a_curve_that_falls_is_refused(rng):
    chip = load_chip("reram-milo", {"read.iv_quadratic": "[-0.001] A/V^2"})
    with pytest.raises(UsageError, match=r"read\.iv_quadratic.*does not rise with voltage"):
        program(chip, {"w": np.eye(3)}, rng)


def test_the_kernels_equal_the_reference(rng):
    curve = curve_of(load_chip("reram-milo").cell)
    g = np.append(rng.uniform(0, 300e-6, 500), [0.0, curve.low]).astype(np.float32)
    x, table = rng.standard_normal((5, 40)).astype(np.float32), rng.standard_normal((40, 255)).astype(np.float32)
    energies, rows = rng.standard_normal((2, 255)), rng.uniform(0, 1e-4, (2, 40))
    found = []
    for bend_cells, bend_rows, load_rows in (
        (iv_curve.bend_cells, iv_read.bend_rows, iv_read.load_rows),
        (reference.bend_cells, reference.bend_rows, reference.load_rows),
    ):
        bends, each, same = (
            np.empty((2, g.size), np.float32),
            np.empty((7, 40), np.float32),
            np.empty((5, 40), np.float32),
        )
        loads = np.empty(5)
        bend_cells(g, curve.low, curve.step, curve.shapes, bends)
        bend_rows(x, 1.3, 127, table, each)
        bend_rows(x, 1.3, 127, table[:1], same)
        load_rows(x, 1.3, 127, energies, rows, loads)
        found.append((bends, each, same, loads))
    for fast, slow in zip(*found, strict=True):
        assert np.allclose(fast, slow, rtol=1e-6, atol=1e-12)
