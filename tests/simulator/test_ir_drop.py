"""Wires in a chip's reads: against a nodal solve of the arrays laid out by hand, and what must not change."""

import itertools

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
from edge_adapt import load_chip
from edge_adapt.errors import UsageError
from edge_adapt.simulator import program
from edge_adapt.simulator.ir_drop import bit_lines
from edge_adapt.simulator.mapping import Layout
from edge_adapt.simulator.wires import effective_conductances

SMALL = {"array.rows": "5", "array.columns": "10", "array.wires": "exact", "wires.resistance": "300 ohm",
         "wires.driver_resistance": "700 ohm", "wires.sense_resistance": "150 ohm"}  # fmt: skip
CODINGS = [
    {},
    {"array.slices": "2"},
    {"array.mapping": "offset"},
    {"array.mapping": "offset", "array.slices": "2"},
    {"array.wires": "exact_with_access"},
]


def chip_with(**changes):
    return load_chip("reram", SMALL | {key.replace("__", "."): value for key, value in changes.items()})


def bit_line_amperes(cells, volts, chip):
    """Currents of all bit lines of one array (rows, columns), by Kirchhoff's current law at every node."""
    rows, columns = cells.shape
    p = chip.periphery
    access = chip.cell.access_ohms if chip.array.wires == "exact_with_access" else 0.0
    word = lambda i, j: i * columns + j
    bit = lambda i, j: rows * columns + i * columns + j
    size = 2 * rows * columns
    matrix, right = scipy.sparse.lil_matrix((size, size)), np.zeros(size)

    def resistor(a, b, siemens):
        for one, other in ((a, b), (b, a)):
            matrix[one, one] += siemens
            matrix[one, other] -= siemens

    for i, j in itertools.product(range(rows), range(columns)):
        g = float(cells[i, j])
        resistor(word(i, j), bit(i, j), g / (1 + g * access))
        if j:
            resistor(word(i, j - 1), word(i, j), 1 / p.wire_ohms_per_cell)
        if i:
            resistor(bit(i - 1, j), bit(i, j), 1 / p.wire_ohms_per_cell)
    drive, hold = 1 / (p.wire_ohms_per_cell + p.driver_ohms), 1 / (p.wire_ohms_per_cell + p.sense_ohms)
    for i in range(rows):
        matrix[word(i, 0), word(i, 0)] += drive
        right[word(i, 0)] = volts[i] * drive
    for j in range(columns):
        matrix[bit(rows - 1, j), bit(rows - 1, j)] += hold
    nodes = scipy.sparse.linalg.spsolve(matrix.tocsc(), right)
    return nodes[[bit(rows - 1, j) for j in range(columns)]] * hold


def digit_sums(chip, g, volts, outputs):
    """What each output (slices, row tiles, outputs) adds up to, over the window, arrays filled by hand."""
    slices, polarities, inputs, _ = g.shape
    rows, columns = chip.array.rows, chip.array.columns
    reference = slices if polarities == 1 else 0
    per_array = (columns - reference) // (slices * polarities)
    tiles = -(-inputs // rows)
    found = np.zeros((slices, tiles, outputs))
    for tile, array in itertools.product(range(tiles), range(-(-outputs // per_array))):
        used = range(tile * rows, min((tile + 1) * rows, inputs))
        held = range(array * per_array, min((array + 1) * per_array, outputs))
        cells, place = np.zeros((rows, columns)), {}
        for n, output in enumerate(held):
            for s, p in itertools.product(range(slices), range(polarities)):
                place[s, p, output] = n * slices * polarities + s * polarities + p
        for s in range(reference):
            place[s, 0, None] = per_array * slices + s
        for (s, p, output), line in place.items():
            column = g[s, p, :, outputs + array if output is None else output]
            cells[rows - len(used) :, line] = column[used.start : used.stop]
        drive = np.zeros(rows)
        drive[rows - len(used) :] = volts[used.start : used.stop]
        amperes = bit_line_amperes(cells, drive, chip)
        for s, output in itertools.product(range(slices), held):
            other = amperes[place[s, 1, output] if polarities == 2 else place[s, 0, None]]
            found[s, tile, output] = amperes[place[s, 0, output]] - other
    return found / (chip.cell.g_max_siemens - chip.cell.g_min_siemens)


@pytest.mark.parametrize("coding", CODINGS)
def test_a_chip_read_is_the_nodal_solution_of_its_arrays(coding, rng):
    chip = chip_with(**coding)
    weight = rng.standard_normal((7, 13)).astype(np.float32)
    model = program(chip, {"w": weight}, rng)
    matrix = model.matrix("w")
    volts = rng.standard_normal(13)
    sums = digit_sums(chip, matrix.conductance_siemens().astype(float), volts, 7)
    expected = (sums * matrix.gains.reshape(sums.shape)).sum((0, 1))
    with model.calibrating():
        read = model.matvec("w", volts)
    assert np.allclose(read, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    effective = model.effective_weight("w")
    assert np.allclose(effective @ volts, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    ideal = program(chip_with(**coding | {"array.wires": "none"}), {"w": weight}, np.random.default_rng(20240601))
    assert np.abs(effective - ideal.effective_weight("w")).max() > 0.05 * np.abs(weight).max(), "a drop worth a test"
    back = rng.standard_normal((2, 7)).astype(np.float32)
    assert np.allclose(model.transposed_product("w", back), back @ effective, atol=1e-4)


@pytest.mark.parametrize("coding", [{}, {"array.mapping": "offset", "array.slices": "2"}])
def test_wires_without_resistance_change_nothing(coding, rng):
    zero = {f"wires.{name}": "0 ohm" for name in ("resistance", "driver_resistance", "sense_resistance")}
    weight, x = rng.standard_normal((7, 13)).astype(np.float32), rng.standard_normal((3, 13)).astype(np.float32)
    models = [
        program(chip_with(**coding | change), {"w": weight}, np.random.default_rng(1))
        for change in (zero, {"array.wires": "none"})
    ]
    for name in ("pairs", "noise_bits", "row_siemens", "effective"):
        one, other = (getattr(model.matrix("w"), name) for model in models)
        assert np.array_equal(one, other), name
    one, other = (model.matvec("w", x) for model in models)
    assert np.array_equal(one, other)
    assert models[0].counts == models[1].counts


def test_the_relative_drop_does_not_depend_on_the_size_of_the_input(rng):
    chip, weight = chip_with(), rng.uniform(0.2, 1, (5, 13)).astype(np.float32)
    x = rng.uniform(0.1, 1, 13)
    models = [program(c, {"w": weight}, np.random.default_rng(1)) for c in (chip, chip_with(array__wires="none"))]
    drops = []
    for size in (1e-3, 1.0, 50.0):
        with models[0].calibrating(), models[1].calibrating():
            wired, ideal = (model.matvec("w", size * x) for model in models)
        drops.append(wired / ideal)
    assert (drops[0] < 0.95).all()
    assert np.allclose(drops, drops[0], rtol=1e-5)


def test_a_rewrite_solves_only_the_arrays_in_which_a_cell_changed(rng, monkeypatch):
    chip = chip_with(array__slices="2")
    weight = rng.standard_normal((7, 13)).astype(np.float32)
    model = program(chip, {"w": weight}, rng)
    matrix = model.matrix("w")
    _ = matrix.pairs
    solved = []
    real = type(matrix.wires).behind
    monkeypatch.setattr(
        type(matrix.wires), "behind",
        lambda self, *args, only=None, **more: (solved.append(only), real(self, *args, only=only, **more))[1],
    )  # fmt: skip
    weight[6, 3] *= -1
    model.rewrite("w", weight)
    assert solved == [{(0, 3)}], "two outputs in an array of 10 columns: output 6 is in the fourth"
    names = ("pairs", "noise_bits", "row_siemens")
    quick = {name: getattr(matrix, name).copy() for name in names}
    matrix._cache = {}
    for name in names:
        assert np.allclose(quick[name], getattr(matrix, name), rtol=1e-12), name


def test_each_reading_of_the_clock_is_solved_once(rng):
    model = program(chip_with(), {"w": rng.standard_normal((7, 13)).astype(np.float32)}, rng)
    arrays = model.matrix("w").layout.arrays
    seen = []
    assert model.unsolved_arrays == arrays
    model.prepare(seen.append)
    fresh = model.effective_weight("w")
    assert sum(seen) == arrays and model.unsolved_arrays == 0
    model.set_time(86400.0)
    assert model.unsolved_arrays == arrays
    model.prepare(seen.append)
    aged = model.effective_weight("w")
    model.set_time(0.0)
    assert model.unsolved_arrays == 0 and np.array_equal(model.effective_weight("w"), fresh)
    model.set_time(86400.0)
    assert model.unsolved_arrays == 0 and np.array_equal(model.effective_weight("w"), aged)
    assert not np.array_equal(fresh, aged)
    model.freeze_reading()
    assert np.array_equal(model.effective_weight("w"), aged)


def test_read_noise_behind_wires_is_close_to_random_draws_through_them(change_cell):
    """Inputs of both signs, segments of 4 ohm: the standard deviation of every column within 6 %, where leaving
    the wires out of it would be 12 % off in the last.
    """
    chip = load_chip("reram", {"array.wires": "exact", "array.rows": "64", "array.columns": "64", "read.noise": "0.02",
                               "wires.resistance": "4 ohm", "relaxation.points": "null"})  # fmt: skip
    rng = np.random.default_rng(0)
    model = program(chip, {"w": rng.standard_normal((32, 64)).astype(np.float32)}, np.random.default_rng(1))
    matrix, ohms = model.matrix("w"), chip.periphery.wire_ohms_per_cell
    g = np.moveaxis(matrix.conductance_siemens()[0].astype(float), 0, 2).reshape(64, 64)
    draws = effective_conductances(g * (1 + 0.02 * rng.standard_normal((300, 64, 64))), ohms, ohms)
    window = chip.cell.g_max_siemens - chip.cell.g_min_siemens
    pairs = (draws[..., ::2] - draws[..., 1::2]) / window
    x = rng.standard_normal((30, 64))
    drawn = np.sqrt((np.einsum("vi,nij->nvj", x, pairs - pairs.mean(0)) ** 2).mean((0, 1)))
    model_sd = np.sqrt((x**2 @ matrix.noise[0]).mean(0))
    without = np.sqrt((x**2 @ ((0.02 * g / window) ** 2).reshape(64, 32, 2).sum(2)).mean(0))
    assert model_sd == pytest.approx(drawn, rel=0.06)
    assert (without / drawn)[-1] > 1.12


def test_spare_columns_lie_behind_the_others():
    layout = Layout(outputs=6, inputs=4, rows=4, columns=9, slices=2, levels=4, polarities=2)
    assert bit_lines(layout, 1).tolist() == [[[0, 4], [1, 5]], [[2, 6], [3, 7]]]
    moved = np.array([-1, -1, -1, 1, -1, -1])
    assert bit_lines(layout, 1, moved)[..., 1].tolist() == [[13, 14], [15, 16]]


def test_what_the_wires_need_is_asked_for_by_name():
    with pytest.raises(UsageError, match=r"array.wires is 'exact', but periphery.wires.resistance is null"):
        load_chip("neurram", {"array.wires": "exact"})
    with pytest.raises(UsageError, match=r"cell.layout.access_resistance is null"):
        load_chip("pcm", {"array.wires": "exact_with_access"})
    with pytest.raises(UsageError, match=r"wires.resistance"):
        load_chip("reram", {"wires.resistance": "-1 ohm"})
    assert load_chip("reram").array.wires == "none" and load_chip("reram-wires").array.wires == "exact"
