"""Non-linear cells behind wires: against a general root finder on the nodes, and against the linear elimination."""

import numpy as np
import pytest
import scipy.optimize
from edge_adapt.errors import EdgeAdaptError, UsageError
from edge_adapt.simulator import effective_conductance, nonlinear_read, sinh_cell
from hypothesis import given, settings
from hypothesis import strategies as st


def linear(volts, siemens):
    return siemens * volts, siemens


def node_currents(volts, cells, drive, current, word, bit, driver, sense):
    """Kirchhoff's current law at the nodes of word lines and bit lines (2, rows, columns): what flows out of each."""
    w, b = volts.reshape(2, *cells.shape)
    cell = current(w - b, cells)[0]
    out_w, out_b = cell.copy(), -cell
    out_w[:, 0] += (w[:, 0] - drive) / (word + driver)
    out_b[-1] += b[-1] / (bit + sense)
    along = (w[:, :-1] - w[:, 1:]) / word
    out_w[:, :-1] += along
    out_w[:, 1:] -= along
    along = (b[:-1] - b[1:]) / bit
    out_b[:-1] += along
    out_b[1:] -= along
    return np.concatenate([out_w.ravel(), out_b.ravel()])


@pytest.mark.parametrize(("word", "bit", "driver", "sense"), [(20.0, 50.0, 0.0, 30.0), (2e3, 1e3, 1e3, 0.0)])
def test_equals_a_root_finder_on_the_nodes(word, bit, driver, sense, rng):
    cells, drive, current = rng.uniform(1e-5, 1e-4, (4, 5)), rng.uniform(-0.3, 0.3, 4), sinh_cell(0.1)
    balance = lambda volts: 1e4 * node_currents(volts, cells, drive, current, word, bit, driver, sense)
    found = scipy.optimize.root(balance, np.zeros(40), tol=1e-14)
    assert np.abs(found.fun).max() < 1e-12
    expected = found.x.reshape(2, 4, 5)[1, -1] / (bit + sense)
    read = nonlinear_read(cells, drive, current, word, bit, driver, sense)
    assert read.residual < 1e-12
    assert np.allclose(read.currents_amperes, expected, rtol=1e-8, atol=1e-14)


@given(
    st.integers(0, 2**32), st.tuples(st.integers(1, 12), st.integers(1, 12)), st.booleans(), st.booleans(),
    st.lists(st.sampled_from([0.0, 1.0, 300.0, 1e5]), min_size=5, max_size=5),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_linear_cells_give_the_elimination_s_result(seed, shape, drivers_at_both_ends, sense_at_both_ends, ohms):
    rng = np.random.default_rng(seed)
    cells, drive = rng.uniform(0, 1e-4, shape) * (rng.random(shape) < 0.8), rng.normal(size=(3, shape[0]))
    options = {"access_ohms": ohms[4], "drivers_at_both_ends": drivers_at_both_ends,
               "sense_at_both_ends": sense_at_both_ends}  # fmt: skip
    read = nonlinear_read(cells, drive, linear, *ohms[:4], **options)
    expected = drive @ effective_conductance(cells, *ohms[:4], **options)
    assert np.allclose(read.currents_amperes, expected, rtol=1e-8, atol=1e-9 * np.abs(expected).max(initial=1e-30))


def test_without_wires_the_currents_are_those_of_the_cells(rng):
    cells, drive = rng.uniform(0, 1e-4, (6, 4)), rng.normal(size=6)
    read = nonlinear_read(cells, drive, sinh_cell(0.5), 0, 0)
    assert np.allclose(read.currents_amperes, (cells * 0.5 * np.sinh(drive / 0.5)[:, None]).sum(0), rtol=1e-14)


def test_cells_that_rise_twenty_e_folds_behind_strong_wires_converge(rng):
    cells, drive = rng.uniform(1e-6, 1e-4, (40, 30)), rng.uniform(-0.2, 0.2, 40)
    read = nonlinear_read(cells, drive, sinh_cell(0.01), 1000.0, 500.0)
    assert read.residual < 1e-12 and np.abs(read.currents_amperes).max() < 40 * 0.2 / 500


def test_a_cubic_cell_without_slope_at_zero_volts_converges(rng):
    cells, drive = rng.uniform(1e-4, 1e-3, (5, 5)), np.array([0.0, 0.1, 0.0, 0.2, 0.0])
    cubic = lambda volts, siemens: (siemens * volts**3, 3 * siemens * volts**2)
    assert nonlinear_read(cells, drive, cubic, 100.0, 100.0).residual < 1e-12


def test_no_voltage_no_current_and_no_vectors_no_work():
    read = nonlinear_read(np.full((3, 2), 1e-4), np.zeros(3), sinh_cell(0.1), 1, 1)
    assert not read.currents_amperes.any() and read.residual == 0.0 == read.iterations
    assert nonlinear_read(np.ones((3, 2)), np.zeros((0, 3)), linear, 1, 1).currents_amperes.shape == (0, 2)


def test_a_falling_current_an_overflow_or_too_few_steps_are_errors_with_a_reason():
    cells, drive = np.full((4, 4), 1e-3), np.full(4, 0.5)
    falling = lambda volts, siemens: (-siemens * volts, -siemens)
    with pytest.raises(EdgeAdaptError, match=r"falls with voltage \(slope -0.001 S\)"):
        nonlinear_read(cells, drive, falling, 1.0, 1.0)
    with pytest.raises(EdgeAdaptError, match="not finite"):
        nonlinear_read(cells, drive, sinh_cell(1e-4), 1.0, 1.0)
    with pytest.raises(EdgeAdaptError, match=r"converge in 1 steps.* of the drive voltage, allowed 1.0e-12"):
        nonlinear_read(cells, drive, sinh_cell(0.05), 100.0, 100.0, iterations=1)


def test_a_wrong_derivative_ends_with_the_residual_not_in_a_loop():
    wrong = lambda volts, siemens: (siemens * np.sinh(20 * volts), np.full_like(siemens, 1e-9))
    with pytest.raises(EdgeAdaptError, match="did not converge"):
        nonlinear_read(np.full((4, 4), 1e-3), np.full(4, 0.5), wrong, 100.0, 100.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[-1.0]], [1.0], linear, 1, 1), "-1.0 S"),
        (([1.0], [1.0], linear, 1, 1), "matrix"),
        (([[1.0]], [1.0, 2.0], linear, 1, 1), r"one a word line; got shape \(2,\)"),
        (([[1.0]], [np.nan], linear, 1, 1), "finite"),
        (([[1.0]], [1.0], linear, 1, -2), "bit_line_ohms"),
    ],
)
def test_nonsense_is_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        nonlinear_read(*arguments)
    with pytest.raises(UsageError, match="scale_volts"):
        sinh_cell(0.0)
